"""Tells what a repository is and what state it is in."""

from __future__ import annotations

import time

from pyparrot.publish import keys, signed_files
from pyparrot.publish.repository import StoredRepository
from pyparrot.sources.cvmfs.catalog_counters import COUNTERS


def describe(fqrn: str) -> dict[str, str | int]:
    """Facts about a repository, by name; times in UTC, sizes in bytes."""
    repository = StoredRepository.open(fqrn)
    current = repository.manifest
    configured = repository.settings
    master = keys.load_public_key(keys.key_file(fqrn, "pub"))
    whitelist = signed_files.read_whitelist(repository.storage, fqrn, master)
    signing = keys.load_signing_keys(fqrn)
    with repository.open_catalog(current.catalog) as root:
        counts = root.totals().of_names()
    return {
        "name": fqrn,
        "storage": configured.root,
        "settings": configured.file,
        "public_key": keys.key_file(fqrn, "pub"),
        "revision": current.revision,
        "published": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(current.published)),
        "root_hash": str(current.catalog),
        "root_size": current.catalog_size,
        "ttl": current.ttl,
        "tags": len(repository.tags(current)),
        "hash_algorithm": configured.algorithm.name.lower(),
        "compression": configured.compression.name.lower(),
        "garbage_collectable": "yes" if current.garbage_collectable else "no",
        "whitelist_expires": f"{whitelist.expires:%Y-%m-%d %H:%M:%S}",
        "certificate_expires": f"{signing.certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S}",
        **{_NAMES.get(name, name): counts[name] for name in COUNTERS},
    }


_NAMES = {
    "regular": "files",
    "symlink": "symlinks",
    "special": "special_files",
    "dir": "directories",
    "nested": "nested_catalogs",
    "chunked": "chunked_files",
    "chunked_size": "size_of_chunked_files",
    "file_size": "size_of_files",
    "xattr": "entries_with_xattrs",
    "external": "external_files",
    "external_file_size": "size_of_external_files",
}

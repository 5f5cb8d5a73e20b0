"""Which objects revisions need: the marks of mark and sweep, for `check` and `gc`.

An object is known here by its *mark*: its digest and the letter of its kind, small enough
to keep millions of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pyparrot.publish.repository import StoredRepository, roots_of
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import StoredObject
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.reflog import ReferenceType

_FILE = re.compile(r"([0-9a-f]{40})(?:-rmd160|-shake128)?([A-Z]?)")

KIND_OF_REFERENCE = {
    ReferenceType.CATALOG: Kind.CATALOG,
    ReferenceType.CERTIFICATE: Kind.CERTIFICATE,
    ReferenceType.HISTORY: Kind.HISTORY,
    ReferenceType.METAINFO: Kind.METAINFO,
}


def mark(name: ContentHash, kind: Kind) -> bytes:
    """The mark of an object."""
    return name.digest + kind.value.encode()


def mark_of_body(stored: StoredObject) -> bytes:
    """The mark of what a catalog lists."""
    return mark(ContentHash(stored.digest, stored.algorithm), stored.kind)


def mark_of_file(name: str) -> bytes | None:
    """The mark of an object by its file's name; None if it is no object."""
    match = _FILE.fullmatch(name)
    return bytes.fromhex(match[1]) + match[2].encode() if match else None


def marks_of_roots(published: Manifest) -> set[bytes]:
    """The marks of what a manifest names."""
    return {mark(name, KIND_OF_REFERENCE[kind]) for name, kind in roots_of(published)}


def catalogs(
    repository: StoredRepository, roots: Iterable[ContentHash]
) -> Iterator[tuple[ContentHash, Catalog]]:
    """Every catalog below *roots*, each once; `PyparrotError` where one is missing or corrupt."""
    seen: set[bytes] = set()
    pending = list(roots)
    while pending:
        name = pending.pop()
        if name.digest not in seen:
            seen.add(name.digest)
            with repository.open_catalog(name) as catalog:
                yield name, catalog
                pending += [nested.hash for nested in catalog.nested_catalogs()]

"""What is to be said of repositories and their files, in words that go into JSON."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from pyparrot.errors import redacted
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.handles import Body
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.tree.damage import reason

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository


def content(body: Body) -> dict[str, Any]:
    """How a file's content is stored."""
    facts: dict[str, Any] = {
        "compression": body.compression.name.lower(),
        "external": body.is_external,
        "chunks": len(body.chunks) or 1,
    }
    if body.name is not None:
        facts["hash"] = str(body.name)
    if body.chunks:
        facts["chunk_list"] = [
            [str(ContentHash(chunk.digest, body.algorithm)), chunk.offset, chunk.size]
            for chunk in body.chunks
        ]
    return facts


def repository(opened: RemoteRepository) -> dict[str, Any]:
    """Revision, sizes (bytes), servers and proxy; sizes are left out if they can't be had."""
    from pyparrot.transport.proxies import DIRECT
    from pyparrot.transport.servers import parse_servers

    transport, newest = opened.transport, opened.manifest
    root = opened.snapshot.root
    proxy = transport.active_proxy
    servers = opened.configuration.get("CVMFS_SERVER_URL") or ""
    opened_newest = newest is not None and newest.catalog == opened.root
    return {
        "name": opened.name,
        "revision": root.revision,
        "newest_revision": newest.revision if newest else None,
        "published": newest.published if newest and opened_newest else None,
        "root_hash": str(opened.root),
        "ttl": newest.ttl if newest else root.ttl,
        **_sizes(opened),
        "servers": [redacted(url) for url in parse_servers(servers)],
        "server_in_use": redacted(transport.active_server),
        "proxy_in_use": proxy if proxy == DIRECT else redacted(proxy),
        "cache": opened.store.directory,
    }


def _sizes(opened: RemoteRepository) -> dict[str, int]:
    """What the root catalog counts of the whole repository."""

    def read(file: str) -> tuple[dict[str, int], int]:
        with closing(Catalog.open(file)) as catalog:
            return catalog.totals().of_names(), catalog.size

    try:
        counts, size = opened.objects.read(opened.root, Kind.CATALOG, read)
    except (OSError, *BROKEN) as error:
        opened.warnings.append(f"{opened.name}: no sizes: {reason(error)}")
        return {}
    return {
        "root_size": size,
        "files": counts["regular"],
        "symlinks": counts["symlink"],
        "directories": counts["dir"],
        "nested_catalogs": counts["nested"],
        "size_of_files": counts["file_size"],
    }

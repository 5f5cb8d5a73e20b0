"""What a repository on servers is, and what state it is in."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Callable

from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.hashes import Kind
from pyparrot.transport.failover import without_password
from pyparrot.transport.proxies import DIRECT
from pyparrot.transport.servers import parse_servers

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository


def describe(repository: RemoteRepository, warn: Callable[[str], None]) -> dict[str, Any]:
    """Facts about a repository, by name, for people and for JSON; sizes are in bytes.

    *warn* is told if the sizes of the whole repository can't be had; the rest is given then.
    """
    transport, newest = repository.transport, repository.manifest
    root = repository.lookup("/").catalog
    proxy = transport.active_proxy
    opened_newest = newest is not None and newest.catalog == repository.root
    return {
        "name": repository.name,
        "revision": root.revision,
        "newest_revision": newest.revision if newest else None,
        "published": newest.published if newest and opened_newest else None,
        "root_hash": str(repository.root),
        "ttl": newest.ttl if newest else root.ttl,
        **_sizes(repository, warn),
        "servers": list(parse_servers(repository.configuration.get("CVMFS_SERVER_URL") or "")),
        "server_in_use": without_password(transport.active_server),
        "proxy_in_use": proxy if proxy == DIRECT else without_password(proxy),
        "cache": repository.store.directory,
    }


def _sizes(repository: RemoteRepository, warn: Callable[[str], None]) -> dict[str, int]:
    """What the root catalog counts of the whole repository; nothing if it can't be had."""
    try:
        file = repository.objects.metadata(repository.root, Kind.CATALOG)
        with closing(Catalog.open(file)) as catalog:
            counts = catalog.totals().of_names()
            size = catalog.size
    except (OSError, *BROKEN) as error:
        warn(f"{repository.name}: no sizes: {error}")
        return {}
    return {
        "root_size": size,
        "files": counts["regular"],
        "symlinks": counts["symlink"],
        "directories": counts["dir"],
        "nested_catalogs": counts["nested"],
        "size_of_files": counts["file_size"],
    }


def describe_tags(repository: RemoteRepository) -> list[dict[str, Any]]:
    """The tags of a repository, oldest first."""
    tags = repository.tags()
    return [{**tag._asdict(), "catalog": str(tag.catalog)} for tag in tags]

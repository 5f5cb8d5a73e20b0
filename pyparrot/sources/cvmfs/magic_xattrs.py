"""The extended attributes that CernVM-FS clients make up, such as ``user.fqrn``.

Names and forms are those of the official client's documentation ("Getting information through
extended attributes"). They can be asked for, and are not listed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyparrot import __version__
from pyparrot.core import lib
from pyparrot.sources.cvmfs.hashes import ContentHash

if TYPE_CHECKING:
    from pyparrot.tree.base import Repository
    from pyparrot.tree.snapshot import Found


def value(repository: Repository, found: Found, name: bytes) -> bytes | None:
    """The value of the attribute *name* of what was found; None if there is none."""
    make = _ATTRIBUTES.get(name)
    text = None if make is None else make(repository, found)
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _is_regular(found: Found) -> bool:
    return stat.S_ISREG(found.node.mode)


def _hash(repository: Repository, found: Found) -> str | None:
    if not (_is_regular(found) and found.node.flags & lib.PP_BODY):
        return None
    return str(ContentHash(found.node.digest, found.node.algorithm))


def _chunks(repository: Repository, found: Found) -> str | None:
    return str(len(found.node.chunks) or 1) if _is_regular(found) else None


def _compression(repository: Repository, found: Found) -> str | None:
    return found.node.compression.name.lower() if _is_regular(found) else None


def _external(repository: Repository, found: Found) -> str | None:
    return str(int(bool(found.node.flags & lib.PP_EXTERNAL))) if _is_regular(found) else None


def _raw_link(repository: Repository, found: Found) -> str | None:
    return os.fsdecode(found.node.target) if stat.S_ISLNK(found.node.mode) else None


def _root_hash(repository: Repository, found: Found) -> str | None:
    root = getattr(repository, "root", None)
    return None if root is None else str(root)


def _revision(repository: Repository, found: Found) -> str:
    return str(repository.snapshot.root.revision)


_ATTRIBUTES: dict[bytes, Callable[[Repository, Found], str | None]] = {
    b"user.fqrn": lambda repository, found: repository.name,
    b"user.revision": _revision,
    b"user.root_hash": _root_hash,
    b"user.version": lambda repository, found: __version__,
    b"user.pid": lambda repository, found: str(os.getpid()),
    b"user.hash": _hash,
    b"user.chunks": _chunks,
    b"user.compression": _compression,
    b"user.external_file": _external,
    b"user.rawlink": _raw_link,
    b"user.catalog_counters": lambda repository, found: f"entries: {found.catalog.entries}",
}

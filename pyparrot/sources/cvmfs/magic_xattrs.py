"""The extended attributes that CernVM-FS clients make up, such as ``user.hash``.

Those that any source has are in `pyparrot.sources.magic_xattrs`.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyparrot.sources import magic_xattrs
from pyparrot.sources.cvmfs.handles import Body

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository
    from pyparrot.tree.base import Tree
    from pyparrot.tree.snapshot import Found


def value(repository: RemoteRepository, found: Found, name: bytes) -> bytes | None:
    """The value of the attribute *name* of what was found; None if there is none."""
    if name == b"user.root_hash":
        return str(repository.root).encode()
    return magic_xattrs.value(repository, found, name, _ATTRIBUTES)


def _of_body(make: Callable[[Body], str | None]) -> Callable[[Tree, Found], str | None]:
    """An attribute that regular files alone have."""
    return lambda tree, found: make(Body.of(found.node)) if stat.S_ISREG(found.node.mode) else None


def _hash(body: Body) -> str | None:
    return None if body.name is None else str(body.name)


_ATTRIBUTES: magic_xattrs.Attributes = {
    b"user.hash": _of_body(_hash),
    b"user.chunks": _of_body(lambda body: str(len(body.chunks) or 1)),
    b"user.compression": _of_body(lambda body: body.compression.name.lower()),
    b"user.external_file": _of_body(lambda body: str(int(body.is_external))),
}

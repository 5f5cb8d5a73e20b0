"""The extended attributes that trees make up, such as ``user.fqrn``.

Names and forms are those of the official client's documentation ("Getting information through
extended attributes"). They can be asked for, and are not listed. Here are those that any source
has; files of a source that says nothing of storage are as one that is stored whole.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pyparrot import __version__

if TYPE_CHECKING:
    from pyparrot.tree.base import Tree
    from pyparrot.tree.snapshot import Found

Attributes = Mapping[bytes, "Callable[[Tree, Found], str | None]"]
"""What gives the value of each attribute; None if there is none for what was found."""


def value(tree: Tree, found: Found, name: bytes, own: Attributes | None = None) -> bytes | None:
    """The value of the attribute *name* of what was found in *tree*; None if there is none.

    What is in *own* comes before what any source has.
    """
    make = (own or {}).get(name) or _ATTRIBUTES.get(name)
    text = None if make is None else make(tree, found)
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _of_regular_files(text: str) -> Callable[[Tree, Found], str | None]:
    """An attribute that regular files alone have, always with the value *text*."""
    return lambda tree, found: text if stat.S_ISREG(found.node.mode) else None


def _raw_link(tree: Tree, found: Found) -> str | None:
    return os.fsdecode(found.node.target) if stat.S_ISLNK(found.node.mode) else None


_ATTRIBUTES: Attributes = {
    b"user.fqrn": lambda tree, found: tree.name,
    b"user.revision": lambda tree, found: str(tree.snapshot.root.revision),
    b"user.version": lambda tree, found: __version__,
    b"user.pid": lambda tree, found: str(os.getpid()),
    b"user.chunks": _of_regular_files("1"),
    b"user.compression": _of_regular_files("zlib"),
    b"user.external_file": _of_regular_files("0"),
    b"user.rawlink": _raw_link,
    b"user.catalog_counters": lambda tree, found: f"entries: {found.holder.entries}",
}

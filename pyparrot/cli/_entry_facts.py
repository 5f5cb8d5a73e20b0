"""What is known of a name: for JSON, and the names of its owner and group."""

from __future__ import annotations

import functools
import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyparrot.tree.base import Tree
    from pyparrot.tree.entries import Node

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFBLK: "blockdev",
    stat.S_IFCHR: "chardev",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
"""What JSON calls the types of files."""


def named(path: bytes) -> dict[str, str]:
    """A path for JSON; those that are not UTF-8 in hexadecimal, too."""
    text = path.decode("utf-8", "surrogateescape")
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return {"path": text, "path_hex": path.hex()}
    return {"path": text}


def facts_of(repository: Tree, shown: bytes, node: Node) -> dict[str, Any]:
    """What the catalog says of a name, for JSON."""
    status = repository.stat_of(node)
    facts: dict[str, Any] = {
        **named(shown),
        "type": TYPES.get(stat.S_IFMT(node.mode), "unknown"),
        "mode": f"{stat.S_IMODE(node.mode):04o}",
        "uid": node.uid,
        "gid": node.gid,
        "size": status.st_size,
        "mtime": node.mtime // 1_000_000_000,
        "mtime_ns": node.mtime,
        "nlink": node.nlink,
        "ino": node.inode,
    }
    if stat.S_ISLNK(node.mode):
        facts["target"] = os.fsdecode(repository.target(node))
    elif stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
        facts["rdev"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    elif stat.S_ISREG(node.mode):
        facts.update(_content_facts(repository, node))
    return facts


def _content_facts(repository: Tree, node: Node) -> dict[str, Any]:
    from pyparrot.sources.capabilities import Describes

    return repository.describe_content(node) if isinstance(repository, Describes) else {}


@functools.cache
def user_name(uid: int) -> str | None:
    """What this machine calls a user; None if it has no name for it."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


@functools.cache
def group_name(gid: int) -> str | None:
    """What this machine calls a group; None if it has no name for it."""
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None

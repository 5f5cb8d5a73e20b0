"""Takes views away: with the objects that they are links to, and when room is needed.

No program loses what it has open, nor its working directory: their names say what they are. One
that opens the same thing later gets a new view. (`views` makes them.)
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Container

from pyparrot.cache.core_files import core_name
from pyparrot.cache.owned import remove
from pyparrot.cache.usage import taken

DIRECTORY = "views"
"""Where views are in a cache's directory."""

_NAME = 24  # bytes of a directory that a name takes beside itself
_INODE = 256


def entry_size(name: str | bytes, mode: int, size: int = 0) -> int:
    """The bytes that a view of *size* bytes with st_mode *mode* takes, with its *name*."""
    length = len(name) + _NAME
    if stat.S_ISDIR(mode):
        return length + taken(max(size, 1))
    return length + (taken(size) if stat.S_ISREG(mode) else _INODE + size)


def prune(directory: str, inodes: Container[int], before: float = 0.0) -> int:
    """Remove the views in *directory* that are files with these inode numbers, or unused.

    Unused is what was last used *before* a time (unix seconds). Gives the bytes that all the
    others take. Directories go when they are empty and unused.
    """
    left = 0
    # Depth first, and without recursion: a directory can go when all in it has gone.
    pending: list[tuple[str, os.stat_result | None]] = [(directory, None)]
    while pending:
        path, status = pending.pop()
        if status is not None:
            left += _leave_or_remove(path, status, before)
            continue
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if path != directory:
                pending.append((path, status))
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, None))
                    else:
                        left += _prune_file(entry, inodes, before)
    return left


def _prune_file(entry: os.DirEntry[str], inodes: Container[int], before: float) -> int:
    """Remove one that is no directory, if it has to go; gives the bytes that it takes if not."""
    with contextlib.suppress(FileNotFoundError):
        status = entry.stat(follow_symlinks=False)
        if status.st_ino in inodes or max(status.st_atime, status.st_ctime) < before:
            os.unlink(entry.path)
        else:
            size = status.st_size if status.st_nlink == 1 else 0
            return entry_size(entry.name, status.st_mode, size)
    return 0


def _leave_or_remove(path: str, status: os.stat_result, before: float) -> int:
    """Remove a directory if it is empty and unused; gives the bytes that it takes if not."""
    guard = os.fsdecode(core_name() or b"")
    name = os.path.basename(path)
    # Not by its time of access: this is what changes that.
    if status.st_ctime < before and name != guard:
        with contextlib.suppress(OSError):
            if _is_empty(path, guard):
                if guard:
                    with contextlib.suppress(FileNotFoundError):
                        os.rmdir(os.path.join(path, guard))
                os.rmdir(path)
                return 0
    return entry_size(name, status.st_mode, status.st_size)


def _is_empty(path: str, guard: str) -> bool:
    """Whether nothing is in a directory but what keeps core files away (`view_places`)."""
    with os.scandir(path) as entries:
        return all(entry.name == guard for entry in entries)


def clear(directory: str) -> None:
    """Remove all views in *directory*, as far as that can be done."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            with contextlib.suppress(OSError):
                remove(os.path.join(directory, name))

"""The places of views: their directories, and what is in the way of a new one.

A program whose working directory is a view may crash, and where the kernel's core files have a
relative name it makes one there, which natively a read-only file system refuses. Rights can't
prevent it: the directory is the user's own, root needs none, and a directory that its owner may not
write to is one that he can't remove. But whatever else has the name the kernel removes first, and a
directory it does not: so there is one with the core file's name in each directory of views.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat

from pyparrot.cache.intact import is_intact

_OWN = 0o700


def make_directory(path: bytes, *, is_guarded: bool = True) -> None:
    """Make a directory of views, and those above it; what else has such a name is removed.

    It is to be *guarded* against core files if programs may have it as their working directory.
    """
    try:
        os.mkdir(path, _OWN)
    except FileExistsError:
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            if mode & _OWN != _OWN:
                os.chmod(path, _OWN)
            return
        os.unlink(path)
        make_directory(path, is_guarded=is_guarded)
    except (FileNotFoundError, NotADirectoryError):
        make_directory(os.path.dirname(path), is_guarded=is_guarded)
        make_directory(path, is_guarded=is_guarded)
    else:
        guard = core_name()
        if is_guarded and guard is not None:
            with contextlib.suppress(OSError):
                os.mkdir(os.path.join(path, guard), _OWN)


def make_way(view: bytes, kind: int, size: int | None = None, target: bytes = b"") -> None:
    """Remove what is at *view* unless it is a view of that *kind* (``S_IFMT``), and intact.

    *size* (bytes) is that of a regular file, if it is known; *target* is a symlink's.
    """
    try:
        status = os.lstat(view)
    except (FileNotFoundError, NotADirectoryError):
        return
    is_directory = stat.S_ISDIR(status.st_mode)
    if kind == stat.S_IFREG:
        is_sound = stat.S_ISREG(status.st_mode) and is_intact(status, size)
        is_sound = is_sound and status.st_mode & 0o500 == 0o500
    elif kind == stat.S_IFLNK:
        is_sound = stat.S_ISLNK(status.st_mode) and os.readlink(view) == target
    elif kind in (stat.S_IFDIR, stat.S_IFIFO):
        is_sound = stat.S_IFMT(status.st_mode) == kind
    else:
        is_sound = stat.S_ISSOCK(status.st_mode)
    if is_sound:
        return
    with contextlib.suppress(FileNotFoundError):
        if is_directory:
            import shutil  # it takes long to load

            shutil.rmtree(view)
        else:
            os.unlink(view)


@functools.cache
def core_name() -> bytes | None:
    """The name of all core files in a working directory; None if they go elsewhere, or differ."""
    try:
        with open("/proc/sys/kernel/core_pattern", "rb") as file:
            pattern = file.read().strip()
        with open("/proc/sys/kernel/core_uses_pid", "rb") as file:
            has_number = file.read().strip() != b"0"
    except OSError:
        return None
    is_constant = pattern[:1] not in (b"", b"|", b"@") and not set(pattern) & set(b"/%")
    return pattern if is_constant and not has_number and pattern not in (b".", b"..") else None

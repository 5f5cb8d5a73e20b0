"""Directories and files that are this user's alone: how they are made, checked, and taken away.

What another user can write to proves nothing by its name, so nothing in a cache is used before its
owner and mode are known to be right, and a symlink is never followed: none belongs there. Modes do
not depend on the umask that pyparrot was started with.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import BinaryIO

from pyparrot.errors import PyparrotError, naming

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
CLEARING = "another --cache, or remove what is in this one: pyparrot cache clear --all"
"""What to do about a cache that others may have put something into."""

_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def is_in_the_way(error: OSError) -> bool:
    """Whether something of the wrong type lies at a path or above it."""
    return error.errno in _IN_THE_WAY


def why_not(status: os.stat_result) -> str:
    """Why what *status* describes can't be trusted; empty if it can."""
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    if not stat.S_ISLNK(status.st_mode) and stat.S_IMODE(status.st_mode) & OTHERS_WRITE:
        return "others may write to it, and may have done so"
    return ""


def make_directory(path: str | bytes, *, parents: bool = False) -> None:
    """Make a directory with mode 0700, with its *parents* if need be; `OSError` as of `os.mkdir`.

    It stays as it is if it is there already.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        above = os.path.dirname(path)
        if not parents or above == path or not above:
            raise
        make_directory(above, parents=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    if os.lstat(path).st_mode & 0o700 != 0o700:  # a umask that takes from the owner
        os.chmod(path, 0o700)


def claim_directory(path: str | bytes) -> bool:
    """Have a directory of ours at *path*, whatever lies there; gives whether it was made.

    What is above it is known to be ours: so nobody else can change what lies here. What is no
    directory goes, and a directory of ours can be used by us. `PyparrotError` if
    it is another user's, or others may write to it.
    """
    made = False
    for _ in range(3):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            make_directory(path)
            made = True
            continue
        if not stat.S_ISDIR(status.st_mode):
            remove(path)
            continue
        problem = why_not(status)
        if problem:
            raise PyparrotError(path, problem, CLEARING)
        if status.st_mode & 0o700 != 0o700:
            _open_up(path, status)
        return made
    raise OSError(errno.EEXIST, "it changes while it is looked at", os.fsdecode(path))


def _open_up(path: str | bytes, status: os.stat_result) -> None:
    """Give us all rights to a directory of ours, or at least find that it can be read."""
    try:
        os.chmod(path, 0o700)
    except OSError:
        if status.st_mode & 0o500 != 0o500:
            raise


def open_new(path: str | bytes) -> int:
    """A descriptor of a new file with mode 0600, for reading and writing."""
    descriptor = os.open(path, _NEW, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def open_shared(path: str) -> int:
    """A descriptor of a file of ours, for reading and writing; it is made if it is missing.

    What is no regular file of ours, or can't be opened, is replaced by a new file.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for _ in range(3):
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                return open_new(path)
            continue
        except OSError as error:
            if error.errno not in (*_IN_THE_WAY, errno.EACCES, errno.ENXIO):
                raise
        else:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and not why_not(status):
                return descriptor
            os.close(descriptor)
        remove(path)
    raise OSError(errno.EEXIST, "it changes while it is looked at", path)


def open_file(path: str) -> BinaryIO | None:
    """Open a regular file of ours for reading; None if there is no such file.

    What lies there instead (a directory, a pipe, a link, another user's file) is not looked at.
    `OSError` if it can't be opened.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.EACCES, *_IN_THE_WAY):
            return None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or why_not(status):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def read(path: str, limit: int) -> bytes | None:
    """The first *limit* bytes of a regular file of ours; None and `OSError` as of `open_file`."""
    file = open_file(path)
    if file is None:
        return None
    with file, naming(path):
        return file.read(limit)


def remove(path: str | bytes) -> int:
    """Remove what lies at *path*, of whatever type, with all that is in it; gives its bytes.

    Nothing happens if there is nothing. `OSError` if it can't be removed.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(path)
            return status.st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return _remove_tree(path)


def _remove_tree(path: str | bytes) -> int:
    """Remove a directory; without recursion, for views are as deep as a repository is."""
    pending, found, size = [path], [], 0
    while pending:
        directory = pending.pop()
        found.append(directory)
        try:
            make_usable(directory)
            entries = os.scandir(directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    size += entry.stat(follow_symlinks=False).st_size
                    os.unlink(entry.path)
    for directory in reversed(found):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(directory)
    return size


def make_readable(directory: str) -> None:
    """Let us look into a directory of ours, that is no link."""
    mode = os.lstat(directory).st_mode
    if stat.S_ISDIR(mode) and mode & 0o500 != 0o500:
        os.chmod(directory, 0o700)


def make_usable(directory: str | bytes) -> None:
    """Let us look into a directory of ours, and change what is in it."""
    status = os.lstat(directory)
    if status.st_mode & 0o700 != 0o700 and stat.S_ISDIR(status.st_mode):
        with contextlib.suppress(PermissionError):
            os.chmod(directory, 0o700)

"""Local files that were right once: how they are opened, and which failures mean that they are not.

A disk that lost power, a tool that went over the cache, or another user may leave anything under an
object's name: nothing, a directory, a pipe, a file that can't be read. What fails so is thrown away
and had again, once; what fails for want of memory or descriptors is not the file's fault.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

_ERRNOS = frozenset(
    {
        errno.EACCES,
        errno.EBADMSG,
        errno.EINVAL,
        errno.EIO,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENODEV,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENXIO,
        errno.EPERM,
        errno.EUCLEAN,
    }
)


def is_damage(error: BaseException) -> bool:
    """Whether an object that was used with this outcome is to be thrown away and had again."""
    return not isinstance(error, OSError) or error.errno in _ERRNOS


def reason(error: BaseException) -> str:
    """What *error* says, without the number that Python puts before it."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def open_regular(file: str) -> BinaryIO:
    """Open a file for reading its bytes; `OSError` (EINVAL) if it is not a regular one.

    It never waits, as an open of a pipe would.
    """
    stream = open(file, "rb", opener=_open_at_once)  # noqa: SIM115 (it is the caller's)
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "not a regular file", file)
    return stream


def _open_at_once(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)

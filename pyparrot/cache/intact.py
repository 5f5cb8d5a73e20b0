"""What a complete file in the cache looks like, and whether it still does.

Objects, and views with content of their own, are marked when they are complete: they can't be
opened for writing, and their time of modification is one that no other file has. A file that was
written to since has lost the mark, and one of another user never had it. (What changes on the disk
itself, only `cache verify` finds.) The C side checks the same mark of views, in whole seconds.

A file that is no object, and has no name that tells its content, has a checksum of it in the
nanoseconds of the mark.
"""

from __future__ import annotations

import os
import stat
import time

SECOND = 10**9

MARK = 299_792_458 * SECOND
"""The time of modification of what is complete, in nanoseconds of unix time."""

LATER_MARK = 1_299_792_458 * SECOND
"""The same where there are no times before 1980, and only even seconds (FAT)."""

MARKS = (MARK, LATER_MARK)

_LOOKED_AT = stat.S_IRUSR | stat.S_IWGRP | stat.S_IWOTH
_PIECE = 1 << 20


def mark_complete(file: str | bytes, mark: int = MARK) -> None:
    """Mark *file*, which is complete and open nowhere; it counts as used now."""
    os.chmod(file, 0o500)  # programs run from views, which are links to objects
    os.utime(file, ns=(time.time_ns(), mark))


def mark_with_checksum(file: str | bytes, mark: int = MARK) -> None:
    """As `mark_complete`, with the checksum of what is in *file*."""
    os.chmod(file, 0o500)  # or we might not be able to read it ourselves
    mark_complete(file, mark + content_checksum(file))


def is_intact(status: os.stat_result, size: int | None = None, mark: int = MARK) -> bool:
    """Whether a file is as it was when it was marked, and has *size* (bytes) if that is known."""
    return (
        status.st_mtime_ns == mark and _is_ours(status) and (size is None or status.st_size == size)
    )


def is_marked(status: os.stat_result, mark: int = MARK) -> bool:
    """Whether a file is as it was when it was marked, with a checksum or without."""
    return status.st_mtime_ns // SECOND == mark // SECOND and _is_ours(status)


def has_checksum(status: os.stat_result) -> bool:
    """Whether a marked file has the checksum of its content in its mark.

    Not on file systems that have no nanoseconds, and one checksum in a billion says no, too.
    """
    return status.st_mtime_ns % SECOND != 0


def is_what_was_marked(file: str | bytes, status: os.stat_result) -> bool:
    """Whether the content of *file* has the checksum that is in its mark."""
    return content_checksum(file) == status.st_mtime_ns % SECOND


def _is_ours(status: os.stat_result) -> bool:
    mode = status.st_mode
    return (
        stat.S_ISREG(mode) and mode & _LOOKED_AT == stat.S_IRUSR and status.st_uid == os.geteuid()
    )


def content_checksum(file: str | bytes) -> int:
    """The checksum of what is in *file*, as it stands in a mark: a number of nanoseconds."""
    return crc_of(file) % SECOND


def crc_of(file: str | bytes) -> int:
    """The CRC-32 of what is in *file*."""
    import zlib  # most runs make no such file

    crc = 0
    with open(file, "rb") as stream:
        while piece := stream.read(_PIECE):
            crc = zlib.crc32(piece, crc)
    return crc

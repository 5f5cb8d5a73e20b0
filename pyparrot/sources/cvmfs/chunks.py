"""Chunks: the pieces in which a large file's content is stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.catalog_rows import Chunk

NOT_THE_FILE = "its chunks do not make up the file"
"""What is wrong with chunks of which `make_up` says no."""


def make_up(chunks: Iterable[Chunk], size: int) -> bool:
    """Whether *chunks* follow each other without a gap, and are *size* bytes together."""
    end = 0
    for chunk in chunks:
        if chunk.offset != end:
            return False
        end += chunk.size
    return end == size

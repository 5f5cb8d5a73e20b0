"""Takes an object as it is on the server: unpacks it, and tells whether it is what it should be."""

from __future__ import annotations

import zlib
from typing import Protocol

from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import ContentHash
from pyparrot.transport import Corrupt

_INFLATE_PIECE = 1 << 20

_MOST_RATIO = 64
_SPARE = 16 << 20
"""What an object whose size is not known may unpack to: so much, and `_MOST_RATIO` times what came.
zlib makes 1,000 times as much of nothing; catalogs give some 5 times."""


class Target(Protocol):
    """The part of a binary file that an `ObjectSink` uses."""

    def seek(self, position: int, /) -> int:
        """Go to a position."""

    def truncate(self) -> int:
        """Drop what is behind the position."""

    def write(self, data: bytes, /) -> int:
        """Write all of *data*."""

    def flush(self) -> None:
        """Let others see it."""


class Nowhere:
    """A target that keeps nothing: for an object that is only to be checked."""

    def write(self, data: bytes, /) -> int:
        """Take data."""
        return len(data)

    def seek(self, position: int, /) -> int:
        """Go to a position."""
        return position

    def truncate(self) -> int:
        """Drop what is behind the position."""
        return 0

    def flush(self) -> None:
        """Nothing is kept."""


class ObjectSink:
    """Unpacks an object into *file*, and knows at the end whether it is the one of that *name*.

    *limit* is the most that it may unpack to, in bytes; *exact* tells whether it must be as much.
    """

    def __init__(
        self,
        file: Target,
        name: ContentHash,
        compression: Compression,
        limit: int,
        exact: bool,
    ) -> None:
        self._file = file
        self._name = name
        self._compression = compression
        self._limit = limit
        self._exact = exact
        self._size = 0
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        if self._size:  # a new file would get a dozen system calls for nothing
            self._file.seek(0)
            self._file.truncate()
        self._hasher = self._name.algorithm.hasher()
        self._stream = zlib.decompressobj() if self._compression is Compression.ZLIB else None
        self._size = self._packed = 0

    def write(self, data: bytes) -> None:
        """Take the next packed bytes."""
        self._hasher.update(data)
        self._packed += len(data)
        if self._stream is None:
            self._put(data)
            return
        while data:
            if self._stream.eof:
                raise Corrupt("bytes behind the end of the zlib stream")
            try:
                content = self._stream.decompress(data, _INFLATE_PIECE)
            except zlib.error:
                raise Corrupt("not a zlib stream") from None
            self._put(content)
            data = self._stream.unconsumed_tail or self._stream.unused_data

    def _put(self, content: bytes) -> None:
        self._size += len(content)
        if self._size > self._limit:
            raise Corrupt(f"it unpacks to more than {self._limit} bytes")
        if not self._exact and self._size > _SPARE + _MOST_RATIO * self._packed:
            raise Corrupt(f"it unpacks to more than {_MOST_RATIO} times its size")
        self._file.write(content)

    def finish(self) -> None:
        """Check what came."""
        if self._name.algorithm.finish(self._hasher) != self._name:
            raise Corrupt("its content does not have the hash in its name")
        if self._stream is not None and not self._stream.eof:
            raise Corrupt("the zlib stream is cut off")
        if self._exact and self._size != self._limit:
            raise Corrupt(f"it unpacks to {self._size} bytes, not {self._limit}")
        self._file.flush()

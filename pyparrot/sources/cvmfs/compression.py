"""How the bytes of an object are stored: as a zlib stream or as they are.

Source: CernVM-FS ``compression/``: RFC 1950 streams of the default level (6), the whole object in
one stream. Equal bytes must give equal objects on every publisher's machine, so level and
library stay what the official tools use.
"""

from __future__ import annotations

import zlib
from enum import IntEnum
from typing import Callable

from pyparrot.errors import PyparrotError


class Compression(IntEnum):
    """The value is what a catalog's flags hold."""

    ZLIB = 0
    NONE = 1

    @classmethod
    def named(cls, name: str) -> Compression:
        """The algorithm that the server's configuration calls *name*."""
        try:
            return {"default": cls.ZLIB, "zlib": cls.ZLIB, "none": cls.NONE}[name]
        except KeyError:
            raise PyparrotError(name, "unknown compression algorithm", "zlib or none") from None

    def pack(self, data: bytes) -> bytes:
        """*data* as it is stored."""
        return zlib.compress(data) if self is Compression.ZLIB else data

    def packer(self) -> Packer:
        """A packer for data that comes in pieces."""
        return Packer(self)


class Packer:
    """Packs data piece by piece: `add` each, then `end`; the results joined are the object."""

    add: Callable[[bytes], bytes]

    def __init__(self, compression: Compression) -> None:
        if compression is Compression.ZLIB:
            stream = zlib.compressobj()
            self.add = stream.compress
            self.end: Callable[[], bytes] = stream.flush
        else:
            self.add = bytes
            self.end = bytes


def inflate(data: bytes, limit: int) -> bytes:
    """The content of a zlib stream that is known to give at most *limit* bytes.

    `ValueError` if *data* is no complete stream, gives more, or has something behind its end.
    """
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(f"broken zlib stream: {error}") from None
    if len(content) > limit:
        raise ValueError(f"more than {limit} bytes in a zlib stream")
    if not stream.eof or stream.unused_data:
        raise ValueError("incomplete zlib stream" if not stream.eof else "bytes behind the stream")
    return content

"""`ObjectSink`: what unpacks an object takes only the one that was asked for, in bounded space."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash
from pyparrot.sources.cvmfs.object_sink import ObjectSink
from pyparrot.transport import Corrupt

CONTENT = b"".join(b"line %d\n" % number for number in range(5000))
PACKED = {Compression.ZLIB: zlib.compress(CONTENT), Compression.NONE: CONTENT}
BOMB = zlib.compress(bytes(200 << 20))
"""200 MB in 200 kB."""


def new_sink(
    packed: bytes,
    compression: Compression = Compression.ZLIB,
    *,
    limit: int = len(CONTENT),
    exact: bool = True,
    algorithm: Algorithm = Algorithm.SHA1,
) -> tuple[ObjectSink, io.BytesIO]:
    """A sink for the object *packed*, and where it writes to."""
    file = io.BytesIO()
    return ObjectSink(file, algorithm.of(packed), compression, limit, exact), file


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def feed(sink: ObjectSink, data: bytes, size: int = 1000) -> None:
    for piece in pieces(data, size):
        sink.write(piece)
    sink.finish()


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_a_good_object(algorithm: Algorithm, compression: Compression, size: int) -> None:
    packed = PACKED[compression]
    sink, file = new_sink(packed, compression, algorithm=algorithm)
    feed(sink, packed, size)
    assert file.getvalue() == CONTENT


@pytest.mark.parametrize("compression", Compression)
def test_the_empty_file(compression: Compression) -> None:
    packed = compression.pack(b"")
    sink, file = new_sink(packed, compression, limit=0)
    feed(sink, packed)
    assert file.getvalue() == b""


@pytest.mark.parametrize("data", [b"", PACKED[Compression.ZLIB]])
def test_the_empty_file_is_nothing_else(data: bytes) -> None:
    sink, _ = new_sink(zlib.compress(b""), limit=0)
    with pytest.raises(Corrupt):
        feed(sink, data)


def flip(place: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "first byte only": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "last byte missing": lambda data: data[:-1],
    "checksum missing": lambda data: data[:-4],
    "one byte more": lambda data: data + b"\0",
    "twice": lambda data: data * 2,
    "another stream behind": lambda data: data + zlib.compress(b""),
    "first bit": flip(0),
    "a bit inside": flip(len(PACKED[Compression.ZLIB]) // 2),
    "last bit": flip(-2),
    "bytes swapped": lambda data: data[1::-1] + data[2:],
    "something else": lambda data: zlib.compress(b"x" * len(CONTENT)),
    "a web page": lambda data: b"<html>login</html>",
}


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_objects(name: str, size: int, compression: Compression) -> None:
    packed = PACKED[compression]
    sink, file = new_sink(packed, compression)
    with pytest.raises(Corrupt) as caught:
        feed(sink, DAMAGES[name](packed), size)
    assert caught.value.why
    assert "\n" not in caught.value.why
    assert len(file.getvalue()) <= len(CONTENT)


def test_every_flipped_bit_is_seen() -> None:
    content = b"a small file\n"
    packed = zlib.compress(content)
    for place in range(len(packed) * 8):
        damaged = bytearray(packed)
        damaged[place // 8] ^= 1 << place % 8
        sink, _ = new_sink(packed, limit=len(content))
        with pytest.raises(Corrupt):
            feed(sink, bytes(damaged))


@pytest.mark.parametrize("extra", [b"\0", b"more", zlib.compress(b""), bytes(100_000)])
def test_bytes_behind_the_stream_even_if_they_are_in_the_hash(extra: bytes) -> None:
    packed = PACKED[Compression.ZLIB] + extra
    sink, _ = new_sink(packed)
    with pytest.raises(Corrupt, match="behind the end"):
        feed(sink, packed, 100_000)


@pytest.mark.parametrize("cut", [1, 4, 5, 100])
def test_a_cut_stream_even_if_its_hash_is_right(cut: int) -> None:
    packed = PACKED[Compression.ZLIB][:-cut]
    sink, _ = new_sink(packed)
    with pytest.raises(Corrupt, match="cut off"):
        feed(sink, packed)


def test_no_zlib_stream_even_if_its_hash_is_right() -> None:
    sink, _ = new_sink(CONTENT)
    with pytest.raises(Corrupt, match="not a zlib stream"):
        feed(sink, CONTENT)


def test_raw_deflate_and_gzip_are_no_zlib_streams() -> None:
    for bits in (-15, 31):
        stream = zlib.compressobj(wbits=bits)
        packed = stream.compress(CONTENT) + stream.flush()
        sink, _ = new_sink(packed)
        with pytest.raises(Corrupt, match="not a zlib stream"):
            feed(sink, packed)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("difference", [-1, 1, -len(CONTENT), 1 << 40])
def test_wrong_sizes(difference: int, compression: Compression) -> None:
    packed = PACKED[compression]
    sink, file = new_sink(packed, compression, limit=len(CONTENT) + difference)
    with pytest.raises(Corrupt, match="unpacks to"):
        feed(sink, packed)
    assert len(file.getvalue()) <= len(CONTENT)


@pytest.mark.parametrize("limit", [len(CONTENT), len(CONTENT) + 1, 1 << 40])
def test_a_limit_that_is_no_size(limit: int) -> None:
    packed = PACKED[Compression.ZLIB]
    sink, file = new_sink(packed, limit=limit, exact=False)
    feed(sink, packed)
    assert file.getvalue() == CONTENT


@pytest.mark.parametrize("size", [100, 1 << 20])
@pytest.mark.parametrize("limit", [0, 100, 1 << 20, 50 << 20])
def test_bombs(limit: int, size: int, tmp_path: Path) -> None:
    """What a small packed object unpacks to never gets beyond the limit, not even for a moment."""
    with open(tmp_path / "object", "xb+") as file:
        sink = ObjectSink(file, Algorithm.SHA1.of(BOMB), Compression.ZLIB, limit, exact=True)
        with pytest.raises(Corrupt, match=f"more than {limit} bytes"):
            feed(sink, BOMB, size)
        file.flush()
        assert (tmp_path / "object").stat().st_size <= limit


def test_a_bomb_in_one_piece_needs_little_memory() -> None:
    import tracemalloc

    class Nowhere(io.BytesIO):
        def write(self, data: object, /) -> int:
            return 0

    sink = ObjectSink(Nowhere(), Algorithm.SHA1.of(BOMB), Compression.ZLIB, 200 << 20, exact=True)
    tracemalloc.start()
    try:
        feed(sink, BOMB, len(BOMB))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_of_unknown_size() -> None:
    """What nobody states the size of may become 64 times as much, and a little more."""
    name = Algorithm.SHA1.of(BOMB)
    sink = ObjectSink(io.BytesIO(), name, Compression.ZLIB, 1 << 30, exact=False)
    with pytest.raises(Corrupt, match="64 times"):
        feed(sink, BOMB, len(BOMB))


@pytest.mark.parametrize("compression", Compression)
def test_resets(compression: Compression) -> None:
    """Whatever an attempt left behind, the next one starts with nothing."""
    packed = PACKED[compression]
    sink, file = new_sink(packed, compression)
    dice = random.Random(1)
    for before in (b"", packed[:1], packed[:-1], packed, b"garbage"):
        sink.reset()
        try:
            sink.write(before)
        except Corrupt:
            assert compression is Compression.ZLIB
        if dice.random() < 0.5:
            sink.reset()  # twice is as good as once
        sink.reset()
        feed(sink, packed)
        assert file.getvalue() == CONTENT


def test_an_attempt_that_wrote_more_than_the_next() -> None:
    packed = zlib.compress(b"short")
    sink, file = new_sink(packed, limit=100, exact=False)
    sink.write(zlib.compress(b"something of long ago"))
    sink.reset()
    feed(sink, packed)
    assert file.getvalue() == b"short"


def test_the_hash_s_algorithm_counts() -> None:
    packed = PACKED[Compression.ZLIB]
    name = ContentHash(Algorithm.SHA1.of(packed).digest, Algorithm.SHAKE128)
    sink = ObjectSink(io.BytesIO(), name, Compression.ZLIB, len(CONTENT), exact=True)
    with pytest.raises(Corrupt, match="hash"):
        feed(sink, packed)


def test_a_full_disk_is_no_corruption() -> None:
    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    packed = PACKED[Compression.ZLIB]
    sink = ObjectSink(Full(), Algorithm.SHA1.of(packed), Compression.ZLIB, len(CONTENT), True)
    with pytest.raises(OSError, match="No space left"):
        feed(sink, packed)

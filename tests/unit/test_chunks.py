"""Where a large file is cut: the C core against a slow model of the same rule."""

from __future__ import annotations

import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyparrot.core import ffi, lib

_WORD = 1 << 32
_CENTRE = (1 << 31) - 1
_WINDOW = 32


def cut(data: bytes, minimum: int, average: int, maximum: int) -> int:
    buffer = ffi.from_buffer("uint8_t[]", data)
    length: int = lib.pp_chunk_cut(buffer, len(data), minimum, average, maximum)
    return length


def model(data: bytes, minimum: int, average: int, maximum: int) -> int:
    """The rule, word by word: what CernVM-FS's ``file_chunk`` detector does."""
    if len(data) <= minimum:
        return len(data)
    threshold = (_WORD - 1) // average
    total = 0
    for position in range(max(0, minimum - _WINDOW), min(len(data), maximum)):
        total = (total << 1 ^ data[position]) % _WORD
        if position >= minimum:
            signed = total - _WORD if total >= _WORD // 2 else total
            # The distance is that of 32-bit words: it goes round at the ends.
            distance = abs(signed - _CENTRE)
            if min(distance, _WORD - distance) < threshold:
                return position
    return min(len(data), maximum)


@st.composite
def _sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    minimum = draw(st.integers(1, 200))
    average = draw(st.integers(minimum, 2000))
    return minimum, average, draw(st.integers(average, 4000))


_DATA = st.one_of(
    st.binary(max_size=300),
    # More than hypothesis likes to make byte by byte.
    st.builds(
        lambda seed, size: random.Random(seed).randbytes(size), st.integers(), st.integers(0, 5000)
    ),
    st.builds(lambda byte, size: bytes((byte,)) * size, st.integers(0, 255), st.integers(0, 5000)),
)


@given(_DATA, _sizes())
@example(b"", (1, 1, 1))
@example(b"x", (1, 1, 1))
@example(bytes(64), (32, 32, 32))
@example(b"\xff" * 100, (33, 33, 99))
@settings(max_examples=300, deadline=None)
def test_cuts_are_those_of_the_model(data: bytes, sizes: tuple[int, int, int]) -> None:
    assert cut(data, *sizes) == model(data, *sizes)


@given(_DATA, _sizes())
@settings(deadline=None)
def test_limits(data: bytes, sizes: tuple[int, int, int]) -> None:
    minimum, _, maximum = sizes
    length = cut(data, *sizes)
    assert length <= len(data)
    assert length <= maximum
    assert length >= min(minimum, len(data))


@given(_DATA, _sizes(), st.binary(max_size=100))
@settings(deadline=None)
def test_a_cut_depends_on_what_is_before_it(
    data: bytes, sizes: tuple[int, int, int], more: bytes
) -> None:
    """Only the byte behind a cut has a say in it, so the end of the file is far away."""
    length = cut(data, *sizes)
    if length < len(data):
        assert cut(data[: length + 1] + more, *sizes) == length


@given(st.integers(), st.binary(min_size=1, max_size=50))
@settings(max_examples=20, deadline=None)
def test_chunks_behind_a_change_are_found_again(seed: int, inserted: bytes) -> None:
    """What chunks are for: a file that changes at its start shares its end."""
    content = random.Random(seed).randbytes(40_000)
    before = set(pieces(content))
    after = pieces(inserted + content)
    assert sum(len(piece) for piece in after if piece in before) > len(content) / 4


def pieces(content: bytes) -> list[bytes]:
    cuts = []
    while content:
        length = cut(content, 200, 400, 800)
        assert length > 0
        cuts.append(content[:length])
        content = content[length:]
    return cuts


@given(st.integers(1, 1 << 31), st.integers(0, 1 << 20))
def test_a_short_file_is_one_piece(average: int, size: int) -> None:
    assert cut(bytes(size), size + 1, max(average, size + 1), (1 << 31) - 1) == size


def test_real_sizes() -> None:
    """4, 8 and 16 MB: the default, on random bytes and on a hole."""
    megabyte = 1 << 20
    content = random.Random(7).randbytes(17 * megabyte)
    length = cut(content, 4 * megabyte, 8 * megabyte, 16 * megabyte)
    assert 4 * megabyte <= length <= 16 * megabyte
    window = content[4 * megabyte - 32 : length + 1]
    assert (
        length == 16 * megabyte or model(window, 32, 8 * megabyte, len(window)) == len(window) - 1
    )
    assert cut(bytes(17 * megabyte), 4 * megabyte, 8 * megabyte, 16 * megabyte) == 16 * megabyte

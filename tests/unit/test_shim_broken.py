"""Files that are broken, or no library: a `ValueError`, and never anything else."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.libraries import CALLS, assembled, check_segments

from pyparrot.shim.image import HEADER, LOAD, RELRO, SEGMENT, Image
from pyparrot.shim.patched import make_patched


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01\x01", b"\x7fELF\x02\x01\x01" * 100]
)
def test_what_is_no_library(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        make_patched(str(source), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_a_program_that_is_no_library(tmp_path: Path) -> None:
    data = bytearray(assembled(tmp_path, CALLS).read_bytes())
    data[16:18] = struct.pack("<H", 2)  # ET_EXEC
    (tmp_path / "source").write_bytes(data)
    with pytest.raises(ValueError, match="no shared library"):
        make_patched(str(tmp_path / "source"), str(tmp_path / "copy"))


def test_a_library_without_section_headers(tmp_path: Path) -> None:
    data = bytearray(assembled(tmp_path, CALLS).read_bytes())
    data[60:62] = bytes(2)  # e_shnum
    (tmp_path / "source").write_bytes(data)
    with pytest.raises(ValueError, match="no sane section headers"):
        make_patched(str(tmp_path / "source"), str(tmp_path / "copy"))


def attempt(directory: Path, data: bytes) -> None:
    """A copy, None or a `ValueError`: nothing else comes of any file."""
    source, target = directory / "broken", directory / "broken-copy"
    source.write_bytes(data)
    target.unlink(missing_ok=True)
    try:
        patched = make_patched(str(source), str(target))
    except ValueError:
        patched = None
    assert target.exists() == (patched is not None)
    if patched is not None:
        check_segments(Image(data), Image(target.read_bytes()), patched)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    directory = tmp_path_factory.mktemp("small")
    return directory, assembled(directory, CALLS + ".data\n .quad stat1\n").read_bytes()


def test_every_beginning_of_a_library(small: tuple[Path, bytes]) -> None:
    directory, data = small
    for size in range(0, len(data), 97):
        attempt(directory, data[:size])


EXTREMES = [0, 1, 7, 8, 0x40, 0xFFF, 0x1000, 2**26, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 1024), st.integers(0, 1 << 20)),
            st.one_of(
                st.binary(min_size=1, max_size=8),
                st.sampled_from([struct.pack("<Q", value) for value in EXTREMES]),
                st.sampled_from([struct.pack("<I", value & 0xFFFFFFFF) for value in EXTREMES]),
            ),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_no_change_makes_it_fail_otherwise(
    small: tuple[Path, bytes], changes: list[tuple[int, bytes]]
) -> None:
    directory, data = small
    broken = bytearray(data)
    for position, value in changes:
        start = position % len(data)
        broken[start : start + len(value)] = value
    attempt(directory, bytes(broken))


@pytest.mark.parametrize("field", range(8))
def test_every_extreme_in_every_program_header(small: tuple[Path, bytes], field: int) -> None:
    directory, data = small
    offset, size = ((0, 4), (4, 4), *((8 * index, 8) for index in range(1, 7)))[field]
    for number in range(len(Image(data).segments)):
        for value in (*EXTREMES, LOAD, RELRO):
            broken = bytearray(data)
            position = HEADER.size + number * SEGMENT.size + offset
            broken[position : position + size] = struct.pack("<Q", value)[:size]
            attempt(directory, bytes(broken))

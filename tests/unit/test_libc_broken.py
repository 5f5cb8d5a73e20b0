"""Files that are broken, or no library, or no shim: a `ValueError`, and never anything else."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.libraries import CALLS, SHIM, assembled, check_segments, shim_of

from pyparrot.libc.copy import make_copy
from pyparrot.libc.elf import DYNAMIC, EH_FRAME, HEADER, LOAD, SEGMENT
from pyparrot.libc.image import Image

DISPATCH = """
    long count;
    long pp_dispatch(const void *entry) { return entry ? ++count : 0; }
"""
NO_LIBRARY = [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01\x01", b"\x7fELF\x02\x01\x01" * 100]


class Small(NamedTuple):
    """A library and a shim, both small, and where files may be written."""

    directory: Path
    library: bytes
    shim: bytes

    def __repr__(self) -> str:
        return "Small"  # all of it would be too much in reports


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    directory = tmp_path_factory.mktemp("small")
    library = assembled(directory, CALLS + ".data\n .quad stat1\n").read_bytes()
    return Small(directory, library, shim_of(directory, DISPATCH).read_bytes())


def attempt(directory: Path, library: bytes, shim: bytes) -> bool:
    """Whether a copy is made; if not, there is a `ValueError` or no site: nothing else comes."""
    files = [directory / name for name in ("a-library", "a-shim", "a-copy")]
    files[0].write_bytes(library)
    files[1].write_bytes(shim)
    files[2].unlink(missing_ok=True)
    try:
        count = make_copy(*map(str, files))
    except ValueError:
        count = 0
    assert files[2].exists() == bool(count)
    if count:
        check_segments(Image(library), Image(files[2].read_bytes()), Image(shim))
    return count > 0


def test_the_small_ones_are_good(small: Small) -> None:
    assert attempt(*small)


@pytest.mark.parametrize("content", NO_LIBRARY)
def test_what_is_no_library(tmp_path: Path, small: Small, content: bytes) -> None:
    assert not attempt(tmp_path, content, small.shim)
    assert not attempt(tmp_path, small.library, content)


def test_a_program_that_is_no_library(tmp_path: Path, small: Small) -> None:
    (tmp_path / "source").write_bytes(changed(small.library, 16, struct.pack("<H", 2)))  # ET_EXEC
    with pytest.raises(ValueError, match="no shared library"):
        make_copy(str(tmp_path / "source"), str(SHIM), str(tmp_path / "copy"))


MACHINES = {"i386": 3, "arm64": 183, "none": 0}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_library_for_another_cpu(tmp_path: Path, small: Small, machine: str) -> None:
    field = struct.pack("<H", MACHINES[machine])
    (tmp_path / "source").write_bytes(changed(small.library, 18, field))
    with pytest.raises(ValueError, match="unsupported CPU"):
        make_copy(str(tmp_path / "source"), str(SHIM), str(tmp_path / "copy"))
    (tmp_path / "source").write_bytes(small.library)
    (tmp_path / "shim").write_bytes(changed(small.shim, 18, field))
    with pytest.raises(ValueError, match="a shim for another CPU"):
        make_copy(str(tmp_path / "source"), str(tmp_path / "shim"), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_a_library_without_section_headers(tmp_path: Path, small: Small) -> None:
    (tmp_path / "source").write_bytes(changed(small.library, 60, bytes(2)))  # e_shnum
    with pytest.raises(ValueError, match="unsupported section headers"):
        make_copy(str(tmp_path / "source"), str(SHIM), str(tmp_path / "copy"))


NO_SHIM = {
    "more segments": (DISPATCH, "-Wl,-z,separate-code"),
    "another address": (DISPATCH, "-Wl,-Ttext-segment=0x10000"),
    "initialized memory": (DISPATCH.replace("long count;", "long count = 7;"), ""),
    "an address to relocate": (DISPATCH + "const void *const own = &own;", ""),
    "a missing entry": (DISPATCH, "-Dpp_enter_3=pp_enter_4"),
}


@pytest.mark.parametrize("case", NO_SHIM)
def test_what_is_no_shim(tmp_path: Path, case: str) -> None:
    source = assembled(tmp_path, CALLS)
    dispatch, option = NO_SHIM[case]
    shim = shim_of(tmp_path, dispatch, *option.split())
    with pytest.raises(ValueError, match="no shim"):
        make_copy(str(source), str(shim), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


EXTREMES = [0, 1, 7, 8, 0x40, 0xFFF, 0x1000, 2**26, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


def changed(data: bytes, position: int, value: bytes) -> bytes:
    """*data* with *value* at *position*; what would be behind its end is left out."""
    return (data[:position] + value + data[position + len(value) :])[: len(data)]


def test_every_beginning(small: Small) -> None:
    for size in range(0, len(small.library), 97):
        attempt(small.directory, small.library[:size], small.shim)
    for size in range(0, len(small.shim), 97):
        attempt(small.directory, small.library, small.shim[:size])


CHANGES = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 1024), st.integers(0, 1 << 20)),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([struct.pack("<Q", value) for value in EXTREMES]),
            st.sampled_from([struct.pack("<I", value & 0xFFFFFFFF) for value in EXTREMES]),
        ),
    ),
    max_size=6,
)


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(in_library=CHANGES, in_shim=CHANGES)
@example(in_library=[], in_shim=[(HEADER.size + SEGMENT.size + 18, b"\x01")])  # memory far behind
def test_no_change_makes_it_fail_otherwise(
    small: Small, in_library: list[tuple[int, bytes]], in_shim: list[tuple[int, bytes]]
) -> None:
    library, shim = small.library, small.shim
    for position, value in in_library:
        library = changed(library, position % len(library), value)
    for position, value in in_shim:
        shim = changed(shim, position % len(shim), value)
    attempt(small.directory, library, shim)


@pytest.mark.parametrize("field", range(8))
def test_every_extreme_in_every_program_header(small: Small, field: int) -> None:
    offset, size = ((0, 4), (4, 4), *((8 * index, 8) for index in range(1, 7)))[field]
    for value in (*EXTREMES, LOAD, DYNAMIC, EH_FRAME):
        content = struct.pack("<Q", value)[:size]
        for number in range(len(Image(small.library).segments)):
            position = HEADER.size + number * SEGMENT.size + offset
            attempt(small.directory, changed(small.library, position, content), small.shim)
        for number in range(len(Image(small.shim).segments)):
            position = HEADER.size + number * SEGMENT.size + offset
            attempt(small.directory, small.library, changed(small.shim, position, content))


@pytest.mark.parametrize("entry", range(4))
def test_entries_anywhere(small: Small, entry: int) -> None:
    """A stub jumps to nothing that is not the shim's code."""
    image = Image(small.shim)
    address = image.address_of(b"pp_enter_%d" % entry)
    assert address is not None
    place = small.shim.index(struct.pack("<Q", address))  # in .dynsym, which comes first
    size = image.loads[0].file_size
    for value in (*EXTREMES, size - 1, size):
        content = struct.pack("<Q", value)
        made = attempt(small.directory, small.library, changed(small.shim, place, content))
        assert made == (value < size)


def test_the_table_of_a_shim_says_anything(small: Small) -> None:
    image = Image(small.shim)
    (table,) = [each for each in image.segments if each.type == EH_FRAME]
    for place in range(table.offset, table.offset + min(table.file_size, 64), 4):
        for value in EXTREMES:
            content = struct.pack("<I", value & 0xFFFFFFFF)
            attempt(small.directory, small.library, changed(small.shim, place, content))

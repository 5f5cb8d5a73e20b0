"""The headers of ELF files, and programs that get another interpreter."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyparrot.libc.elf import (
    HEADER,
    INTERPRETER,
    LOAD,
    MOST_SEGMENTS,
    SEGMENT,
    Header,
    Reader,
    file_reader,
    read_headers,
    reader_of,
)
from pyparrot.libc.interpreter import copy_with_interpreter

PROGRAM = Path("/bin/true")
LOADER = Path("/lib64/ld-linux-x86-64.so.2").resolve()


@contextlib.contextmanager
def readers(tmp_path: Path, content: bytes) -> Iterator[list[Reader]]:
    """Both ways to read *content*."""
    file = tmp_path / "content"
    file.write_bytes(content)
    with open(file, "rb") as opened:
        yield [reader_of(content), file_reader(opened.fileno())]


def with_fields(**fields: Any) -> bytes:
    """The program with other fields in its header."""
    content = PROGRAM.read_bytes()
    header = Header._make(HEADER.unpack_from(content))._replace(**fields)
    return HEADER.pack(*header) + content[HEADER.size :]


def test_the_headers_of_a_program(tmp_path: Path) -> None:
    content = PROGRAM.read_bytes()
    with readers(tmp_path, content) as both:
        first, second = map(read_headers, both)
        assert first == second
        header, segments = first
        assert HEADER.pack(*header) == content[: HEADER.size]
        table = b"".join(SEGMENT.pack(*segment) for segment in segments)
        assert content[header.phoff : header.phoff + len(table)] == table
        assert [segment.type for segment in segments].count(INTERPRETER) == 1
        assert max(each.memory_size for each in segments if each.type == LOAD) > 1000


BROKEN = {
    "nothing": (b"", "no ELF file"),
    "a script": (b"#!/bin/sh\n", "no ELF file"),
    "32 bits": (b"\x7fELF\x01\x01" + bytes(64), "no ELF file"),
    "big-endian": (b"\x7fELF\x02\x02" + bytes(64), "no ELF file"),
    "a header cut off": (PROGRAM.read_bytes()[: HEADER.size - 1], "no ELF file"),
    "a table cut off": (PROGRAM.read_bytes()[: HEADER.size + SEGMENT.size], "the file ends"),
    "another size": (with_fields(phentsize=SEGMENT.size + 8), "unsupported program headers"),
    "too many": (with_fields(phnum=MOST_SEGMENTS + 1), "unsupported program headers"),
    "a table behind the end": (with_fields(phoff=1 << 40), "the file ends"),
    "a table behind all files": (with_fields(phoff=(1 << 63) - 1), "the file ends"),
    "a table nowhere": (with_fields(phoff=(1 << 64) - 1), "the file ends"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_headers(tmp_path: Path, case: str) -> None:
    content, message = BROKEN[case]
    with readers(tmp_path, content) as both:
        for read in both:
            with pytest.raises(ValueError, match=message):
                read_headers(read)
    with pytest.raises(OSError, match="Exec format error"):
        copy(tmp_path / "content", tmp_path / "target", b"/x")


def copy(source: Path, target: Path, interpreter: bytes) -> None:
    copy_with_interpreter(bytes(source), bytes(target), interpreter)


def test_a_program_runs_with_another_interpreter(tmp_path: Path) -> None:
    loader = tmp_path / "another-loader"
    loader.write_bytes(LOADER.read_bytes())
    loader.chmod(0o755)
    target = tmp_path / "program"
    copy(PROGRAM, target, bytes(loader))
    target.chmod(0o755)
    assert subprocess.run([target], check=False).returncode == 0
    loader.unlink()
    with pytest.raises(FileNotFoundError):
        subprocess.run([target], check=False)


def test_only_the_name_of_the_interpreter_changes(tmp_path: Path) -> None:
    target = tmp_path / "program"
    name = b"/a/place/of/its/own/ld.so"
    copy(PROGRAM, target, name)
    before, after = PROGRAM.read_bytes(), target.read_bytes()
    assert after.endswith(name + b"\0")
    assert len(after) == len(before) + len(name) + 1
    changed = [i for i, (old, new) in enumerate(zip(before, after)) if old != new]
    assert 0 < len(changed) <= 16
    assert changed[-1] - changed[0] < 56  # in one entry of the table of segments


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01", b"\x7fELF" * 100])
def test_what_is_no_such_program(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(content)
    with pytest.raises(OSError, match="Exec format error"):
        copy(source, tmp_path / "target", b"/x")


@given(st.binary(min_size=64, max_size=600))
def test_no_header_makes_it_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    directory = tmp_path_factory.mktemp("elf")
    source = directory / "source"
    source.write_bytes(b"\x7fELF\x02\x01" + raw)
    try:
        copy(source, directory / "target", b"/x")
    except OSError:
        return

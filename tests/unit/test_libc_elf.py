"""Programs that get another interpreter."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyparrot.libc.elf import copy_with_interpreter

PROGRAM = Path("/bin/true")
LOADER = Path("/lib64/ld-linux-x86-64.so.2").resolve()


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

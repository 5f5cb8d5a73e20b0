"""Shared libraries to test with: the C library that runs the tests, and small ones made for one.

And shims: the real one, and small ones that are linked as it is.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

from pyparrot.libc.elf import EH_FRAME, PROGRAM_HEADERS, SEGMENT, Segment
from pyparrot.libc.image import Image
from pyparrot.libc.substitution import LIBRARY

PAGE = 4096
SHIM = Path(LIBRARY)
_TOP = Path(__file__).parents[2]


def c_library() -> Path:
    """The C library of this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/libc.so.6" in line or "/libc-2." in line:
            return Path(line.split(None, 5)[5])
    pytest.skip("no glibc")


def compiler() -> str:
    """The C compiler; the test is skipped without one."""
    return shutil.which("cc") or pytest.skip("no C compiler")


def assembled(directory: Path, text: str, *options: str) -> Path:
    """A new shared library of the assembler source *text*, in *directory*; *options* to link it."""
    source = directory / "library.s"
    source.write_text(text)
    target = directory / "library.so"
    command = [compiler(), "-shared", "-nostdlib", "-Wl,-z,noexecstack", *options]
    subprocess.run([*command, "-o", str(target), str(source)], check=True)
    return target


def compiled(directory: Path, source: str) -> str:
    """The program, new in *directory*, of the C file *source* beside this one."""
    target = directory / Path(source).stem
    command = [compiler(), "-D_GNU_SOURCE", "-O1", "-mno-red-zone", "-Wall", "-o", str(target)]
    subprocess.run([*command, str(Path(__file__).with_name(source)), "-ldl"], check=True)
    return str(target)


def shim_of(directory: Path, dispatch: str, *options: str) -> Path:
    """A new shim in *directory*: the real way in, then the C source *dispatch* (``pp_dispatch``).

    It is linked as the real one is, with *options* besides.
    """
    source, target = directory / "dispatch.c", directory / "shim.so"
    source.write_text(dispatch)
    entry = "csrc/arch/x86_64/entry.S"
    command = [compiler(), *_flags(), *options, "-o", str(target), str(source), entry]
    subprocess.run(command, check=True, cwd=_TOP)
    return target


def _flags() -> list[str]:
    """What setup.py compiles and links the real shim with."""
    for statement in ast.parse((_TOP / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "FLAGS":
            flags: list[str] = eval(ast.unparse(statement.value), {})
            return flags
    raise AssertionError("setup.py names no FLAGS")


def function(name: str, body: str) -> str:
    """The global function *name*, described to the unwinder, in assembler."""
    return f"""
        .text
        .globl {name}
        .type {name}, @function
        .balign 16
    {name}:
        .cfi_startproc
        {body}
        ret
        .cfi_endproc
        .size {name}, . - {name}
    """


COMPARISON_TEXTS = (
    "cmp $-4095, %rax",
    "cmp $-4096, %rax",
    "cmp $0xfffff001, %eax",
    "cmp $0xfffff000, %eax",
)
"""What `pyparrot.libc.arch.x86_64.sites.COMPARISONS` are, in their order."""

# Four functions that stat, by the four comparisons; they return 1 if that failed, else 0.
CALLS = "".join(
    function(
        f"stat{index}",
        f"""
            mov $4, %eax
            syscall
            {comparison}
            {condition} .Lfailed{index}
            xor %eax, %eax
            ret
        .Lfailed{index}:
            mov $1, %eax
        """,
    )
    for index, (comparison, condition) in enumerate(
        zip(COMPARISON_TEXTS, ("jae", "ja", "jae", "ja"))
    )
)


def added(after: Image) -> tuple[Segment, Segment]:
    """What a copy has that its library has not: a segment of code, and one of zeros."""
    code, memory = after.loads[-2:]
    return code, memory


def shim_base(after: Image, shim: Image) -> int:
    """Where *shim* is loaded in the copy *after*."""
    code, _ = added(after)
    return code.address + code.file_size - shim.loads[0].file_size


def check_segments(before: Image, after: Image, shim: Image) -> None:
    """Check *after*, the copy of *before* with *shim*, by the rules of loader and kernel."""
    code, memory = added(after)
    assert after.loads[:-2] == before.loads
    for new in (code, memory):
        assert new.address == new.offset == new.physical
        assert new.address % PAGE == 0
    last = before.loads[-1]
    assert code.address >= max(last.address + last.memory_size, len(before.data))
    assert (code.flags, code.memory_size) == (5, code.file_size)
    assert code.offset + code.file_size <= len(after.data)
    assert len(after.data) % PAGE == 0
    # All zeros, with nothing of it in the file; at the distance from the code that it had.
    base = shim_base(after, shim)
    end = base + shim.loads[1].address + shim.loads[1].memory_size
    assert (memory.flags, memory.file_size) == (6, 0)
    assert memory.address >= code.address + code.file_size
    assert memory.address <= base + shim.loads[1].address
    assert memory.address + memory.memory_size == end
    assert after.read(base, shim.loads[0].file_size) == shim.read(0, shim.loads[0].file_size)

    assert (after.header.phoff, after.header.shoff) == (code.offset, before.header.shoff)
    kept = [each for each in after.segments if each not in (code, memory)]
    for old, new in zip(before.segments, kept):
        assert new.type == old.type
        if new.type not in (PROGRAM_HEADERS, EH_FRAME):
            assert new == old
            continue
        assert new.address == new.offset
        assert code.address <= new.address
        assert new.address + new.memory_size <= base
        if new.type == PROGRAM_HEADERS:
            assert new.address == after.header.phoff
            assert new.file_size == len(after.segments) * SEGMENT.size

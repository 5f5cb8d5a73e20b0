"""Shared libraries to test with: the C library that runs the tests, and small ones made for one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pyparrot.shim.image import PROGRAM_HEADERS, RELRO, SEGMENT, WRITE, Image
from pyparrot.shim.patched import Patched

PAGE = 4096


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
    command = [
        compiler(),
        "-shared",
        "-nostdlib",
        "-Wl,-z,noexecstack",
        "-o",
        str(target),
        str(source),
    ]
    subprocess.run(command, check=True)
    return target


def compiled(directory: Path, source: str, *options: str) -> str:
    """The program or library, new in *directory*, of the C file *source* beside this one."""
    target = directory / Path(source).stem
    command = [compiler(), "-D_GNU_SOURCE", "-O1", "-mno-red-zone", *options, "-o", str(target)]
    subprocess.run([*command, str(Path(__file__).with_name(source)), "-ldl"], check=True)
    return str(target)


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
        (
            ("cmp $-4095, %rax", "jae"),
            ("cmp $-4096, %rax", "ja"),
            ("cmp $0xfffff001, %eax", "jae"),
            ("cmp $0xfffff000, %eax", "ja"),
        )
    )
)


def check_segments(before: Image, after: Image, patched: Patched) -> None:
    """Check *after*, the copy of *before*, by the rules of the loader and of the kernel."""
    new = after.loads[-1]
    assert len(after.loads) == len(before.loads) + 1
    assert (new.address, new.offset, new.flags) == (patched.phoff, patched.phoff, 5)
    assert new.address % PAGE == 0
    assert all(new.address >= load.address + load.memory_size for load in after.loads[:-1])
    assert after.phoff == new.offset
    assert len(after.segments) * SEGMENT.size <= new.file_size == new.memory_size
    assert (after.phoff, after.shoff) == (patched.phoff, patched.shoff)
    for segment in after.segments:
        if segment.type == PROGRAM_HEADERS:
            assert segment.address == segment.offset == patched.phoff
            assert segment.file_size == len(after.segments) * SEGMENT.size
        if segment.type == RELRO:
            protected = segment.address + segment.memory_size
            assert patched.slots >= protected + -protected % PAGE
    # The slots: in memory that can be written to, and that nothing in the file fills.
    assert patched.slots % 8 == 0
    (home,) = [
        load
        for load in after.loads
        if load.address + load.file_size <= patched.slots
        and patched.slots + 32 <= load.address + load.memory_size
    ]
    assert home.flags & WRITE
    (former,) = [load for load in before.loads if load.address == home.address]
    assert former.address + former.memory_size <= patched.slots
    assert former._replace(memory_size=home.memory_size) == home

"""The way from a site to the shim and back, at work."""

from __future__ import annotations

import struct
import subprocess
from itertools import product
from pathlib import Path

import capstone
import pytest
from support.libraries import (
    COMPARISON_TEXTS,
    SHIM,
    added,
    assembled,
    check_segments,
    compiled,
    function,
    shim_base,
    shim_of,
)

from pyparrot.libc.arch.x86_64.sites import find_sites
from pyparrot.libc.copy import make_copy
from pyparrot.libc.image import Image

STAT, FCHDIR = 4, 81
SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
SET = (*SAVED, "r8", "r9", "r10")
REGISTERS = ("rax", "rdi", "rsi", "rdx", "rsp", *SET)
FLAGS, RED_ZONE, VECTORS = 14, 15, 32  # places in a record
BUFFER = 18
CARRY, ZERO = 0x01, 0x40


def recording(name: str, comparison: str) -> str:
    """A function that makes a call with all registers and the red zone set, and notes them then.

    Arguments as in ``shim_caller.c``. Only %rcx and %r11 are not noted: a system call changes them.
    """
    lines = [f"push %{register}" for register in SAVED] + ["push %rcx"]
    for number in range(16):
        lines += [f"movabs ${0x0123456789ABCDE0 + number}, %rax", f"movq %rax, %xmm{number}"]
        lines += [f"punpcklqdq %xmm{number}, %xmm{number}"]
        lines += [f"movq ${0x7EDC0000 + number}, {-8 * (number + 1)}(%rsp)"]
    lines += [f"movabs ${0x1234567800 + place}, %{name}" for place, name in enumerate(SET)]
    lines += [f"mov ${STAT}, %eax", "syscall", comparison, "mov (%rsp), %rcx"]
    lines += [f"mov %{name}, {8 * place}(%rcx)" for place, name in enumerate(REGISTERS)]
    for number in range(16):
        lines += [f"mov {-8 * (number + 1)}(%rsp), %r11"]
        lines += [f"mov %r11, {8 * (RED_ZONE + number)}(%rcx)"]
        lines += [f"movups %xmm{number}, {8 * VECTORS + 16 * number}(%rcx)"]
    lines += ["pushfq", "pop %r11", f"mov %r11, {8 * FLAGS}(%rcx)", "pop %rcx"]
    lines += [f"pop %{register}" for register in reversed(SAVED)]
    return function(name, "\n".join(lines))


RECORDINGS = "".join(
    recording(f"record{index}", comparison) for index, comparison in enumerate(COMPARISON_TEXTS)
)

# Says what it was given, in the second argument; returns the third; leaves no register as it was.
ECHO = """
    #include "arch/x86_64/gate.h"
    static uint64_t count;
    int64_t pp_dispatch(const struct pp_entry *entry)
    {
        uint64_t *buffer = (uint64_t *)entry->args[1];
        buffer[0] = ++count;
        buffer[1] = entry->number;
        for (int i = 0; i < 6; i++)
            buffer[2 + i] = entry->args[i];
        const int64_t value = (int64_t)entry->args[2];
        __asm__ volatile("xor %%edx, %%edx; mov %%rdx, %%rsi; mov %%rdx, %%rdi; mov %%rdx, %%r8;"
                         "mov %%rdx, %%r9; mov %%rdx, %%r10; mov %%rdx, %%r11; mov %%rdx, %%rcx"
                         : : : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
        return value;
    }
"""


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what is compiled once: the programs, and the shim that echoes."""
    directory = tmp_path_factory.mktemp("tools")
    compiled(directory, "shim_caller.c")
    compiled(directory, "shim_stepper.c")
    shim_of(directory, ECHO)
    return directory


def recorded(tools: Path, path: Path, number: int, *libraries: Path) -> list[list[int]]:
    """What the functions of *libraries* leave: each one's eight calls."""
    command = [str(tools / "shim_caller"), str(path), f"{number:x}", *map(str, libraries)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [[int(word, 16) for word in line.split()] for line in told.splitlines()]
    assert len(lines) == 8 * len(libraries)
    return lines


def check_what_is_left(record: list[int]) -> None:
    """All is as it was set, but for the result and the flags."""
    for place, name in enumerate(SET):
        assert record[REGISTERS.index(name)] == 0x1234567800 + place, name
    assert record[RED_ZONE : RED_ZONE + 16] == [0x7EDC0000 + number for number in range(16)]
    vectors = [0x0123456789ABCDE0 + number for number in range(16) for _ in range(2)]
    assert record[VECTORS:] == vectors


@pytest.mark.parametrize(
    "layout",
    [
        "-Wl,-z,separate-code",
        "-Wl,-z,noseparate-code",
        "-Wl,-z,norelro",
        "-Wl,-z,now",
        "-Wl,-z,max-page-size=0x200000",
    ],
)
def test_the_shim_gets_the_calls(tools: Path, tmp_path: Path, layout: str) -> None:
    source = assembled(tmp_path, RECORDINGS + ".data\n .quad record0\n .bss\n .skip 9", layout)
    copy, shim = tmp_path / "copy.so", tools / "shim.so"
    assert make_copy(str(source), str(shim), str(copy)) == len(COMPARISON_TEXTS)
    images = [Image(each.read_bytes()) for each in (source, copy, shim)]
    check_segments(*images)
    for count, words in enumerate(recorded(tools, tmp_path, 0xABC, copy), 1):
        buffer, record = words[:BUFFER], words[BUFFER:]
        arguments = [
            record[REGISTERS.index(name)] for name in ("rdi", "rsi", "rdx", "r10", "r8", "r9")
        ]
        assert buffer[:8] == [count, STAT, *arguments]
        assert record[0] == arguments[2] == 0xABC
        check_what_is_left(record)


@pytest.mark.parametrize(
    "value",
    [0, -1, -4094, -4095, -4096, -4097, 0xFFFFF001, 0xFFFFF000, 0xFFFFEFFF, 1 << 32 | 0xFFFFF001],
)
def test_the_comparison_is_made_with_what_the_shim_gives(
    tools: Path, tmp_path: Path, value: int
) -> None:
    source = assembled(tmp_path, RECORDINGS)
    make_copy(str(source), str(tools / "shim.so"), str(tmp_path / "copy.so"))
    value &= 2**64 - 1
    seen = []
    for words in recorded(tools, tmp_path, value, tmp_path / "copy.so"):
        assert words[BUFFER] == value
        seen.append(words[BUFFER + FLAGS] & (CARRY | ZERO))
    expected = []
    for bits, limit in ((64, 4095), (64, 4096), (32, 4095), (32, 4096)):
        result, other = value % 2**bits, 2**bits - limit
        expected += 2 * [CARRY * (result < other) + ZERO * (result == other)]
    assert seen == expected


def test_a_call_let_through_leaves_what_the_kernel_leaves(tools: Path, tmp_path: Path) -> None:
    """Results, buffers, flags and all registers, with the real shim and without one."""
    source = assembled(tmp_path, RECORDINGS)
    copy, path = tmp_path / "copy.so", tmp_path / "file"
    path.write_bytes(b"content")
    assert make_copy(str(source), str(SHIM), str(copy)) == len(COMPARISON_TEXTS)
    lines = recorded(tools, path, 0xABC, source, copy)
    assert lines[8:] == lines[:8]
    assert [line[BUFFER] for line in lines[:8]] == 4 * [0, 2**64 - 2]  # -ENOENT
    assert lines[0][1] == path.stat().st_ino
    for line in lines:
        check_what_is_left(line[BUFFER:])


def framed(number: int, comparison: str) -> str:
    """A function with a frame that makes a call; it returns whether that failed."""
    return function(
        "framed",
        f"""
            push %rbx
            .cfi_adjust_cfa_offset 8
            .cfi_offset rbx, -16
            sub $48, %rsp
            .cfi_adjust_cfa_offset 48
            mov %rsp, %rbx
            mov ${number}, %eax
            syscall
            {comparison}
            seta %al
            movzbl %al, %eax
            add $48, %rsp
            .cfi_adjust_cfa_offset -48
            pop %rbx
            .cfi_adjust_cfa_offset -8
        """,
    )


def instructions(image: Image, start: int) -> list[int]:
    """Where the instructions stand from *start* to the first jump."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    found = []
    for address, _, name, _ in decoder.disasm_lite(image.read(start, 256), start):
        found.append(address)
        if name == "jmp":
            return found
    raise AssertionError("no jump")


@pytest.mark.parametrize(("number", "index"), list(product((STAT, FCHDIR), range(4))))
def test_all_on_the_way_can_be_unwound(
    tools: Path, tmp_path: Path, number: int, index: int
) -> None:
    source = assembled(tmp_path, framed(number, COMPARISON_TEXTS[index]))
    (site,) = find_sites(Image(source.read_bytes()))
    assert (site.number, site.entry) == (number, index)
    assert make_copy(str(source), str(SHIM), str(tmp_path / "copy.so")) == 1
    copy, shim = Image((tmp_path / "copy.so").read_bytes()), Image(SHIM.read_bytes())
    code, _ = added(copy)
    back = site.address + site.length
    places = (code.address, code.address + code.file_size, back)
    command = [str(tools / "shim_stepper"), str(tmp_path / "copy.so"), *map(str, places)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result, *lines = told.splitlines()
    assert result == ("0" if number == STAT else "1")
    steps = [tuple(map(int, line.split())) for line in lines]
    assert not [step for step in steps if not step[2]]
    # Each instruction of the stub and of the shim's way in was seen, and functions behind them.
    (distance,) = struct.unpack("<xi", copy.read(site.address, 5))
    entry = shim.address_of(b"pp_enter_%d" % index)
    assert entry is not None
    own = instructions(copy, site.address + 5 + distance)
    own += instructions(copy, shim_base(copy, shim) + entry)
    assert sorted(place for place, inside, _ in steps if not inside) == sorted(own)
    # It asks for the shared state when there is first something to be looked at.
    assert max(inside for _, inside, _ in steps) >= (2 if number == STAT else 1)

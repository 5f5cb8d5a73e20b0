"""The code that sites of patched libraries jump to, at work."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.libraries import CALLS, assembled, check_segments, compiled, function

from pyparrot.shim.image import Image
from pyparrot.shim.patched import make_patched
from pyparrot.shim.sites import find_sites


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
def test_a_filled_slot_is_called(tmp_path: Path, layout: str) -> None:
    source = assembled(tmp_path, CALLS + ".data\n .quad stat0\n .bss\n .skip 9", layout)
    patched = make_patched(str(source), str(tmp_path / "copy.so"))
    assert patched is not None
    check_segments(Image(source.read_bytes()), Image((tmp_path / "copy.so").read_bytes()), patched)
    assert patched.sites == 4
    program = compiled(tmp_path, "shim_caller.c")
    told = subprocess.check_output([program, tmp_path / "copy.so", str(patched.slots)], text=True)
    lines = [line.split() for line in told.splitlines()]
    # The kernel's answers; then -ENOENT and 0 by turns, beginning with what comes at the turn.
    turns = (("1", "0"), ("0", "1"))
    for index, line in enumerate(lines):
        count = str(3 * (index + 1))
        assert line == ["0", "1", "1", *turns[index % 2], count, "4", str(index), "1"]
    assert len(lines) == 4


FRAMED = function(
    "framed",
    """
        push %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_offset rbx, -16
        sub $48, %rsp
        .cfi_adjust_cfa_offset 48
        mov %rsp, %rbx
        mov $4, %eax
        syscall
        cmp $-4095, %rax
        setae %al
        movzbl %al, %eax
        add $48, %rsp
        .cfi_adjust_cfa_offset -48
        pop %rbx
        .cfi_adjust_cfa_offset -8
    """,
)


def test_a_stub_can_be_unwound(tmp_path: Path) -> None:
    source = assembled(tmp_path, FRAMED)
    (site,) = find_sites(Image(source.read_bytes()))
    patched = make_patched(str(source), str(tmp_path / "copy.so"))
    assert patched is not None
    program = compiled(tmp_path, "shim_stepper.c")
    places = str(patched.phoff), str(site.address + site.length)
    told = subprocess.check_output([program, tmp_path / "copy.so", *places], text=True)
    status, seen, good = map(int, told.split())
    assert status == 0
    assert seen >= 6  # mov, lea, test, jz, syscall, cmp, jmp
    assert good == seen

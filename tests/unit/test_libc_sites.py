"""System calls in libraries that may be replaced, and those that must not be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.libraries import COMPARISON_TEXTS, assembled, c_library, function

from pyparrot.core import lib
from pyparrot.libc.arch.base import ANY_NUMBER, CallSite
from pyparrot.libc.arch.x86_64.sites import COMPARISONS, find_sites
from pyparrot.libc.image import Image

STAT, GETPID, FCHDIR, PRCTL, SECCOMP = 4, 39, 81, 157, 317

# Symbols that begin with L stay in the assembler.
GOOD = """
    mov $4, %eax
    mov %rsi, %rdx
    syscall
    cmp $-4095, %rax
    jae .Lfailed
    ret
.Lfailed:
    neg %eax
"""


def sites(directory: Path, text: str) -> list[CallSite]:
    return find_sites(Image(assembled(directory, text).read_bytes()))


@pytest.mark.parametrize("index", range(4))
def test_every_comparison_is_found(tmp_path: Path, index: int) -> None:
    body = GOOD.replace(COMPARISON_TEXTS[0], COMPARISON_TEXTS[index])
    (site,) = sites(tmp_path, function("good", body))
    # The assembler knows a shorter form for no comparison that fits in 8 bits: all are 32 bits.
    assert site[1:] == (2 + len(COMPARISONS[index]), index, STAT)
    data = Image((tmp_path / "library.so").read_bytes()).read(site.address, site.length)
    assert data == b"\x0f\x05" + COMPARISONS[index]


@pytest.mark.parametrize("number", [STAT, FCHDIR, PRCTL, SECCOMP])
def test_calls_of_interest(tmp_path: Path, number: int) -> None:
    found = sites(tmp_path, function("good", GOOD.replace("$4,", f"${number},")))
    assert [site.number for site in found] == [number]


@pytest.mark.parametrize("number", [0, 1, GETPID, 58, 9999, 0x40000004, 0xFFFFFFFF])
def test_calls_of_no_interest(tmp_path: Path, number: int) -> None:
    assert not sites(tmp_path, function("other", GOOD.replace("$4,", f"${number},")))


def test_the_function_that_makes_any_call(tmp_path: Path) -> None:
    body = "mov %rdi, %rax\n mov 8(%rsp), %r9\n syscall\n cmp $-4095, %rax\n"
    text = function("syscall", body) + function("systemcall", body)
    (site,) = sites(tmp_path, text)
    assert site.number == ANY_NUMBER


NEIGHBOUR = function("neighbour", "nop\n .Lbefore: nop")
UNSAFE = {
    "a short branch into it": GOOD.replace("mov %rsi", "jz .Lin + 2\n mov %rsi").replace(
        "syscall", ".Lin: syscall"
    ),
    "jrcxz into it": GOOD.replace("mov %rsi", "jrcxz .Lin + 2\n mov %rsi").replace(
        "syscall", ".Lin: syscall"
    ),
    "a long branch from before": GOOD.replace(
        "mov %rsi", "jz .Lin + 2\n .skip 300, 0x90\n mov $4, %eax\n mov %rsi"
    ).replace("syscall", ".Lin: syscall"),
    "a branch back into it": GOOD.replace("syscall", ".Lin: syscall") + "jmp .Lin + 2",
    "a branch to its last byte": GOOD.replace("syscall", ".Lin: syscall") + "jmp .Lin + 7",
    "a call into it": GOOD.replace("syscall", ".Lin: syscall") + "call .Lin + 2",
    "its address taken": GOOD.replace("syscall", ".Lin: syscall") + "lea .Lin + 2(%rip), %rdx",
    "a transaction that ends in it": GOOD.replace("syscall", ".Lin: syscall") + "xbegin .Lin + 2",
    "an indirect jump": GOOD + "jmp *%rdx",
    "an indirect jump through memory": GOOD + "notrack jmp *(%rdx, %rcx, 8)",
    "a number that the caller gives": GOOD.replace("$4,", "%edi,"),
    "a number from memory": GOOD.replace("$4,", "(%rdi),"),
    "a number of 64 bits": GOOD.replace("mov $4, %eax", "movabs $4, %rax"),
    "a number changed since": GOOD.replace("mov %rsi", "inc %al\n mov %rsi"),
    "a number changed by the way": GOOD.replace("mov %rsi", "mul %rsi\n mov %rsi"),
    "a number maybe changed since": GOOD.replace("mov %rsi", "cmovz %ecx, %eax\n mov %rsi"),
    "a call between": GOOD.replace("mov %rsi", "call neighbour\n mov %rsi"),
    "a system call between": GOOD.replace("mov %rsi", "syscall\n mov %rsi"),
    "a jump over it": GOOD.replace("mov %rsi", "jmp .Lfailed\n mov %rsi"),
    "another way to it": GOOD.replace("mov %rsi", ".Lin: mov %rsi") + "jmp .Lin",
    "another way to the instruction": GOOD.replace("syscall", ".Lin: syscall") + "jmp .Lin",
    "no number at all": GOOD.replace("mov $4, %eax", ""),
    "no comparison": GOOD.replace("cmp $-4095, %rax", "cmp $-4094, %rax"),
    "a comparison with another register": GOOD.replace("-4095, %rax", "-4095, %rdx"),
    "something between": GOOD.replace("syscall", "syscall\n nop"),
    "in the middle of an instruction": GOOD.replace(
        "syscall\n    cmp $-4095, %rax", "movabs $0xfff0013d48050f90, %rdx\n .byte 0xff, 0xff"
    ),
    "bytes before it that are no instruction": ".byte 0x06\n" + GOOD,
    "bytes behind it that are no instruction": GOOD + "ret\n .byte 0x06",
}


@pytest.mark.parametrize("case", UNSAFE)
def test_what_is_not_safe_is_left_alone(tmp_path: Path, case: str) -> None:
    assert not sites(tmp_path, NEIGHBOUR + function("bad", UNSAFE[case]))


IN = function("good", GOOD.replace("syscall", ".Lin: syscall"))
ENTERED = {
    "a branch from another function": function("other", "jmp .Lin + 2"),
    "a branch from far": ".skip 300, 0x90\n" + function("other", "jz .Lin + 2"),
    "a branch from code without description": "other: jmp .Lin + 2",
    "a branch from behind": function("other", ".skip 300, 0x90\n jmp .Lin + 2"),
    "a pointer": ".data\n .quad .Lin + 2",
    "a pointer to the number's way": ".data\n .quad .Lin",
    "a read-only pointer": '.section .data.rel.ro, "aw"\n .quad .Lin + 2',
    "a symbol": ".globl other\n .set other, .Lin + 2",
    "a local symbol": ".set other, .Lin + 2",
    "a part with an indirect jump": function("other", "jz .Lin + 8\n jmp *%rdx"),
}


@pytest.mark.parametrize("case", ENTERED)
def test_what_others_enter_is_left_alone(tmp_path: Path, case: str) -> None:
    assert not sites(tmp_path, IN + ENTERED[case])


HARMLESS = {
    "a branch to the number": IN.replace("mov $4", ".Lnumber: mov $4") + "jmp .Lnumber",
    "a branch behind it": IN.replace("jae", ".Lbehind: jae") + "jmp .Lbehind",
    "an indirect jump elsewhere": IN + function("other", "jmp *%rdx"),
    "an indirect jump of a caller": IN + function("other", "call good\n jmp *%rdx"),
    "an indirect call": function("good", GOOD + "call *%rdx"),
    "a way round": IN.replace("mov $4", "jz .Lfailed\n mov $4"),
    "a way out": IN.replace("syscall", "jz .Lfailed\n syscall"),
    "bytes that look like a branch": IN
    + function("other", "mov $0, %ecx").replace(
        "mov $0, %ecx", "movabs $0x9090909090909000, %rcx\n.byte 0xb9, 0xeb\n.byte 0,0,0"
    ),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_is_harmless_does_not_matter(tmp_path: Path, case: str) -> None:
    assert [site.number for site in sites(tmp_path, HARMLESS[case])] == [STAT]


def test_a_function_without_description_is_left_alone(tmp_path: Path) -> None:
    assert not sites(tmp_path, IN.replace(".cfi_startproc", "").replace(".cfi_endproc", ""))


def test_the_c_library(tmp_path: Path) -> None:
    """What is found in the real one, against what objdump says about it."""
    objdump = shutil.which("objdump") or pytest.skip("no objdump")
    library = c_library()
    found = find_sites(Image(library.read_bytes()))
    assert {lib.pp_is_trapped(site.number) for site in found} == {0, 1}
    # Directories, links, opens of the library itself, and the call of any number.
    assert {80, 89, 217, 257, 262, ANY_NUMBER} <= {site.number for site in found}

    listing = subprocess.run(
        [objdump, "-d", "--no-show-raw-insn", library], check=True, capture_output=True, text=True
    ).stdout
    line = re.compile(r"^ +([0-9a-f]+):\t(.*?) *(?:#.*)?$", re.MULTILINE)
    code = [(int(address, 16), text) for address, text in line.findall(listing)]
    index_of = {address: index for index, (address, _) in enumerate(code)}
    targets = {int(target, 16) for target in re.findall(r"\t\S+ +([0-9a-f]+) <", listing)}
    assert len(targets) > 10_000
    for site in found:
        index = index_of[site.address]
        assert code[index][1] == "syscall"
        assert re.fullmatch(r"cmp +\$0xf+00[01],%[er]ax", code[index + 1][1])
        assert code[index + 2][0] == site.address + site.length
        assert targets.isdisjoint(range(site.address + 1, site.address + site.length))
        before = next(
            text for _, text in reversed(code[:index]) if re.search(r",%[er]ax$|^ret|call", text)
        )
        wanted = (
            r"mov +%rdi,%rax" if site.number == ANY_NUMBER else rf"mov +\${site.number:#x},%eax"
        )
        assert re.fullmatch(wanted, before)

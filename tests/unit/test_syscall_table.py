"""The table of system calls (``csrc/syscalls.tbl``) and what is made of it."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyparrot.core import lib

CORE = Path(__file__).parents[2] / "csrc"
GENERATOR: dict[str, Any] = runpy.run_path(str(CORE / "generate.py"))
TABLE = (CORE / "syscalls.tbl").read_text()
ROW = "fchmodat3 999 998 decide modify fd,path,int,flags nofollow\n"


def compiler() -> str:
    return shutil.which("cc") or pytest.skip("no C compiler")


def kernel_numbers(header: str, *definitions: str) -> dict[str, int]:
    """What *header* of the kernel defines as ``__NR_NAME``."""
    command = [compiler(), "-E", "-dM", *definitions, "-include", header, "-x", "c", "/dev/null"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"there is no {header}")
    macros = dict(re.findall(r"#define (__NR\w*) (\w+)\n", ran.stdout))
    numbers = {}
    for name, first in macros.items():
        value = first
        while value in macros:
            value = macros[value]
        if name.startswith("__NR_") and value.isdigit():
            numbers[name[5:]] = int(value)
    return numbers


@pytest.mark.parametrize(
    ("cpu", "header", "definitions"),
    [
        ("x86_64", "asm/unistd_64.h", ()),
        (
            "aarch64",
            "asm-generic/unistd.h",
            ("-D__BITS_PER_LONG=64", "-D__ARCH_WANT_NEW_STAT", "-D__ARCH_WANT_RENAMEAT"),
        ),
    ],
)
def test_numbers_are_those_of_the_kernel(
    cpu: str, header: str, definitions: tuple[str, ...]
) -> None:
    known = kernel_numbers(header, *definitions)
    youngest = max(known.values())
    ours = {call.name: call.numbers.get(cpu) for call in GENERATOR["read_table"]()}
    for name, number in ours.items():
        if name in known or (number is not None and number <= youngest):
            assert number == known.get(name), name


def test_the_core_has_what_the_table_says() -> None:
    decided, for_shim = set(), set()
    for call in GENERATOR["read_table"]():
        number = call.numbers.get("x86_64")
        if number is not None and call.handling == "decide":
            decided.add(number)
        if number is not None and (call.handling == "decide" or "shim" in call.options):
            for_shim.add(number)
    assert set(filter(lib.pp_is_trapped, range(-1, 1024))) == decided
    assert set(filter(lib.pp_concerns_shim, range(-1, 1024))) == for_shim


def test_one_row_adds_a_call_with_an_existing_meaning(tmp_path: Path) -> None:
    """The core is compiled with a table that has one row more, and decides that call."""
    (tmp_path / "generated").mkdir()
    header = tmp_path / "generated" / "syscalls.h"
    header.write_text(GENERATOR["header"](GENERATOR["read_table"](TABLE + ROW)))
    main = tmp_path / "main.c"
    main.write_text(
        """
        #include "core/decide.h"
        int main(void)
        {
            const struct pp_spec *new = pp_spec_of(999), *old = pp_spec_of(452);
            return !(pp_is_trapped(999) && !pp_is_trapped(998) && pp_changes(new) &&
                     new->operation == old->operation && new->flags == 3 && new->path == 1 &&
                     new->options == PP_SPEC_NOFOLLOW && old->options == 0);
        }
        """
    )
    command = [compiler(), "-std=c11", f"-I{tmp_path}", f"-I{CORE}", "-o", str(tmp_path / "main")]
    subprocess.run([*command, str(main), *map(str, CORE.glob("core/*.c"))], check=True)
    subprocess.run([str(tmp_path / "main")], check=True)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("stat 999 - decide stat path,out:stat", "call given twice: stat"),
        ("other 4 - decide stat path,out:stat", "number of x86_64 given twice: 4"),
        ("other 999 - ignore stat path,out:stat", "no handling is called ignore"),
        ("other 999 - decide stat way,out:stat", "unknown arguments in way,out:stat"),
        ("other 999 - decide stat path,path", "argument of other given twice: path"),
        ("other 999 - decide stat path,fd2", "fd2 without fd"),
        ("other 999 - decide stat path,out:stat follow", "unknown options in follow"),
        ("other 999 - decide stat fd,path,int,int,int,int,int", "unknown arguments"),
        ("other many - decide stat path", "invalid literal"),
        ("other 999 - decide stat", "other has too few columns"),
    ],
)
def test_wrong_rows_are_refused(row: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GENERATOR["read_table"](f"{TABLE}{row}\n")


def test_the_header_is_written_only_if_it_changes() -> None:
    header = CORE / "generated" / "syscalls.h"
    GENERATOR["write_header"]()
    before = header.stat().st_mtime_ns
    GENERATOR["write_header"]()
    assert header.stat().st_mtime_ns == before

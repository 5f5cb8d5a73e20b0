"""Copies of libraries with the shim in them: they work as the library does."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from support.libraries import (
    CALLS,
    SHIM,
    added,
    assembled,
    c_library,
    check_segments,
    function,
    shim_base,
    shim_of,
)

from pyparrot.libc.arch.x86_64 import STUB_SIZE
from pyparrot.libc.arch.x86_64.sites import COMPARISONS, find_sites
from pyparrot.libc.copy import make_copy
from pyparrot.libc.elf import HEADER
from pyparrot.libc.image import Image

PAGE = 4096

# Opens nothing, and lets all else run.
REFUSING = """
    #include <asm/unistd.h>
    #include "arch/x86_64/gate.h"
    int64_t pp_dispatch(const struct pp_entry *entry)
    {
        const uint64_t *args = entry->args;
        if (entry->number == __NR_open || entry->number == __NR_openat)
            return -18; /* EXDEV */
        return pp_system_call((int64_t)entry->number, args[0], args[1], args[2], args[3], args[4],
                              args[5]);
    }
"""


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a copy of the C library, the shim in it, under the library's own name.

    Without a supervisor the shim finds no shared state, and lets all calls run.
    """
    directory = tmp_path_factory.mktemp("copy")
    assert make_copy(str(c_library()), str(SHIM), str(directory / "libc.so.6"))
    (directory / "libc.so.6").chmod(0o755)
    return directory


def outcome(command: list[str], environment: dict[str, str]) -> tuple[int, bytes, bytes]:
    """How *command* ends and what it says in *environment*."""
    result = subprocess.run(
        command,
        env={**os.environ, "LC_ALL": "C", **environment},
        capture_output=True,
        check=False,
        timeout=120,
    )
    return result.returncode, result.stdout, result.stderr


PROGRAMS = {
    "true": ["true"],
    "absent": ["cat", "/nowhere/at/all"],
    "tree": ["ls", "-lR", "/usr/include"],
    "shell": ["sh", "-c", "cd / && pwd && for i in 1 2 3; do (echo $i) | cat; done; kill -TERM $$"],
    "search": ["find", "/etc", "-maxdepth", "2", "-newer", "/etc/passwd"],
    "python": [
        "/usr/bin/python3",
        "-c",
        "import os, subprocess, threading\n"
        "thread = threading.Thread(target=lambda: print(os.listdir('/')))\n"
        "thread.start()\n"
        "thread.join()\n"
        "print(subprocess.check_output(['uname', '-a']), os.stat('/').st_ino, os.getcwd())\n"
        "os.chdir('/usr')\n"
        "print(os.path.realpath('lib'), os.fork() and os.wait()[1])\n",
    ],
    "git": ["git", "-C", "/", "status"],
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_do_the_same(copy: Path, program: str) -> None:
    command = PROGRAMS[program]
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    assert outcome(command, {"LD_LIBRARY_PATH": str(copy)}) == outcome(command, {})


def test_the_calls_of_programs_come_to_the_shim(tmp_path: Path) -> None:
    shim = shim_of(tmp_path, REFUSING)
    assert make_copy(str(c_library()), str(shim), str(tmp_path / "libc.so.6"))
    status, output, complaint = outcome(["cat", "/etc/passwd"], {"LD_LIBRARY_PATH": str(tmp_path)})
    assert (status, output) == (1, b"")
    assert complaint == b"cat: /etc/passwd: Invalid cross-device link\n"


def test_it_is_the_copy_that_runs(copy: Path) -> None:
    _, maps, _ = outcome(["cat", "/proc/self/maps"], {"LD_LIBRARY_PATH": str(copy)})
    assert b"%b/libc.so.6\n" % bytes(copy) in maps
    assert b"%b\n" % bytes(c_library()) not in maps
    assert not [line for line in maps.splitlines() if b"rwx" in line]


def test_it_runs_as_a_program(copy: Path) -> None:
    results = [
        subprocess.run([library], check=True, capture_output=True).stdout
        for library in (c_library(), copy / "libc.so.6")
    ]
    assert b"GNU C Library" in results[0]
    assert results[1] == results[0]


@pytest.mark.parametrize(
    "command",
    [
        ["nm", "-D"],
        ["readelf", "-SW"],
        ["readelf", "-nW"],
        ["readelf", "-dW"],
        ["readelf", "-rW"],
        ["objdump", "-d", "-j.plt"],
        ["gdb", "-batch", "-nx", "-ex", "info address openat"],
    ],
    ids=" ".join,
)
def test_tools_find_the_same_in_it(copy: Path, command: list[str]) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    results = []
    for library in (str(c_library()), str(copy / "libc.so.6")):
        result = subprocess.run([*command, library], check=True, capture_output=True, text=True)
        assert not result.stderr
        results.append(result.stdout.replace(library, "LIBRARY"))
    assert results[1] == results[0]
    assert len(results[0]) > 40


def test_what_changes_in_the_file(copy: Path) -> None:
    """The header, the sites and what is appended; nothing else."""
    before, after = Image(c_library().read_bytes()), Image((copy / "libc.so.6").read_bytes())
    shim = Image(SHIM.read_bytes())
    code, _ = added(after)
    base = shim_base(after, shim)
    sites = find_sites(before)
    assert not [site for site in find_sites(after) if site.address < code.address]

    expected = bytearray(before.data)
    header = before.header._replace(phoff=code.offset, phnum=len(before.segments) + 2)
    expected[: HEADER.size] = HEADER.pack(*header)
    stubs = []
    for site in sites:
        offset = before.offset(site.address)
        jump = after.data[offset : offset + site.length]
        assert jump[0] == 0xE9
        assert jump[5:] == b"\xcc" * (site.length - 5)
        stub = target(site.address + 5, jump[1:5])
        assert stub % STUB_SIZE == 0
        text = after.read(stub, STUB_SIZE)
        assert text[:3] == b"\x4c\x8d\x1d"  # lea distance(%rip), %r11
        assert target(stub + 7, text[3:7]) == site.address + site.length
        assert text[7] == 0xE9
        name = b"pp_enter_%d" % site.entry
        assert target(stub + 12, text[8:12]) - base == shim.address_of(name)
        assert text[12:] == b"\xcc" * (STUB_SIZE - 12)
        stubs.append(stub)
        expected[offset : offset + site.length] = jump
    assert after.data[: len(before.data)] == bytes(expected)
    assert not after.data[len(before.data) : code.offset].strip(b"\0")
    assert stubs == list(range(stubs[0], stubs[0] + STUB_SIZE * len(stubs), STUB_SIZE))
    assert code.address < stubs[0] < base
    # Stubs and their descriptions, a table of all functions, the shim.
    size = 2 * STUB_SIZE * len(sites) + 8 * (len(before.functions) + len(shim.functions))
    assert len(after.data) - code.offset < size + shim.loads[0].file_size + 4 * PAGE


def target(end: int, distance: bytes) -> int:
    """Where an instruction that ends there leads to."""
    return end + int.from_bytes(distance, "little", signed=True)


def test_the_unwinder_finds_all_functions(copy: Path) -> None:
    before, after = Image(c_library().read_bytes()), Image((copy / "libc.so.6").read_bytes())
    shim = Image(SHIM.read_bytes())
    base = shim_base(after, shim)
    entries = [*before.frames.entries]
    entries += [(base + start, base + frame) for start, frame in shim.frames.entries]
    assert len(shim.frames.entries) > 4
    assert after.frames.first == before.frames.first
    assert after.frames.entries == sorted(after.frames.entries)
    assert set(entries) <= set(after.frames.entries)
    assert len(after.frames.entries) == len(entries) + len(find_sites(before))


def test_the_segments_of_the_c_library(copy: Path) -> None:
    after = Image((copy / "libc.so.6").read_bytes())
    check_segments(Image(c_library().read_bytes()), after, Image(SHIM.read_bytes()))


def test_the_segments_of_a_library_without_bss(tmp_path: Path) -> None:
    source = assembled(tmp_path, CALLS + ".data\n .quad 1\n")
    assert make_copy(str(source), str(SHIM), str(tmp_path / "copy")) == len(COMPARISONS)
    after = Image((tmp_path / "copy").read_bytes())
    check_segments(Image(source.read_bytes()), after, Image(SHIM.read_bytes()))


def test_debugging_information_stays(tmp_path: Path) -> None:
    """A file that goes on behind all that is loaded from it."""
    source = assembled(tmp_path, CALLS + '.section .more, ""\n .skip 100000, 7\n')
    assert make_copy(str(source), str(SHIM), str(tmp_path / "copy")) == len(COMPARISONS)
    before, after = source.read_bytes(), (tmp_path / "copy").read_bytes()
    assert after.count(b"\7" * 100000) == 1
    check_segments(Image(before), Image(after), Image(SHIM.read_bytes()))


def test_a_library_without_sites_gets_no_copy(tmp_path: Path) -> None:
    source = assembled(tmp_path, function("idle", "nop"))
    assert make_copy(str(source), str(SHIM), str(tmp_path / "copy")) == 0
    assert not (tmp_path / "copy").exists()


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    source, target = assembled(tmp_path, CALLS), tmp_path / "copy"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        make_copy(str(source), str(SHIM), str(target))
    assert target.read_bytes() == b"mine"


def test_a_copy_that_cannot_be_written_whole_is_an_error(tmp_path: Path) -> None:
    """A write to a file that reaches a limit, as on a full disk, succeeds with a part of it."""
    source = assembled(tmp_path, CALLS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            make_copy(str(source), str(SHIM), str(tmp_path / "copy"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

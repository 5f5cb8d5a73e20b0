"""Patched copies of libraries: they work as the library does, and call the shim where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.libraries import CALLS, assembled, c_library, check_segments, compiled, function

from pyparrot.shim.frames import STUB
from pyparrot.shim.image import HEADER, Image
from pyparrot.shim.patched import make_patched
from pyparrot.shim.sites import COMPARISONS, find_sites

PAGE = 4096


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the patched C library under its own name."""
    directory = tmp_path_factory.mktemp("patched")
    assert make_patched(str(c_library()), str(directory / "libc.so.6"))
    (directory / "libc.so.6").chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def slots_filled(copy: Path) -> dict[str, str]:
    """The environment in which programs use the copy with all its slots filled."""
    patched = make_patched(str(c_library()), str(copy / "again"))
    assert patched is not None
    library = compiled(copy, "shim_preloaded.c", "-shared", "-fPIC")
    return {"LD_PRELOAD": library, "SLOTS": str(patched.slots), "LD_LIBRARY_PATH": str(copy)}


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


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_do_the_same_through_the_slots(slots_filled: dict[str, str], program: str) -> None:
    command = PROGRAMS[program]
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    assert outcome(command, slots_filled) == outcome(command, {})


def test_programs_do_use_the_slots(slots_filled: dict[str, str], tmp_path: Path) -> None:
    told = tmp_path / "told"
    assert outcome(["ls", "-l", "/usr"], {**slots_filled, "TELL": str(told)})[0] == 0
    assert int(told.read_text()) >= len(os.listdir("/usr"))


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


def test_what_changes_in_the_file(tmp_path: Path) -> None:
    """The header, the sites and what is appended; nothing else."""
    source, target = c_library(), tmp_path / "copy"
    patched = make_patched(str(source), str(target))
    assert patched is not None
    before, after = Image(source.read_bytes()), Image(target.read_bytes())
    sites = find_sites(before)
    assert patched.sites == len(sites)
    assert not find_sites(after)

    expected = bytearray(before.data)
    fields = list(before.header)
    fields[5], fields[10] = patched.phoff, len(before.segments) + 1
    expected[: HEADER.size] = HEADER.pack(*fields)
    for site in sites:
        offset = before.offset(site.address)
        jump = after.data[offset : offset + site.length]
        assert jump[0] == 0xE9
        assert jump[5:] == b"\xcc" * (site.length - 5)
        stub = site.address + 5 + int.from_bytes(jump[1:5], "little", signed=True)
        assert stub % STUB == 0
        assert stub > patched.phoff
        assert b"\x0f\x05" + COMPARISONS[site.comparison] in after.read(stub, STUB)
        expected[offset : offset + site.length] = jump
    assert after.data[: len(before.data)] == bytes(expected)
    assert not after.data[len(before.data) : patched.phoff].strip(b"\0")
    # Stubs, their descriptions, and a table of all functions.
    assert (
        len(after.data) - patched.phoff < 2 * STUB * len(sites) + 8 * len(before.functions) + PAGE
    )


def test_the_segments_of_the_c_library(tmp_path: Path) -> None:
    patched = make_patched(str(c_library()), str(tmp_path / "copy"))
    assert patched is not None
    after = Image((tmp_path / "copy").read_bytes())
    check_segments(Image(c_library().read_bytes()), after, patched)


def test_the_segments_of_a_library_without_bss(tmp_path: Path) -> None:
    source = assembled(tmp_path, CALLS + ".data\n .quad 1\n")
    patched = make_patched(str(source), str(tmp_path / "copy"))
    assert patched is not None
    after = Image((tmp_path / "copy").read_bytes())
    check_segments(Image(source.read_bytes()), after, patched)


def test_debugging_information_stays(tmp_path: Path) -> None:
    """A file that goes on behind all that is loaded from it."""
    source = assembled(tmp_path, CALLS + '.section .more, ""\n .skip 100000, 7\n')
    patched = make_patched(str(source), str(tmp_path / "copy"))
    assert patched is not None
    before, after = source.read_bytes(), (tmp_path / "copy").read_bytes()
    assert patched.phoff >= len(before)
    assert after.count(b"\7" * 100000) == 1
    check_segments(Image(before), Image(after), patched)


def test_a_library_without_sites_gets_no_copy(tmp_path: Path) -> None:
    source = assembled(tmp_path, function("idle", "nop"))
    assert make_patched(str(source), str(tmp_path / "copy")) is None
    assert not (tmp_path / "copy").exists()


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        make_patched(str(c_library()), str(target))
    assert target.read_bytes() == b"mine"

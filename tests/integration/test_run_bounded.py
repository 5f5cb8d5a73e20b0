"""A run that goes on for long needs at its end what it needed after its first part."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple

import pytest
from support.runs import EVERYTHING, World, started, world

from pyparrot.core import ffi

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "long.example.org"
NAMES = 20_000
FILES = 3000
PROCESSES = 600 if EVERYTHING else 150


@pytest.fixture(scope="module")
def lengthy() -> Iterator[World]:
    def fill(tree: Path) -> None:
        for number in range(FILES):
            directory = tree / f"{number % 20}"
            directory.mkdir(exist_ok=True)
            (directory / f"{number}").write_text(f"{number % 97}\n")

        (tree / "odd" / "long").mkdir(parents=True)
        nested = tree / "nested"
        nested.mkdir()
        (nested / ".cvmfscatalog").touch()
        (nested / "inner").write_text("inside\n")

    with world(FQRN, fill) as made:
        yield made


# What pyparrot's processes need together: kilobytes, descriptors, threads, milliseconds of CPU.
MEASURE = """
import json, os, subprocess, sys, threading
cache, top = sys.argv[1:3]

def measure():
    sums = [0, 0, 0, 0]
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/cmdline") as file:
                words = file.read().split("\\0")
            if cache not in words or "run" not in words or int(process) == os.getpid():
                continue
            with open(f"/proc/{process}/status") as file:
                status = dict(line.split(":", 1) for line in file if ":" in line)
            with open(f"/proc/{process}/stat") as file:
                times = file.read().rpartition(")")[2].split()[11:13]
            found = [int(status[name].split()[0]) for name in ("VmRSS", "Threads")]
            ticks = sum(map(int, times)) * 1000 // os.sysconf("SC_CLK_TCK")
            descriptors = len(os.listdir(f"/proc/{process}/fd"))
            for place, value in enumerate([found[0], descriptors, found[1], ticks]):
                sums[place] += value
        except (FileNotFoundError, ProcessLookupError):
            pass
    print(json.dumps(sums), flush=True)
"""


class Needs(NamedTuple):
    """What all processes of pyparrot need together."""

    kilobytes: int
    descriptors: int
    threads: int
    milliseconds: int


def needs(made: World, code: str, *, server: bool = True) -> list[Needs]:
    """What the run needs where *code* calls ``measure``; with or without a *server* to ask."""
    work = made.work()
    cache = work / "cache"
    prefix = made.prefix(cache=cache)
    if not server:
        place = prefix.index("--server")
        del prefix[place : place + 2]
    words = [*prefix, sys.executable, "-c", MEASURE + code, str(cache), made.root]
    options = {"cwd": work, "env": made.environment(), **made.user.options()}
    with started(words, **options) as process:
        out, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (0, b"")
    return [Needs(*json.loads(line)) for line in out.splitlines()]


ABSENT = """
for number in range(COUNT):
    name = f"name-{number}" if number % 2 else f"{number}.unknown.example"
    assert not os.path.lexists(f"/cvmfs/{name}/x"), name
    if number in (COUNT // 20, COUNT - 1):
        measure()
"""


@pytest.mark.parametrize(
    ("server", "count", "most"), [(False, NAMES, 1.0), (True, NAMES // 10, 10.0)]
)
def test_names_that_are_no_repositories(
    lengthy: World, server: bool, count: int, most: float
) -> None:
    """As programs make them that look for a file in all directories above: bounded, and fast.

    If a server is configured for such names it is asked; else *most* milliseconds are enough.
    """
    first, last = needs(lengthy, ABSENT.replace("COUNT", str(count)), server=server)
    assert last.kilobytes < first.kilobytes + 6000
    assert last.descriptors <= first.descriptors + 2
    assert last.threads <= first.threads + 8
    assert (last.milliseconds - first.milliseconds) / (count * 0.95) < most


OPENS = f"""
def look(numbers):
    for number in numbers:
        with open(f"{{top}}/{{number % 20}}/{{number}}") as file:
            assert file.read() == f"{{number % 97}}\\n", number

def run(numbers):
    words = ["sh", "-c", 'for n; do cat "$0/$((n % 20))/$n"; done', top, *map(str, numbers)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    assert done.stdout == "".join(f"{{number % 97}}\\n" for number in numbers)

for part in range(3):
    files = range({FILES} * part // 3, {FILES} * (part + 1) // 3)
    threads = [threading.Thread(target=look, args=(files[n::40],)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range({PROCESSES} // 3):
        run(files[number % len(files) :][:3])
    measure()
"""


def test_opens_and_processes(lengthy: World) -> None:
    first, _, last = needs(lengthy, OPENS)
    assert last.kilobytes < first.kilobytes + 8000
    assert last.descriptors <= first.descriptors + 4
    assert last.threads < 24  # while many files were fetched there were more


@pytest.mark.parametrize("name", [b"\0ong", b"l/ng", b".\0ng"])
def test_a_damaged_index_leads_into_no_circle(lengthy: World, name: bytes) -> None:
    """With a name that there can't be, a program may go down into a directory for ever."""
    cache = lengthy.work() / "cache"
    words = ["--cache", str(cache)]
    assert lengthy.run("ls", "@@/odd", options=words) == (0, "long\n", "")
    change_index(cache, lambda content: content.replace(b"long\0", name + b"\0"))
    ran = lengthy.run("find", "@@/odd", options=words)
    assert ran.status == 1
    assert "Input/output error" in ran.err


@pytest.mark.parametrize("where", ["extra", "handle_size"])
def test_a_damaged_index_is_an_error_even_at_the_end(lengthy: World, where: str) -> None:
    """What was used is written down when a run ends, by what the index says."""
    cache = lengthy.work() / "cache"
    words = ["--cache", str(cache)]
    assert lengthy.run("cat", "@@/5/5", options=words) == (0, "5\n", "")
    size = ffi.sizeof("struct pp_record")

    def spoil(content: bytes) -> bytes:
        record = content.rindex(bytes(6) + b"5\0") + 6 - size  # behind its padding
        at = record + ffi.offsetof("struct pp_record", where)
        return content[:at] + b"\xff\xff\xff\x0f" + content[at + 4 :]

    change_index(cache, spoil)
    ran = lengthy.run("cat", "@@/5/5", options=words)
    assert "Traceback" not in ran.err
    assert ran.status == 0 or "Input/output error" in ran.err


@pytest.mark.parametrize("name", ["odd/long", "nested/inner"])
def test_an_index_that_says_to_be_of_another_place_is_made_anew(lengthy: World, name: str) -> None:
    """It would not be found where it is wanted, and be wanted for ever."""
    cache = lengthy.work() / "cache"
    words = ["--cache", str(cache)]
    right = lengthy.run("ls", "-l", f"@@/{name}", options=words)
    assert right.status == 0
    at = ffi.offsetof("struct pp_index_header", "root_hash")
    change_index(
        cache,
        lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
        holds=f"{Path(name).name}\0".encode(),
    )
    assert lengthy.run("ls", "-l", f"@@/{name}", options=words) == right


def change_index(cache: Path, change: Callable[[bytes], bytes], holds: bytes = b"long\0") -> None:
    """As a disk does that goes bad: the time of modification stays."""
    changed = 0
    for index in (cache / "objects").glob("??/*C.*"):
        content, status = index.read_bytes(), index.stat()
        if holds in content:
            index.chmod(0o600)
            index.write_bytes(change(content))
            os.utime(index, ns=(status.st_atime_ns, status.st_mtime_ns))
            index.chmod(status.st_mode & 0o777)
            changed += 1
    assert changed == 1

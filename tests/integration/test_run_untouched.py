"""What a process of a run was given stays as it is: nothing of it is changed to serve its calls."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import World, started, world

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "own.example.org"
LIMIT = 60.0

MASK = """
import os, sys, threading, time
given = os.sched_getaffinity(0)
path, seconds = sys.argv[1], float(sys.argv[2])
task, seen, end = threading.get_native_id(), [], time.monotonic() + seconds

def watch():
    while time.monotonic() < end:
        now = os.sched_getaffinity(task)
        if now != given:
            seen.append(now)

thread = threading.Thread(target=watch)
thread.start()
while time.monotonic() < end:
    os.close(os.open(path, os.O_RDONLY))
thread.join()
print(len(given), seen[:3])
"""

ORPHAN = """
import os, sys, time
reader, writer = os.pipe()
if os.fork() == 0:
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == parent:
        time.sleep(0.001)
    said = []
    for _ in range(3):
        said.append(os.getppid())
        if os.fork():
            os._exit(0)  # an orphan once more
        while os.getppid() not in said:
            time.sleep(0.001)
    os.write(writer, " ".join(map(str, said)).encode())
    os._exit(0)
os.close(writer)
os.wait()
print(os.read(reader, 99).decode())
"""


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    def fill(tree: Path) -> None:
        (tree / "file").write_text("content\n")

    with world(FQRN, fill) as made:
        yield made


def python(source: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", source, *words)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
@pytest.mark.parametrize("path", ["@@/file", "/cvmfs/own.example.org/../own.example.org/file"])
def test_cpu_masks(sw: World, path: str) -> None:
    native = sw.native("nproc")
    for _ in range(5):
        assert sw.run("nproc") == native
    run = sw.run(*python(MASK, path, "1"), limit=LIMIT)
    assert run == (0, f"{len(os.sched_getaffinity(0))} []\n", "")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_a_mask_that_was_given(sw: World) -> None:
    first = str(min(os.sched_getaffinity(0)))
    for words in (
        ("taskset", "-c", first, "nproc"),
        ("sh", "-c", f"taskset -cp {first} $$; nproc"),
    ):
        native, run = sw.both(*words)
        assert run.out.splitlines()[-1] == native.out.splitlines()[-1] == "1"


def test_the_parent_of_orphans(sw: World) -> None:
    native, run = sw.both(*python(ORPHAN), limit=LIMIT)
    assert native.status == 0
    assert run == native


def test_the_commands_parent_is_what_the_user_started(sw: World) -> None:
    words = [*sw.prefix(), "sh", "-c", "echo $PPID"]
    with started(words, cwd=sw.work(), env=sw.environment(), **sw.user.options()) as process:
        out, _ = process.communicate(timeout=LIMIT)
    assert int(out) == process.pid


def test_a_child_sees_its_own_parent(sw: World) -> None:
    source = (
        "import os; own = os.getpid(); child = os.fork()\n"
        "if child == 0: print(os.getppid() == own, flush=True); os._exit(0)\n"
        "os.wait()"
    )
    assert sw.run(*python(source)) == (0, "True\n", "")

"""Calls that wait for long under ``pyparrot run``: they are the task's own, and hold nobody else.

The open of a FIFO waits for another program. Natively signals interrupt it, and other programs go
on; so it is in a run, whether the FIFO is in the repository or a link in there leads to it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import World, assert_same, world

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "wait.example.org"
LIMIT = 60.0

START = """
import errno, os, signal, sys, time
path, tree = sys.argv[1:]

def attempt(flags):
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        return errno.errorcode[error.errno]
    os.close(descriptor)
    return "opened"

def start(flags):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os.open(path, flags)
        os._exit(3)
    return child

def state(process):
    return open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[0]

def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
"""

NOBODY_THERE = """
print(attempt(os.O_WRONLY | os.O_NONBLOCK), attempt(os.O_RDONLY | os.O_NONBLOCK))
"""

CLOSED = """
late = 0
for _ in range(500):
    attempt(os.O_RDONLY | os.O_NONBLOCK)
    late += attempt(os.O_WRONLY | os.O_NONBLOCK) == "opened"
print(late, "times a reader was left")
"""

INTERRUPTED = """
class Interrupted(Exception):
    pass

def interrupt(number, frame):
    raise Interrupted

signal.signal(signal.SIGALRM, interrupt)
for flags in (os.O_RDONLY, os.O_WRONLY):
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        print(attempt(flags))
    except Interrupted:
        print("interrupted")
"""

RESTARTED = """
seen = []
signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
child = os.fork()
if child == 0:
    time.sleep(0.5)
    os.write(os.open(path, os.O_WRONLY), b"hello")
    os._exit(0)
descriptor = os.open(path, os.O_RDONLY)
signal.setitimer(signal.ITIMER_REAL, 0)
print(os.read(descriptor, 10), os.waitpid(child, 0)[1], len(seen) > 0)
"""

MANY = """
children = [start(os.O_RDONLY) for _ in range(12)]
time.sleep(0.3)
os.stat(tree), os.listdir(tree), open(tree + "/file").read()
os.kill(children[0], signal.SIGSTOP)
wait_until(lambda: state(children[0]) == "T")
os.kill(children[0], signal.SIGCONT)
wait_until(lambda: state(children[0]) != "T")
os.kill(children[1], signal.SIGTERM)
print(os.waitpid(children.pop(1), 0)[1])
for child in children:  # one that was stopped may not be back in its call yet
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        attempt(os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.01)
    print(os.waitstatus_to_exitcode(ended[1]))
"""


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    def fill(tree: Path) -> None:
        (tree / "file").write_text("content\n")
        os.mkfifo(tree / "fifo")
        os.mkfifo(tree.parent / "fifo", 0o666)
        os.chmod(tree.parent / "fifo", 0o666)
        (tree / "link").symlink_to(tree.parent / "fifo")

    with world(FQRN, fill) as made:
        yield made


@pytest.mark.parametrize("name", ["fifo", "link"])
@pytest.mark.parametrize("script", [NOBODY_THERE, CLOSED, INTERRUPTED, RESTARTED, MANY])
def test_a_fifo_is_opened_by_the_task_itself(sw: World, script: str, name: str) -> None:
    words = (sys.executable, "-S", "-c", START + script, f"@@/{name}", "@@")
    native, run = sw.both(*words, limit=LIMIT)
    assert native.status == 0, native.err
    assert_same(run, native)

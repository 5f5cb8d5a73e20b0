"""Many processes with many threads on a cold cache, through a server that fails at random, and
under fire from signals: all bytes are right, no call fails or hangs, and nothing is left behind.

With ``PYPARROT_TESTS=all`` it is 64 processes of 8 threads; else fewer.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from support.faulty_server import (
    Behaviour,
    FaultyServer,
    Handler,
    after,
    body,
    garbage,
    hang_up,
    reset,
    silent,
    slow_body,
    status,
    truncated,
)
from support.runs import EVERYTHING, LIMIT, World, started, world
from support.servers import Site
from support.software import compile_c

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "stress.example.org"
HAMMER = Path(__file__).parents[1] / "support" / "hammer.c"
DIRECTORIES, FILES = 10, 300  # as in hammer.c
PROCESSES, THREADS, OPERATIONS = (64, 8, 150) if EVERYTHING else (12, 8, 60)
SOON = (
    "CVMFS_TIMEOUT_DIRECT=2",
    "CVMFS_BACKOFF_INIT=0",
    "CVMFS_BACKOFF_MAX=1",
    "CVMFS_MAX_RETRIES=3",
)


def content_of(number: int) -> bytes:
    """What hammer.c expects in a file."""
    size = 2_500_000 + number if number % 100 == 99 else number * 7919 % 50000
    wide = 0xFFFFFFFF
    return bytes(((o * 2654435761 + number * 40503 & wide) >> 13) & 255 for o in range(size))


def fill(tree: Path) -> None:
    for number in range(FILES):
        file = tree / f"d{number % DIRECTORIES}" / f"f{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content_of(number))
    for number in range(DIRECTORIES):
        (tree / f"link{number}").symlink_to(f"d{number}")
        if number % 2:
            (tree / f"d{number}" / ".cvmfscatalog").touch()
    compile_c(tree / "nine", "int main(void) { return 9; }\n", "-static")


class Chaos:
    """Serves a directory; much of it goes wrong at first, and all of it takes its time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.parent
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, handler: Handler) -> None:
        path = handler.path.lstrip("/")
        with self._lock:
            self._asked[path] += 1
            count = self._asked[path]
        dice = random.Random(f"{path} {count}")
        after(dice.random() * 0.05, self._choose(path, count, dice))(handler)

    def _choose(self, path: str, count: int, dice: random.Random) -> Behaviour:
        file = self._directory / path
        if not file.is_file():
            return status(404)
        content = file.read_bytes()
        if count > 1 or dice.random() < 0.7:
            return slow_body(content, 1 << 18, 0.01) if dice.random() < 0.3 else body(content)
        place = dice.randrange(len(content))
        forged = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        half = truncated(content[: place + 1], len(content) - place - 1)
        if dice.random() < 0.1:
            return silent
        return dice.choice([reset, hang_up, garbage, half, body(forged), status(503), status(500)])


@contextlib.contextmanager
def served_badly(directory: Path) -> Iterator[Site]:
    with FaultyServer(Chaos(directory)) as server:
        yield Site(server.server_address[1], directory)


@pytest.fixture(scope="module")
def stressed() -> Iterator[World]:
    with world(FQRN, fill, served_badly, "--chunk-size", "1:1:2") as made:
        compile_c(made.home / "hammer", HAMMER.read_text(), "-O2", "-pthread")
        yield made


def supervisor_of(front: int) -> int:
    """The process that serves a run."""
    children = Path(f"/proc/{front}/task/{front}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])


def descriptors(process: int) -> Counter[str]:
    """What a process has open, by kind."""
    kinds: Counter[str] = Counter()
    directory = f"/proc/{process}/fd"
    for name in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):
            link = os.readlink(f"{directory}/{name}")
            kinds[re.sub(r"\d{2,}", "N", link)] += 1
    return kinds


def settled(process: int) -> Counter[str]:
    """What it has open when nothing happens any more."""
    before = descriptors(process)
    for _ in range(100):
        time.sleep(0.1)
        now = descriptors(process)
        if now == before:
            return now
        before = now
    raise AssertionError(f"never quiet: {before}")


def ask(process: subprocess.Popen[bytes]) -> str:
    """Have the hammer make a round; what it says."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"go\n")
    process.stdin.flush()
    said: list[str] = []
    reader = threading.Thread(target=_read_line, args=(process.stdout, said), daemon=True)
    reader.start()
    reader.join(LIMIT)
    assert said, "it hangs"
    return said[0]


def _read_line(stream: IO[bytes], said: list[str]) -> None:
    said.append(stream.readline().decode())


@pytest.mark.parametrize("signals", ["none", "restart", "interrupt"])
def test_hammer(stressed: World, signals: str) -> None:
    """Whatever happens, calls give what they have to give.

    But for one thing: a signal that arrives before a worker has taken a call up interrupts it,
    since the kernel holds signals back only from then on. It restarts such a call, which nobody
    notices, unless the signal's handler was installed without SA_RESTART: then there is EINTR.
    """
    if signals != "none" and not waits_for_answers():
        pytest.skip("this kernel interrupts calls that wait for an answer (no WAIT_KILLABLE_RECV)")
    made = stressed
    servers = f"{made.url};{made.url.replace('127.0.0.1', 'localhost')}"
    options = ["--server", servers, *(word for option in SOON for word in ("-o", option))]
    words = [made.home / "hammer", made.root, PROCESSES, THREADS, OPERATIONS, signals]
    with started(
        [*made.prefix(*options, cache=made.work() / "cache"), *map(str, words)],
        stdin=subprocess.PIPE,
        cwd=made.home / "user",
        env=made.environment(),
        **made.user.options(),
    ) as process:
        check_round(process, signals)
        supervisor = supervisor_of(process.pid)
        before = settled(supervisor)
        for _ in range(2):
            check_round(process, signals)
        now = settled(supervisor)
        assert process.stdin
        process.stdin.close()
        assert process.wait(LIMIT) == 0
        more = now - before
        assert sum(more.values()) <= 4, f"descriptors that were not there before: {more}"


PATIENT_C = """
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
static volatile int caught;
static void catch(int number) { caught = number; }
int main(int count, char **words)
{
    const struct sigaction action = {.sa_handler = catch};
    const struct itimerval once = {{0, 0}, {0, 500000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &once, NULL);
    const int descriptor = open(words[count - 1], O_RDONLY);
    printf("%s %d\\n", descriptor < 0 ? strerror(errno) : "opened", caught == SIGALRM);
}
"""


@contextlib.contextmanager
def served_slowly(directory: Path) -> Iterator[Site]:
    def answer(handler: Handler) -> None:
        file = directory.parent / handler.path.lstrip("/")
        after(0.4, body(file.read_bytes()) if file.is_file() else status(404))(handler)

    with FaultyServer(answer) as server:
        yield Site(server.server_address[1], directory)


def test_signals_do_not_interrupt_a_download() -> None:
    if not waits_for_answers():
        pytest.skip("this kernel interrupts calls that wait for an answer (no WAIT_KILLABLE_RECV)")

    def fill(tree: Path) -> None:
        (tree / "file").write_text("content")

    with world("slow.example.org", fill, served_slowly) as made:
        compile_c(made.home / "patient", PATIENT_C)
        outcome = made.run(str(made.home / "patient"), "@@/file")
        assert outcome == (0, "opened 1\n", "")


def check_round(process: subprocess.Popen[bytes], signals: str) -> None:
    """Let the hammer make a round, in which nothing may go wrong."""
    said = ask(process)
    match = re.fullmatch(r"done 0 (\d+)\n", said)
    assert match, _why(process, said)
    assert signals == "interrupt" or match[1] == "0"


def _why(process: subprocess.Popen[bytes], said: str) -> str:
    process.kill()
    assert process.stdout
    assert process.stderr
    rest, complaints = process.stdout.read(), process.stderr.read()
    return f"{said}{rest.decode()}{complaints.decode()}"


def waits_for_answers() -> bool:
    """Whether signals that do not kill wait while a call waits for its answer."""
    script = "from pyparrot.core import lib; raise SystemExit(lib.pp_filter_install(1, 1) < 0)"
    return subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

"""Signals: the command gets each exactly as often as without pyparrot, whoever they are sent to."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support import runs
from support.runs import World, world

pytestmark = pytest.mark.usefixtures("shim")

LIMIT = 60.0
PAUSE = 0.4
"""Seconds after which a signal that is passed on has come."""

CAUGHT = ("CONT", "INT", "TERM", "USR1", "USR2", "HUP", "QUIT", "ALRM", "WINCH", "ABRT", "TSTP")
"""The first and the last would wipe each other out while they wait."""

BETWEEN = 0.02
COUNT = """
import os, signal, sys, time
got = dict.fromkeys(sys.argv[1:], 0)
def note(number, frame):
    got[signal.Signals(number).name[3:]] += 1
for name in got:
    signal.signal(getattr(signal, "SIG" + name), note)
os.write(1, b"ready\\n")
end = time.monotonic() + 60
while not os.path.exists("end") and time.monotonic() < end:
    time.sleep(0.02)
print(*(f"{name}={count}" for name, count in got.items()), flush=True)
os._exit(3)
"""


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    def fill(tree: Path) -> None:
        (tree / "file").write_text("content\n")

    with world("sw.example.org", fill) as made:
        yield made


class Counting:
    """A command that counts the signals that it gets, natively or in a run."""

    def __init__(self, sw: World, before: Sequence[str], signals: Sequence[str]) -> None:
        self._work = sw.work()
        self.front = subprocess.Popen(
            [*before, sys.executable, "-S", "-c", COUNT, *signals],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd=self._work,
            env=sw.environment(),
            **sw.user.options(),
        )
        assert self.front.stdout is not None
        assert self.front.stdout.readline() == b"ready\n"

    def close(self) -> tuple[str, int, str]:
        """Let it end; gives what it has counted, its status, and its messages."""
        time.sleep(PAUSE)
        (self._work / "end").touch()
        out, err = self.front.communicate(timeout=LIMIT)
        return out.decode(), self.front.returncode, err.decode()

    def tree(self) -> list[int]:
        """The process numbers of all that belongs to it, the front first."""
        found, pending = [], [self.front.pid]
        while pending:
            process = pending.pop()
            found.append(process)
            with contextlib.suppress(FileNotFoundError):
                for task in os.listdir(f"/proc/{process}/task"):
                    text = Path(f"/proc/{process}/task/{task}/children").read_text()
                    pending += map(int, text.split())
        return found


@contextlib.contextmanager
def counting(
    sw: World, signals: Sequence[str], before: Sequence[str] | None = None
) -> Iterator[Counting]:
    made = Counting(sw, sw.prefix() if before is None else before, signals)
    try:
        yield made
    finally:
        if made.front.poll() is None:
            os.killpg(made.front.pid, signal.SIGKILL)
            made.front.communicate()


def number(name: str) -> int:
    return int(getattr(signal, f"SIG{name}"))


def counts(signals: Sequence[str], times: int = 1) -> tuple[str, int, str]:
    return " ".join(f"{name}={times}" for name in signals) + "\n", 3, ""


def test_each_signal_to_the_front_alone(sw: World) -> None:
    with counting(sw, CAUGHT) as made:
        for name in CAUGHT:
            os.kill(made.front.pid, number(name))
            time.sleep(BETWEEN)
        assert made.close() == counts(CAUGHT)


def test_each_signal_to_the_group(sw: World) -> None:
    with counting(sw, CAUGHT) as made:
        for name in CAUGHT:
            os.killpg(made.front.pid, number(name))
            time.sleep(BETWEEN)
        assert made.close() == counts(CAUGHT)


@pytest.mark.parametrize("seed", range(4))
def test_each_signal_to_every_process_in_any_order(sw: World, seed: int) -> None:
    """As batch systems, init systems and containers end a job."""
    chance = random.Random(seed)
    with counting(sw, CAUGHT) as made:
        processes = made.tree()
        assert len(processes) >= 4
        for name in CAUGHT:
            for process in chance.sample(processes, len(processes)):
                os.kill(process, number(name))
                time.sleep(chance.choice((0.0, 0.0, 0.005)))
            time.sleep(BETWEEN)
        assert made.close() == counts(CAUGHT)


def test_by_another_process_for_each(sw: World) -> None:
    """A script that calls kill for one process after the other."""
    with counting(sw, ["TERM", "USR1"]) as made:
        for name in ("TERM", "USR1"):
            for process in made.tree():
                subprocess.run(["/bin/kill", f"-{name}", str(process)], check=True)
        assert made.close() == counts(["TERM", "USR1"])


def test_to_each_process_alone_nothing_of_pyparrots_ends(sw: World) -> None:
    with counting(sw, CAUGHT) as made:
        front, *ours, command = made.tree()
        assert len(ours) >= 2
        for name in CAUGHT:
            for process in ours:
                os.kill(process, number(name))
                time.sleep(0.01)
        assert made.close() == counts(CAUGHT, 0)
        assert front != command


def test_one_signal_many_times(sw: World) -> None:
    """With time between them, for equal signals that wait are one."""
    with counting(sw, ["USR1", "USR2"]) as made:
        for turn in range(12):
            if turn % 3 == 0:
                os.killpg(made.front.pid, signal.SIGUSR1)
            else:
                os.kill(made.front.pid, signal.SIGUSR1)
            if turn % 2:
                os.kill(made.front.pid, signal.SIGUSR2)
            time.sleep(0.04)
        said, status, err = made.close()
    assert (said, status, err) == ("USR1=12 USR2=6\n", 3, "")


def test_signals_while_it_starts_are_not_lost(sw: World) -> None:
    """Nor do they end anything but the command, and that by the signal itself."""
    for delay in (0.0, 0.02, 0.04, 0.08, 0.16):
        for to_all in (False, True):
            with subprocess.Popen(
                [*sw.prefix(), "sleep", "60"],
                stderr=subprocess.PIPE,
                start_new_session=True,
                cwd=sw.work(),
                env=sw.environment(),
                **sw.user.options(),
            ) as process:
                time.sleep(delay)
                (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
                err = process.communicate(timeout=LIMIT)[1]
            assert (process.returncode, err) == (-signal.SIGTERM, b""), (delay, to_all)


@pytest.mark.parametrize("role", ["session_memory.SessionMemory", "monitor.monitor"])
def test_a_signal_to_the_group_before_there_is_a_command_is_not_lost(sw: World, role: str) -> None:
    """Whether it comes before the monitor or before the command is forked."""
    module = role.split(".", maxsplit=1)[0]
    late = (
        "import os, sys, time\n"
        f"from pyparrot.run import {module}\n"
        f"begin = {role}\n"
        f"{role} = lambda *given: (os.write(1, b'now'), time.sleep(0.5), begin(*given))[2]\n"
        "from pyparrot.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", late, *sw.prefix()[len(runs.PYPARROT) :], "sleep", "10"]
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env=sw.environment(),
        **sw.user.options(),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(3) == b"now"
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(LIMIT) == -signal.SIGTERM


def test_a_timer_that_was_set_before(sw: World) -> None:
    """An alarm goes with the process through exec: the command is ended by it."""
    words = [*sw.prefix(), "sleep", "60"]
    source = "import os, signal, sys; signal.alarm(2); os.execvp(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", source, *words],
        cwd=sw.work(),
        env=sw.environment(),
        **sw.user.options(),
    ) as process:
        assert process.wait(LIMIT) == -signal.SIGALRM


def test_a_terminal_that_is_closed(sw: World) -> None:
    """The kernel tells the session's leader alone, which is the front."""
    import pty

    work = sw.work()
    source = (
        "import os, signal, sys, time\n"
        "def note(*_):\n"
        "    os.open('hung-up', os.O_CREAT | os.O_WRONLY); os._exit(0)\n"
        "signal.signal(signal.SIGHUP, note); os.write(1, b'ready\\n'); time.sleep(60)"
    )
    child, master = pty.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.fchown(0, sw.user.uid, -1)
                os.setgroups([])
                os.setresgid(sw.user.gid, sw.user.gid, sw.user.gid)
                os.setresuid(sw.user.uid, sw.user.uid, sw.user.uid)
            os.chdir(work)
            words = [*sw.prefix(), sys.executable, "-S", "-c", source]
            os.execve(words[0], words, sw.environment())
        finally:
            os._exit(99)
    assert b"ready" in os.read(master, 100)
    os.close(master)
    deadline = time.monotonic() + LIMIT
    while not (work / "hung-up").exists():
        assert time.monotonic() < deadline, "the command has not heard of it"
        time.sleep(0.05)
    os.waitpid(child, 0)


def test_the_end_of_a_run_hangs_nobody_up(sw: World) -> None:
    """In a job that has no shell above it the kernel might, if a process of it is stopped."""
    run = shlex.join(sw.prefix())
    script = (
        f"trap 'echo hung up' HUP; sleep 60 & kill -STOP $!; {run} true; echo $?; kill -KILL $!"
    )
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        start_new_session=True,
        cwd="/",
        env=sw.environment(),
        timeout=LIMIT,
        check=False,
        **sw.user.options(),
    )
    assert (done.stdout, done.stderr) == (b"0\n", b"")


def test_a_command_that_ends_before_the_front_knows_it(sw: World) -> None:
    """On a loaded machine a short command is reaped before its number has come to the frontend."""
    late = (
        "import sys, time\n"
        "from pyparrot.run import frontend\n"
        "note = frontend._Frontend._note\n"
        "frontend._Frontend._note = lambda *message: (time.sleep(0.3), note(*message))\n"
        "from pyparrot.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", late, *sw.prefix()[len(runs.PYPARROT) :], "sh", "-c", "exit 7"]
    done = subprocess.run(
        words,
        capture_output=True,
        cwd="/",
        env=sw.environment(),
        timeout=LIMIT,
        check=False,
        **sw.user.options(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"")


def test_signals_after_the_front_has_ended_cost_nothing(sw: World) -> None:
    """Nobody is told of them any more. What goes on is in the group of what has ended."""
    words = [*sw.prefix(), "sh", "-c", "trap '' TERM; sleep 3 </dev/null >/dev/null 2>&1 &"]
    group = subprocess.Popen(
        words, start_new_session=True, cwd="/", env=sw.environment(), **sw.user.options()
    )
    assert group.wait(LIMIT) == 0
    os.killpg(group.pid, signal.SIGTERM)
    time.sleep(0.1)
    before = time_used(group.pid)
    time.sleep(1.0)
    assert time_used(group.pid) - before < 0.3


def time_used(group: int) -> float:
    """Seconds of CPU time that the processes of a group have used; there have to be some."""
    used = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            if int(words[2]) == group:
                used.append(int(words[11]) + int(words[12]))
    assert used
    return sum(used) / os.sysconf("SC_CLK_TCK")

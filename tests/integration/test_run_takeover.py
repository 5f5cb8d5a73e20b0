"""A run survives its supervisor, and ends with its frontend or its monitor, whenever it is killed.

``PYPARROT_TESTS=all`` kills 300 times.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import runs
from support.runs import EVERYTHING, World, processes_with, world
from support.software import compile_c

pytestmark = pytest.mark.usefixtures("shim")

LIMIT = 120.0
KILLS = 300 if EVERYTHING else 6
"""Altogether, of each kind of work and with and without the shim."""

LINE = "pyparrot: run: the supervisor was killed; another one goes on"

# The work: each prints one line of what it has seen, which does not depend on time, and the longest
# that a step took (seconds). @@ is the tree.
WORK = {
    "opens": 'for n in $(seq 150); do cat "@@/dir/$((n % 40))"; done | cksum',
    "programs": "for n in $(seq 60); do @@/bin/tool $n; done | cksum",
    "directories": "for n in $(seq 80); do cd @@/deep/a/b && basename $PWD && ls .. &&"
    " cd @@/dir && ls | wc -l; done | cksum",
    "absent": 'for n in $(seq 200); do test -e "@@/no/$n" || echo no; done | cksum',
}
"""Shell scripts."""

STEPS = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* For some time: opens, listings, chdir, exec, attributes, each checked: STEPS TREE SECONDS */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int wrong;

static void is_true(int good, const char *what)
{
    if (good)
        return;
    printf("%s: %s\n", what, strerror(errno));
    wrong = 1;
}

static void step(const char *tree, int turn)
{
    char path[4096], text[64], wanted[64];
    struct stat status;

    snprintf(path, sizeof path, "%s/dir/%d", tree, turn % 40);
    int file = open(path, O_RDONLY);
    is_true(file >= 0, "open");
    ssize_t size = read(file, text, sizeof text - 1);
    text[size < 0 ? 0 : size] = 0;
    snprintf(wanted, sizeof wanted, "%d\n", turn % 40);
    is_true(strcmp(text, wanted) == 0, "read");
    close(file);
    is_true(stat(path, &status) == 0 && status.st_size == (off_t)strlen(wanted), "stat");
    snprintf(path, sizeof path, "%s/dir", tree);
    DIR *directory = opendir(path);
    int names = 0;
    while (directory && readdir(directory))
        names++;
    is_true(names == 42, "readdir");
    if (directory)
        closedir(directory);
    snprintf(path, sizeof path, "%s/deep/a/b", tree);
    is_true(chdir(path) == 0, "chdir");
    is_true(access("../c", R_OK) == 0, "access");
    errno = 0;
    is_true(open("nothing", O_RDONLY) == -1 && errno == ENOENT, "absent");
    errno = 0;
    is_true(mkdir("new", 0777) == -1 && errno == EROFS, "mkdir");
    is_true(chdir("/") == 0, "chdir /");
    if (turn % 4 == 0) {
        pid_t child;
        int ended = 0;
        snprintf(path, sizeof path, "%s/bin/seven", tree);
        char *words[] = {path, NULL}, *none[] = {NULL};
        int error = posix_spawn(&child, path, NULL, NULL, words, none);
        errno = error;
        is_true(error == 0, "spawn");
        is_true(waitpid(child, &ended, 0) == child && WEXITSTATUS(ended) == 7, "exec");
    }
}

int main(int count, char **words)
{
    (void)count;
    const double end = now() + atof(words[2]);
    double longest = 0;
    printf("ready\n");
    fflush(stdout);
    for (int turn = 0; now() < end; turn++) {
        const double before = now();
        step(words[1], turn);
        if (now() - before > longest)
            longest = now() - before;
    }
    printf("longest %.3f\n", longest);
    return wrong ? 1 : 9;
}
"""


class Steps(NamedTuple):
    """The world, and the program that takes steps in it."""

    sw: World
    program: Path


@pytest.fixture(scope="module")
def steps() -> Iterator[Steps]:
    def fill(tree: Path) -> None:
        for name in ("dir", "bin", "deep/a/b"):
            (tree / name).mkdir(parents=True)
        for number in range(40):
            (tree / "dir" / str(number)).write_text(f"{number}\n")
        (tree / "deep" / "a" / "c").write_text("c\n")
        (tree / "bin" / "tool").write_text('#!/bin/sh\necho "tool $*"\n')
        (tree / "bin" / "tool").chmod(0o755)
        compile_c(tree / "bin" / "seven", "int main(void) { return 7; }", "-O1")

    with world("sw.example.org", fill) as made:
        program = made.home / "steps"
        compile_c(program, STEPS, "-O1")
        yield Steps(made, program)


def parent_of(process: int) -> int:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [
            int(word)
            for task in os.listdir(f"/proc/{process}/task")
            for word in Path(f"/proc/{process}/task/{task}/children").read_text().split()
        ]
    return []


class Tree:
    """A run's processes: frontend, first supervisor, tracer, monitor, command."""

    def __init__(self, front: int) -> None:
        self.front = front
        deadline = time.monotonic() + LIMIT
        while True:
            found: list[int] = []
            process = front
            while len(found) < 4:
                below = children(process)
                if not below or (len(below) > 1 and len(found) < 3):
                    break  # it is just being started; the monitor may have orphans beside
                process = below[0]
                found.append(process)
            if len(found) == 4:
                break
            assert time.monotonic() < deadline, "there is no run"
            time.sleep(0.005)
        self.supervisor, self.tracer, self.monitor, self.command = found

    def new_supervisor(self) -> int:
        """The number of the one that the monitor has started; 0 if there is none."""
        for process in children(self.monitor):
            with contextlib.suppress(OSError):
                # It is in the frontend's group, and the only such child but the command.
                if process != self.command and os.getpgid(process) == os.getpgid(self.front):
                    return process
        return 0


@contextlib.contextmanager
def running(
    steps: Steps, *words: str, cache: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    sw = steps.sw
    with subprocess.Popen(
        [*sw.prefix(cache=cache), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=sw.work(),
        env=sw.environment(),
        **sw.user.options(),
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()


def kill(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def kills(seed: str, rounds: int) -> Iterator[random.Random]:
    for turn in range(rounds):
        yield random.Random(f"{seed} {turn}")


def assert_went_on(process: subprocess.Popen[bytes], killed: int, status: int) -> str:
    out, err = process.communicate(timeout=LIMIT)
    lines = err.decode().splitlines()
    assert lines == [LINE] * killed, (lines, out)
    assert process.returncode == status, out
    return out.decode()


def nothing_left(text: str) -> None:
    deadline = time.monotonic() + 20
    while processes_with(text):
        assert time.monotonic() < deadline, processes_with(text)
        time.sleep(0.02)


@pytest.mark.parametrize("how_often", [1, 2])
def test_each_step_is_right_however_it_is_killed(steps: Steps, how_often: int) -> None:
    for chance in kills(f"steps {how_often} {runs.shim}", max(1, KILLS // 12)):
        with running(steps, str(steps.program), steps.sw.root, "2.5") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            tree = Tree(process.pid)
            number = tree.supervisor
            for _ in range(how_often):
                time.sleep(chance.uniform(0.0, 0.4))
                kill(number)
                deadline = time.monotonic() + 10
                while not tree.new_supervisor() or tree.new_supervisor() == number:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                number = tree.new_supervisor()
            out = assert_went_on(process, how_often, 9)
        found = re.fullmatch(r"longest ([0-9.]+)\n", out)
        assert found, out
        assert float(found[1]) < 2.0 + os.getloadavg()[0], "seconds for a step, on a busy machine"


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("cache", ["warm", "cold"])
def test_a_script_has_the_right_result(steps: Steps, work: str, cache: str) -> None:
    sw = steps.sw
    script = WORK[work]
    native = sw.native("bash", "-c", script)
    assert native.status == 0
    for chance in kills(f"{work} {cache} {runs.shim}", max(1, KILLS // 12)):
        place = sw.work() / "cache" if cache == "cold" else None
        words = ("bash", "-c", script.replace("@@", sw.root) + "; exit 5")
        with running(steps, *words, cache=place) as process:
            tree = Tree(process.pid)
            time.sleep(chance.uniform(0.0, 1.5))
            kill(tree.supervisor)
            out, err = process.communicate(timeout=LIMIT)
        said = err.decode()
        if said == "pyparrot: run: the supervisor was killed before the command began\n":
            assert (process.returncode, out) == (125, b"")
            continue
        assert said in (LINE + "\n", ""), "nothing, if the command has been faster"
        ran = out.decode().replace(sw.root, "@@")
        assert (ran, process.returncode) == (native.out, 5)


def test_an_idle_run_goes_on_later(steps: Steps) -> None:
    script = "echo ready; sleep 1.5; cat @@/dir/7; cd @@/deep/a && ls; exit 6".replace(
        "@@", steps.sw.root
    )
    with running(steps, "bash", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        kill(Tree(process.pid).supervisor)
        assert assert_went_on(process, 1, 6) == "7\nb\nc\n"


def test_signals_are_still_counted_once(steps: Steps) -> None:
    source = (
        "import os, signal, time; got = []\n"
        "signal.signal(signal.SIGUSR1, lambda *_: got.append(1))\n"
        "os.write(1, b'ready\\n')\n"
        "while not os.path.exists('end'): time.sleep(0.02)\n"
        "print(len(got), flush=True); os._exit(0)"
    )
    with running(steps, sys.executable, "-S", "-c", source) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        tree = Tree(process.pid)
        kill(tree.supervisor)
        deadline = time.monotonic() + 20
        while not tree.new_supervisor():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.5)
        work = os.readlink(f"/proc/{process.pid}/cwd")
        os.kill(process.pid, signal.SIGUSR1)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGUSR1)
        time.sleep(0.5)
        Path(work, "end").touch()
        assert assert_went_on(process, 1, 0) == "2\n"


def test_the_tracer_is_replaced(steps: Steps) -> None:
    with running(steps, str(steps.program), steps.sw.root, "2.5") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        kill(Tree(process.pid).tracer)
        out, err = process.communicate(timeout=LIMIT)
    lines = err.decode().splitlines()
    if lines == ["pyparrot: run: the tracer was killed; another one goes on"]:
        assert process.returncode == 9, out
    else:  # a task was held just then; if it was the last, nobody has to go on
        assert re.match(
            r"pyparrot: run: the tracer was killed, and with it (a|\d+) proc", lines[-1]
        )
        assert len(lines) == 2 or process.returncode == -signal.SIGKILL


def test_it_gives_up_when_nobody_can_go_on(steps: Steps) -> None:
    """Three times within two seconds: then the command is ended, and one line says so."""
    mark = f"mark-{os.urandom(8).hex()}"
    with running(steps, "bash", "-c", f"echo ready; sleep 60; : {mark}") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        tree = Tree(process.pid)
        number = tree.supervisor
        deadline = time.monotonic() + 20
        while process.poll() is None:
            assert time.monotonic() < deadline, "it goes on for ever"
            kill(number)
            number = tree.new_supervisor() or number
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 125
    lines = err.decode().splitlines()
    assert lines[:-1] == [LINE] * (len(lines) - 1)
    assert "no other one can go on" in lines[-1]
    nothing_left(mark)


def test_a_command_that_dies_with_the_tracer_does_not_do_so_without_a_word(steps: Steps) -> None:
    """Its call was just being changed; and nobody is left for whom there were another tracer."""
    script = f"echo ready; while :; do cd {steps.sw.root}/dir; cd {steps.sw.root}; done"
    for _ in range(40):
        with running(steps, "sh", "-c", script) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            tree = Tree(process.pid)
            time.sleep(random.uniform(0.0, 0.1))
            kill(tree.tracer)
            time.sleep(0.3)
            kill(tree.command)
            _, err = process.communicate(timeout=LIMIT)
        assert process.returncode == -signal.SIGKILL
        lines = err.decode().splitlines()
        if "pyparrot: run: the tracer was killed; another one goes on" not in lines:
            assert lines == [
                "pyparrot: run: the tracer was killed, and with it a process that it held"
            ]
            return
    pytest.skip("it was never held when the tracer was killed")


@pytest.mark.parametrize("who", ["front", "monitor", "all but the command"])
def test_killing_frontend_or_monitor_ends_everything(steps: Steps, who: str) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    script = (
        "(setsid sh -c 'sleep 60; : more' &) ; trap '' HUP TERM INT; sleep 60 & echo ready; "
        f"while true; do cat @@/dir/3 >&2; sleep 0.01; done; : {mark}"
    ).replace("@@", steps.sw.root)
    for chance in kills(f"{who} {runs.shim}", max(1, KILLS // 12)):
        with running(steps, "bash", "-c", script) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            tree = Tree(process.pid)
            tasks = [tree.command, *children(tree.command), *children(tree.monitor)]
            time.sleep(chance.uniform(0.0, 0.2))
            if who == "front":
                kill(process.pid)
            elif who == "monitor":
                kill(tree.monitor)
            else:
                kill(tree.supervisor)
                kill(tree.monitor)
                kill(tree.tracer)
            started = time.monotonic()
            _, err = process.communicate(timeout=LIMIT)
            took = time.monotonic() - started
        assert took < 2.0 + os.getloadavg()[0]
        for task in tasks:
            deadline = time.monotonic() + 5
            while os.path.exists(f"/proc/{task}") and parent_of(task) not in (0, 1):
                assert time.monotonic() < deadline, "it goes on"
                time.sleep(0.01)
        ours = [line for line in err.decode().splitlines() if line.startswith("pyparrot")]
        if who == "front":
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 125
            assert ours[-1].endswith("the command was ended")
        nothing_left(mark)


def test_an_out_of_memory_kill(steps: Steps) -> None:
    """In a control group with little memory the kernel ends what is largest."""
    if os.geteuid() != 0:
        pytest.skip("takes root")
    group = memory_group()
    if group is None:
        pytest.skip("there are no control groups for memory here")
    sw = steps.sw
    try:
        script = (
            "echo $$ >&2; x=$(head -c 400000000 /dev/zero | tr '\\0' x); cat @@/dir/5"
        ).replace("@@", sw.root)
        with subprocess.Popen(
            [*sw.prefix(cache=sw.work() / "cache"), "bash", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=sw.environment(),
            preexec_fn=lambda: (group / "cgroup.procs").write_text("0"),  # noqa: PLW1509
        ) as process:
            out, err = process.communicate(timeout=LIMIT)
        # Whoever was ended: the command is what it would be without us, or one line says why not.
        assert b"Function not implemented" not in err
        assert process.returncode in (-signal.SIGKILL, 125, 0, 1, 2), (out, err)
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def memory_group() -> Path | None:
    for top, limit in (
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    ):
        group = top / f"pyparrot-test-{os.getpid()}"
        try:
            group.mkdir()
            if not (group / limit).exists():
                raise FileNotFoundError(group / limit)  # no control groups are mounted there
            (group / limit).write_text(str(150 << 20))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        return group
    return None

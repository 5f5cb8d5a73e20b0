"""The process side of ``pyparrot run``: how it starts, what is the command's own, how all ends.

Everything runs as an ordinary user. At the end of the module nothing may be left running.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from support.runs import PYPARROT, World, processes_with, started, world
from support.software import compile_c

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "sw.example.org"
LIMIT = 60.0
KILL_EXECS = Path(__file__).parents[1] / "support" / "kill_execs.c"


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    def fill(tree: Path) -> None:
        (tree / "file").write_text("content\n")
        (tree / "dir").mkdir()
        for number in range(200):
            (tree / "dir" / f"{number:03}").write_text(f"{number}\n")
        (tree / "not-executable").write_text("#!/bin/sh\n")
        (tree / "tool").write_text('#!/bin/sh\necho "tool $*"\n')
        (tree / "tool").chmod(0o755)
        (tree / "plain").write_text('echo "plain $*"\n')
        (tree / "plain").chmod(0o755)
        shutil.copy("/bin/true", tree / "true")

    with world(FQRN, fill) as made:
        yield made


def python(source: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", source, *words)


def wait_for(condition: Callable[[], object], seconds: float = LIMIT) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def children(process: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
        return [int(word) for word in text.split()]
    return []


def has_ended(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


@contextlib.contextmanager
def running(sw: World, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs; its first line of output was ``ready``."""
    command = [*sw.prefix(), *words]
    more = {"cwd": sw.work(), "env": sw.environment(), **sw.user.options()}
    with started(command, subprocess.PIPE, **more) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process


READY = "import os, sys, signal, time; say = lambda text: os.write(1, text.encode() + b'\\n')\n"


# How it ends


@pytest.mark.parametrize("status", [0, 1, 7, 125, 126, 127, 128, 255])
def test_the_exit_status_is_the_commands(sw: World, status: int) -> None:
    assert sw.run("sh", "-c", f"exit {status}") == (status, "", "")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["no-such-command"], 127, "no-such-command: command not found"),
        (["/no/such/command"], 127, "/no/such/command: No such file or directory"),
        (["@@/nothing"], 127, "@@/nothing: No such file or directory"),
        (["@@/file/x"], 127, "@@/file/x: Not a directory"),
        (["@@/not-executable"], 126, "@@/not-executable: Permission denied"),
        (["@@/dir"], 126, "@@/dir: Permission denied"),
        (["/etc"], 126, "/etc: Permission denied"),
        ([], 125, "run: no command (pyparrot run -- COMMAND [ARGUMENT...])"),
    ],
)
def test_a_command_that_cannot_be_run(
    sw: World, words: list[str], status: int, message: str
) -> None:
    assert sw.run(*words) == (status, "", f"pyparrot: {message}\n")


def test_a_script_without_first_line_is_the_shells(sw: World) -> None:
    assert sw.run("@@/plain", "a", "b") == (0, "plain a b\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGSEGV])
def test_a_signal_that_ends_the_command_ends_the_front(sw: World, number: signal.Signals) -> None:
    """With the very same signal, so that a shell says 128 and its number."""
    ran = sw.run("sh", "-c", f"ulimit -c 0; kill -{number.value} $$")
    assert ran == (-number, "", "")
    front = shlex.join(sw.prefix())
    ran = sw.native("sh", "-c", f"{front} sh -c 'ulimit -c 0; kill -{number.value} $$'; echo $?")
    assert ran.out == f"{128 + number}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_front_is_passed_on(sw: World, number: signal.Signals) -> None:
    source = READY + (
        f"signal.signal({number.value}, lambda *_: (say('caught'), os._exit(5)))\n"
        "say('ready')\ntime.sleep(60)"
    )
    with running(sw, *python(source)) as process:
        process.send_signal(number)
        assert process.communicate(timeout=LIMIT) == (b"caught\n", b"")
        assert process.returncode == 5


def test_a_signal_that_the_command_does_not_catch(sw: World) -> None:
    with running(sw, "sh", "-c", "echo ready; exec sleep 60") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == -signal.SIGTERM


def test_killing_the_front_ends_the_command(sw: World) -> None:
    with running(
        sw, *python(READY + "say('ready'); say(str(os.getpid())); time.sleep(60)")
    ) as front:
        assert front.stdout is not None
        command = int(front.stdout.readline())
        front.kill()
        wait_for(lambda: has_ended(command))


# What outlives it


def test_a_daemon_outlives_the_command(sw: World) -> None:
    work = sw.work()
    source = READY + (
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    null = os.open('/dev/null', os.O_RDWR); [os.dup2(null, n) for n in range(3)]\n"
        "    open('pid', 'w').write(str(os.getpid()))\n"
        "    for _ in range(6000): os.path.exists('go') or time.sleep(0.01)\n"
        "    os.chdir(sys.argv[1]); text = open('file').read() + str(len(os.listdir('dir')))\n"
        "    os.chdir(sys.argv[2])\n"
        "    open('said.new', 'w').write(text); os.rename('said.new', 'said')\n"
        "    os._exit(0)\n"
        "while not os.path.exists('pid'): time.sleep(0.01)\n"
        "os._exit(3)"
    )
    mark = f"mark-{os.urandom(8).hex()}"
    command = [*sw.prefix(), *python(source, sw.root, str(work), mark)]
    options = {"cwd": work, "env": sw.environment(), **sw.user.options()}
    ran = subprocess.run(command, check=False, capture_output=True, timeout=LIMIT, **options)
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, b"", b"")
    assert len(processes_with(mark)) >= 3, "daemon, monitor and supervisor are there"
    (work / "go").touch()
    wait_for((work / "said").exists)
    assert (work / "said").read_text() == "content\n200"
    wait_for(lambda: not processes_with(mark))


def test_background_jobs_of_a_shell_keep_their_pipes(sw: World) -> None:
    script = "(sleep 0.3; cat @@/file) & echo first"
    assert sw.run("sh", "-c", script) == (0, "first\ncontent\n", "")


# What is the command's own


def test_standard_streams(sw: World) -> None:
    command = [*sw.prefix(), "sh", "-c", "cat; echo error >&2"]
    options = {"cwd": sw.work(), "env": sw.environment(), **sw.user.options()}
    ran = subprocess.run(
        command, check=False, input=b"input", capture_output=True, timeout=LIMIT, **options
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"input", b"error\n")


def test_no_descriptor_leaks_into_the_command(sw: World) -> None:
    source = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))"
    native, ours = sw.both(*python(source))
    assert ours == native


def test_descriptors_of_the_caller_are_handed_on(sw: World) -> None:
    reader, writer = os.pipe()
    command = [*sw.prefix(), "bash", "-c", f"echo through >&{writer}"]
    options = {"cwd": sw.work(), "env": sw.environment(), **sw.user.options()}
    with started(command, pass_fds=[writer], **options) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            assert stream.read() == b"through\n"  # to the end: nobody else has kept it open
        assert process.wait(LIMIT) == 0


@pytest.mark.parametrize("ignored", [(), (signal.SIGINT, signal.SIGPIPE, signal.SIGTERM)])
def test_signals_limits_and_masks_are_as_without(sw: World, ignored: tuple[int, ...]) -> None:
    source = (
        "import os, re, resource, signal; text = open('/proc/self/status').read()\n"
        "print(re.findall(r'(?m)^(?:SigBlk|SigIgn|SigCgt|Umask|Uid|Gid|Groups).*', text))\n"
        "print([resource.getrlimit(n) for n in range(16)], os.getpriority(0, 0))\n"
        "print(os.getcwd(), sorted((n, v) for n, v in os.environ.items() if n != 'PYPARROT_RUN'))"
    )

    def prepare() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, ignored[:1])
        os.umask(0o027)

    work = sw.work()
    said = []
    for prefix in ((), sw.prefix()):
        words = [*prefix, *python(source)]
        ran = subprocess.run(
            words,
            check=True,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            cwd=work,
            env=sw.environment(),
            preexec_fn=prepare,
            **sw.user.options(),
        )
        said.append(ran.stdout.splitlines())
    assert said[0] == said[1]


def test_the_command_is_in_the_callers_session_and_group(sw: World) -> None:
    source = READY + "say('ready'); say(f'{os.getsid(0)} {os.getpgrp()}'); sys.stdin.read()"
    with running(sw, *python(source)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == [str(process.pid).encode()] * 2


def test_variables(sw: World) -> None:
    options = ["--env", "FIRST=1", "--env", "SECOND=a=b c", "--env", "HOME=/elsewhere"]
    script = 'echo "$FIRST|$SECOND|$HOME"'
    assert sw.run("sh", "-c", script, options=options) == (0, "1|a=b c|/elsewhere\n", "")


# Programs that start programs


def test_many_ways_to_start_a_program(sw: World) -> None:
    source = (
        "import os, subprocess, sys, threading\n"
        "root = sys.argv[1]; tool = root + '/tool'\n"
        "print(subprocess.check_output([tool, 'subprocess']))\n"
        "print(subprocess.check_output([tool, 'plain'], preexec_fn=lambda: None))\n"
        "sys.stdout.flush()\n"
        "os.waitpid(os.posix_spawn(tool, ['tool', 'spawn'], os.environ), 0)\n"
        "os.system(tool + ' system')\n"
        "child = os.fork()\n"
        "if child == 0: os.execv(tool, ['tool', 'fork'])\n"
        "os.waitpid(child, 0)\n"
        "found = []\n"
        "def look(n):\n"
        "    for i in range(50):\n"
        "        name = f'{root}/dir/{(n * 25 + i) % 200:03}'\n"
        "        with open(name) as file: found.append(int(file.read()))\n"
        "threads = [threading.Thread(target=look, args=(n,)) for n in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(len(found), sum(found), flush=True)\n"
        "os.execv(tool, ['tool', 'exec'])"
    )
    native, ours = sw.both(*python(source, "@@"))
    assert ours == native
    assert native.out.endswith("tool exec\n")


def test_children_that_are_killed_in_an_exec_leave_nothing_behind(sw: World, shim: str) -> None:
    """A task may be killed at each moment while its exec is rewritten.

    Its parent has to be able to wait for it, and the mapping for new arguments in the parent's
    memory has to be free for the next child. Once neither was: the worker returned without waiting
    for the task that it held, and without giving the mapping back.
    """
    program = sw.home / f"kill-execs-{shim}"
    compile_c(program, KILL_EXECS.read_text(), "-Wall", "-pthread")
    ran = sw.run(str(program), "@@/true", "1500", "600")
    assert (ran.status, ran.err) == (0, "")
    found = re.fullmatch(r"killed (\d+) ran (\d+) grown (-?\d+)\n", ran.out)
    assert found, ran.out
    killed, survived, grown = map(int, found.groups())
    assert killed > 100
    assert survived > 10
    assert grown <= 256, "KiB of address space: a mapping has 64"


def test_a_run_in_a_run_joins_it(sw: World) -> None:
    inner = [*PYPARROT, "run", "--"]
    assert sw.run(*inner, "cat", "@@/file") == (0, "content\n", "")
    assert sw.run(*inner, *inner, "sh", "-c", "cat @@/file; exit 4") == (4, "content\n", "")
    assert sw.run(*inner, "sh", "-c", "kill -9 $$").status == -signal.SIGKILL


def test_a_run_in_a_run_with_options_is_refused_in_one_line(sw: World) -> None:
    ran = sw.run(*PYPARROT, "run", "-v", "--", "true")
    assert ran.status == 125
    assert re.fullmatch(r"pyparrot: run: already in a run.*\n", ran.err), ran.err


# A terminal


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, sw: World, words: list[str]) -> None:
        self._said = b""
        self.child, self._master = pty.fork()
        if self.child == 0:
            try:
                if os.geteuid() == 0:
                    os.fchown(0, sw.user.uid, -1)
                    os.setgroups([])
                    os.setresgid(sw.user.gid, sw.user.gid, sw.user.gid)
                    os.setresuid(sw.user.uid, sw.user.uid, sw.user.uid)
                os.chdir(sw.home)
                os.execve(words[0], words, sw.environment({"PS1": "prompt> "}))
            finally:
                os._exit(99)

    def wait_for(self, text: str) -> str:
        """What is said up to, and with, *text*."""
        wanted = text.encode()
        deadline = time.monotonic() + LIMIT
        while wanted not in self._said:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self._said!r}"
            if select.select([self._master], [], [], left)[0]:
                try:
                    self._said += os.read(self._master, 65536)
                except OSError:
                    pytest.fail(f"it ended: no {text!r} in {self._said!r}")
        found, _, self._said = self._said.partition(wanted)
        return (found + wanted).decode()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> int:
        """Wait for the end; gives the exit status."""
        with contextlib.suppress(OSError):  # what is said until then must be read
            while select.select([self._master], [], [], LIMIT)[0] and os.read(self._master, 65536):
                pass
        os.close(self._master)  # hangs up, if anybody is still there
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


@contextlib.contextmanager
def terminal(sw: World, *words: str) -> Iterator[Terminal]:
    made = Terminal(sw, [*words])
    try:
        yield made
    finally:
        made.type("\x04")
        made.close()


def test_ctrl_c_ends_the_command(sw: World) -> None:
    made = Terminal(sw, [*sw.prefix(), "sh", "-c", "echo ready; exec sleep 60"])
    made.wait_for("ready")
    made.type("\x03")
    assert made.close() == -signal.SIGINT


def test_ctrl_c_comes_once(sw: World) -> None:
    source = READY + (
        "got = []; signal.signal(2, lambda *_: got.append(say('caught')))\nsay('ready')\n"
        "while not got: time.sleep(0.01)\n"
        "time.sleep(0.3); os._exit(5 + len(got))"
    )
    made = Terminal(sw, [*sw.prefix(), *python(source)])
    made.wait_for("ready")
    made.type("\x03")
    made.wait_for("caught")
    assert made.close() == 6


def test_the_terminal_is_the_commands(sw: World) -> None:
    script = "tty; test -t 0 && test -t 1 && test -t 2 && stty size; ps -o tpgid=,pgid= -p $$"
    made = Terminal(sw, [*sw.prefix(), "sh", "-c", f"{script}; echo done"])
    said = made.wait_for("done").split()
    made.close()
    assert said[0].startswith("/dev/pts/")
    assert said[-3] == said[-2], "the terminal's foreground group is that of the command"


def test_job_control(sw: World) -> None:
    """Ctrl-Z, fg, bg, kill of a job: a shell has the command in its hands as any other."""
    front = shlex.join(sw.prefix())
    with terminal(sw, "/bin/bash", "--norc", "--noprofile", "-i") as shell:
        shell.wait_for("prompt> ")
        shell.type(f"{front} sh -c 'echo re''ady; read word; echo got $word; exit 8'\n")
        shell.wait_for("ready\r\n")
        shell.type("\x1a")
        shell.wait_for("Stopped")
        shell.wait_for("prompt> ")
        shell.type("fg\n")
        shell.wait_for("exit 8'\r\n")
        shell.type("typed\n")
        shell.wait_for("got typed")
        shell.wait_for("prompt> ")
        shell.type("echo status=$?=\n")
        shell.wait_for("status=8=")

        shell.type(f"{front} sh -c 'echo re''ady; sleep 60; true' &\n")
        shell.wait_for("ready\r\n")
        shell.type("kill -TERM %%; wait %%; echo status=$?=\n")
        shell.wait_for(f"status={128 + signal.SIGTERM}=")
        shell.type("exit\n")


# Options


def test_a_local_directory_elsewhere(sw: World) -> None:
    options = ["-M", f"/no/such/place={sw.source}"]
    script = "cat /no/such/place/file; ls /no/such; /no/such/place/tool x; rm /no/such/place/file"
    ran = sw.run("sh", "-c", script, options=options)
    assert ran.out == "content\nplace\ntool x\n"
    assert "Read-only file system" in ran.err


def test_a_file_of_mounts(sw: World) -> None:
    file = sw.work() / "mounts"
    file.write_text(f"# mounts\n\n/opt/one {sw.fqrn}\n/opt/two\t{sw.source}/dir\n")
    ran = sw.run("sh", "-c", "cat /opt/one/file /opt/two/007", options=["-m", str(file)])
    assert ran == (0, "content\n7\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-M", "nonsense"], "nonsense: not /PATH=SOURCE"),
        (["-M", "/=/tmp"], "/: not a mount point"),
        (["-M", "/here=/no/such/directory"], "/no/such/directory: "),
        (["-m", "/no/such/file"], "/no/such/file: "),
        (["--env", "NOTHING"], "--env: not NAME=VALUE"),
        (["--cache", "/proc/cache"], "/proc/cache"),
    ],
)
def test_a_bad_option_is_one_line(sw: World, options: list[str], message: str) -> None:
    ran = sw.run("true", options=options)
    assert (ran.status, ran.out) == (125, "")
    assert ran.err.startswith(f"pyparrot: {message}"), ran.err
    assert ran.err.count("\n") == 1


def test_a_summary_is_one_line(sw: World) -> None:
    ran = sw.run("cat", "@@/file", options=["--stats"])
    assert (ran.status, ran.out) == (0, "content\n")
    assert re.fullmatch(r"pyparrot: .*system calls: \d+ trapped.*\n", ran.err), ran.err


def test_messages_go_to_a_file(sw: World) -> None:
    log = sw.work() / "log"
    ran = sw.run("cat", "@@/file", options=["-v", "--log", str(log)])
    assert ran == (0, "content\n", "")
    assert f"mounted {sw.fqrn} at {sw.root}\n" in log.read_text()


def test_unknown_repositories_are_not_there(sw: World) -> None:
    source = (
        "import os, sys\n"
        "for path in sys.argv[1:]:\n"
        "    try: os.stat(path); print('there')\n"
        "    except OSError as error: print(error.strerror)\n"
        "print(os.listdir('/cvmfs'))"
    )
    unknown = "/cvmfs/nothing.example.org"
    ran = sw.run(*python(source, unknown, f"{unknown}/file", unknown, "/cvmfs/x", "@@", "/cvmfs"))
    missing = "No such file or directory\n"
    assert ran == (0, 4 * missing + 2 * "there\n" + f"['{sw.fqrn}']\n", "")


def test_a_server_without_the_repository_is_one_line(sw: World) -> None:
    """If the user has named the server of one repository, and not of any that a program names."""
    url = f"{sw.url.rpartition('/')[0]}/other.example.org"
    options = ["--server", url, "--cache", str(sw.work() / "cache")]
    ran = sw.run("sh", "-c", "ls /cvmfs/nothing.example.org 2>&- || echo gone", options=options)
    assert (ran.status, ran.out) == (0, "gone\n")
    assert re.fullmatch(f"pyparrot: {url}/.cvmfspublished: not available: HTTP 404 .*\n", ran.err)


def test_a_server_that_is_down_is_one_line(sw: World) -> None:
    options = ["--server", "http://127.0.0.1:1/cvmfs/@fqrn@"]
    cache = sw.work() / "cache"
    script = "cat @@/file; cat @@/file; ls @@/dir; echo still here"
    ran = sw.run("sh", "-c", script, options=[*options, "--cache", str(cache)])
    assert (ran.status, ran.out) == (0, "still here\n")
    ours = [line for line in ran.err.splitlines() if line.startswith("pyparrot: ")]
    assert len(ours) == 1, ran.err
    assert "127.0.0.1" in ours[0]


def test_a_cold_start_downloads_once(sw: World) -> None:
    """Many processes want the same at the same time, and all get it."""
    script = "for i in 1 2 3 4 5 6 7 8; do cat @@/dir/* | md5sum & done; wait"
    ran = sw.run("sh", "-c", script, options=["--cache", str(sw.work() / "cache")])
    assert ran.status == 0
    assert len(ran.out.splitlines()) == 8
    assert len(set(ran.out.splitlines())) == 1

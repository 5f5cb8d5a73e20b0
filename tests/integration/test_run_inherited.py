"""What a run was given is the command's, unchanged: each setting is compared with a native start.

Everything is started by the command that is installed (not by ``python -m``), since Python changes
some of it before any of our own code runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from support import runs
from support.runs import User, World, processes_with, world

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "sw.example.org"
LIMIT = 120.0
COMMAND = Path(sys.executable).with_name("pyparrot")
EVERY_SIGNAL = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
NOTHING = ctypes.CDLL(None, use_errno=True)
ROOT = User(0, 0)

# What a program is told by the kernel about itself. It runs nothing of its own before.
FILES = ("status", "limits", "stat", "oom_score_adj", "timerslack_ns", "personality", "cgroup")
FIELDS = re.compile(
    r"(Umask|[UG]id|Groups|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt|Cap...|Mems_allowed|THP_enabled):.*"
)


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    def fill(tree: Path) -> None:
        (tree / "file").write_text("content\n")

    if not COMMAND.exists():
        pytest.skip("the command is not installed here")
    with world(FQRN, fill) as made:
        yield made


@pytest.fixture(params=["user", "root"])
def user(request: pytest.FixtureRequest, sw: World, shim: str) -> User:
    if request.param == "user":
        return sw.user
    if os.geteuid() != 0 or runs.shim == "off":
        pytest.skip("takes root, and the shim makes no difference")
    return ROOT


def prefix(sw: World, user: User) -> list[str]:
    cache = sw.home / ("root-cache" if user == ROOT else "user/cache")
    words = ["--server", sw.url, "--key", str(sw.key), "--cache", str(cache)]
    return [str(COMMAND), "run", "--shim", runs.shim, *words, "--"]


def start(
    words: list[str], user: User, prepare: Callable[[], object], **options: Any
) -> tuple[int, str, str]:
    """Run a command after *prepare*; the number of its first process becomes ``FIRST``."""
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": user.uid, "group": user.gid, "extra_groups": []}
    options = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, **options}
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        restore_signals=False,
        preexec_fn=prepare,  # noqa: PLW1509
        **who,
        **options,
    ) as process:
        try:
            out, err = process.communicate(timeout=LIMIT)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    text = re.sub(rf"\b{process.pid}\b", "FIRST", out.decode("utf-8", "surrogateescape"))
    return process.returncode, text, err.decode("utf-8", "surrogateescape")


def facts(said: str) -> list[str]:
    """What is the same for every process that was started in the same way."""
    found = []
    for line in said.splitlines():
        stat = re.fullmatch(r"\S+ \(cat\) (.*)", line)
        if stat:
            words = stat[1].split()
            # Group, session, terminal, its group; priority, nice; real-time priority, policy.
            found.append(" ".join([*words[2:6], *words[15:17], *words[37:39]]))
        elif FIELDS.fullmatch(line) or not re.match(r"[A-Za-z_]+:\t", line):
            found.append(line)
    return found


def io_class(level: int) -> None:
    NOTHING.syscall(251, 1, 0, level)  # ioprio_set


def memory_policy() -> None:
    nodes = ctypes.c_ulong(1)
    NOTHING.syscall(238, 3, ctypes.byref(nodes), 64)  # set_mempolicy(MPOL_INTERLEAVE)


def ignore(*numbers: int) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def default(*numbers: int) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


def soft(limit: int, value: int) -> None:
    resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


def oom_score() -> None:
    # A process that has just become another user may not; it is root's test then.
    with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("321")


SETTINGS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "no signal ignored": lambda: default(*EVERY_SIGNAL),
    "SIGCHLD ignored": lambda: ignore(signal.SIGCHLD),
    "SIGPIPE ignored": lambda: ignore(signal.SIGPIPE),
    "SIGXFSZ ignored": lambda: ignore(signal.SIGXFSZ),
    "SIGINT, SIGQUIT ignored": lambda: ignore(signal.SIGINT, signal.SIGQUIT),
    "all signals ignored": lambda: ignore(*EVERY_SIGNAL),
    "SIGCHLD blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD}),
    "all signals blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL),
    "umask 0": lambda: os.umask(0),
    "umask 0777": lambda: os.umask(0o777),
    "nice": lambda: os.nice(7),
    "batch": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    "one CPU": lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
    "idle I/O": lambda: io_class(3 << 13),
    "low I/O": lambda: io_class(2 << 13 | 6),
    "memory policy": memory_policy,
    "OOM score": oom_score,
    "timer slack": lambda: NOTHING.prctl(29, 12345),
    "no huge pages": lambda: NOTHING.prctl(41, 1, 0, 0, 0),
    "no random addresses": lambda: NOTHING.personality(0x0040000),
    "stack": lambda: soft(resource.RLIMIT_STACK, 1 << 20),
    "descriptors": lambda: soft(resource.RLIMIT_NOFILE, 20),
    "file size": lambda: soft(resource.RLIMIT_FSIZE, 0),
    "CPU seconds": lambda: soft(resource.RLIMIT_CPU, 7),
    "address space": lambda: soft(resource.RLIMIT_AS, 60 << 20),
    "data": lambda: soft(resource.RLIMIT_DATA, 20 << 20),
    "core": lambda: soft(resource.RLIMIT_CORE, 4096),
    "locked": lambda: soft(resource.RLIMIT_MEMLOCK, 4096),
    "pending signals": lambda: soft(resource.RLIMIT_SIGPENDING, 0),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_are_as_they_were_given(sw: World, user: User, setting: str) -> None:
    files = [f"/proc/self/{name}" for name in FILES]
    said = [
        start([*before, "cat", *files], user, SETTINGS[setting])
        for before in ([], prefix(sw, user))
    ]
    native, ours = said
    assert (ours[0], ours[2]) == (native[0], native[2])
    assert native[0] == 0
    assert facts(ours[1]) == facts(native[1])


@pytest.mark.parametrize("setting", ["idle I/O", "low I/O", "memory policy"])
def test_settings_that_only_calls_tell(sw: World, user: User, setting: str) -> None:
    source = (
        "import ctypes; c = ctypes.CDLL(None); mode = ctypes.c_int(); nodes = ctypes.c_ulong()\n"
        "c.syscall(239, ctypes.byref(mode), ctypes.byref(nodes), 64, 0, 0)\n"
        "print(c.syscall(252, 1, 0), mode.value, nodes.value)"
    )
    words = [sys.executable, "-S", "-c", source]
    native, ours = (
        start([*before, *words], user, SETTINGS[setting]) for before in ([], prefix(sw, user))
    )
    assert ours == native
    plain = start(words, user, lambda: None)
    if native == plain:
        pytest.skip("it can't be set here")


# Descriptors

CLOSED = [numbers for count in (1, 2, 3) for numbers in itertools.combinations(range(3), count)]


def close(*numbers: int) -> None:
    for number in numbers:
        os.close(number)


@pytest.mark.parametrize(
    ("closed", "options"),
    [*((numbers, []) for numbers in CLOSED), ((2,), ["-vv"]), ((0, 1, 2), ["-vv"])],
    ids=str,
)
def test_closed_descriptors_stay_closed(
    sw: World, closed: tuple[int, ...], options: list[str]
) -> None:
    """And what pyparrot has to say goes nowhere, instead of into another file."""
    work = sw.work()
    script = (
        "import os, sys; found = sorted(map(int, os.listdir('/proc/self/fd')))\n"
        "os.open('found', os.O_WRONLY | os.O_CREAT)\n"
        f"name = os.readlink('/proc/self/fd/{min(closed)}')\n"
        "text = open(sys.argv[1]).read()\n"
        "open('said', 'w').write(f'{found} {os.path.basename(name)} {text}')\n"
        "sys.exit(7)"
    )
    words = [sys.executable, "-S", "-c", script]
    said = []
    ours = prefix(sw, sw.user)
    for before, file in (
        ([], str(sw.source / "file")),
        ([*ours[:-1], *options, "--"], f"{sw.root}/file"),
    ):
        ran = start([*before, *words, file], sw.user, lambda: close(*closed), cwd=work)
        assert ran[0] == 7, ran
        said.append((work / "said").read_text())
        assert (work / "found").stat().st_size == 0
        for name in ("said", "found"):
            (work / name).unlink()
    assert said[0] == said[1]


def test_high_and_odd_descriptors_arrive(sw: World) -> None:
    reader, writer = os.pipe()
    script = "for n in 3 4 7 9 10 200; do echo $n >&$n; done; ls /proc/self/fd | tr '\\n' ' '"

    def prepare() -> None:
        for number in (3, 4, 7, 9, 10, 200):
            os.dup2(writer, number)

    said = []
    for before in ([], prefix(sw, sw.user)):
        ran = start([*before, "bash", "-c", script], sw.user, prepare, close_fds=False)
        said.append((ran, os.read(reader, 4096)))
    os.close(reader)
    os.close(writer)
    assert said[0] == said[1]
    assert said[0][1] == b"3\n4\n7\n9\n10\n200\n"


def test_readers_see_the_end_when_the_command_closes(sw: World) -> None:
    """None of pyparrot's own processes keeps open what is the command's but standard error."""
    reader, writer = os.pipe()
    script = f"exec >&- {writer}>&-; read word"
    words = [*prefix(sw, sw.user), "bash", "-c", script]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[writer],
        cwd="/",
        **sw.user.options(),
    ) as process:
        os.close(writer)
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert os.read(reader, 1) == b""
        assert process.poll() is None
        process.communicate(b"word\n", timeout=LIMIT)
        assert process.returncode == 0
    os.close(reader)


# The environment

ODD = [
    b"PYTHONHOME=/nonexistent",
    b"PYTHONPATH=/nonexistent",
    b"PYTHONWARNINGS=error",
    b"PYTHONSTARTUP=/nonexistent",
    b"PYTHONINSPECT=1",
    b"LD_LIBRARY_PATH=/nonexistent",
    b"LD_BIND_NOW=1",
    b"MALLOC_PERTURB_=7",
    b"GLIBC_TUNABLES=glibc.malloc.check=0",
    b"PYPARROT_ASIDE_X=1",
    b"not.an-identifier=1",
    b"EMPTY=",
    b"TWICE=1",
    b"TWICE=2",
    b"BYTES=\xff\xfe\n",
    b"=nothing",
    b"no equals sign",
    b"A=a=b",
    b"PATH=/usr/bin:/bin",
]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("locale", [[], [b"LC_ALL=C"], [b"LANG=C.UTF-8"]], ids=str)
def test_the_environment_is_byte_for_byte_the_same(
    sw: World, order: int, locale: list[bytes]
) -> None:
    given = [*ODD, *locale][::order]
    source = (
        "import sys; from pyparrot.core import ffi, lib\n"
        "words = [ffi.new('char[]', word.encode()) for word in sys.argv[1:]]\n"
        f"given = [ffi.new('char[]', word) for word in {given!r}]\n"
        "lib.pp_execute(words[0], ffi.new('char *[]', [*words, ffi.NULL]),"
        " ffi.new('char *[]', [*given, ffi.NULL]))"
    )
    said = []
    for before in ([], prefix(sw, sw.user)):
        words = [*before, "/bin/cat", "/proc/self/environ"]
        said.append(start([sys.executable, "-c", source, *words], sw.user, lambda: None))
    native, ours = said
    assert native[0] == 0
    assert native[1].count("\0") == len(given)
    mark = re.compile("PYPARROT_RUN=[0-9F][^\0]*\0")
    assert mark.search(ours[1]), "the one variable that is added"
    assert (ours[0], mark.sub("", ours[1]), ours[2]) == native


@pytest.mark.parametrize("name", ["PYTHONHOME", "PYTHONPATH", "LD_PRELOAD", "sitecustomize"])
def test_another_pythons_environment_does_not_disturb(sw: World, name: str) -> None:
    work = sw.work()
    (work / "json.py").write_text("raise SystemExit('the wrong module')\n")
    (work / "argparse.py").write_text("raise SystemExit('the wrong module')\n")
    (work / "sitecustomize.py").write_text("raise SystemExit('the wrong module')\n")
    value = {"PYTHONHOME": "/nonexistent", "LD_PRELOAD": "/nonexistent.so"}.get(name, str(work))
    variable = "PYTHONPATH" if name == "sitecustomize" else name
    ran = start(
        [*prefix(sw, sw.user), "sh", "-c", f"echo ${variable}"],
        sw.user,
        lambda: None,
        env={"PATH": "/usr/bin:/bin", variable: value},
        cwd=work,
    )
    # What ld.so says of the library it says for the command.
    assert (ran[0], ran[1]) == (0, f"{value}\n")
    assert "pyparrot" not in ran[2]


# Places and users


@pytest.mark.parametrize("kind", ["gone", "unreadable"])
def test_the_working_directory(sw: World, kind: str) -> None:
    def prepare() -> None:
        place = Path(tempfile.mkdtemp(dir=sw.home / "user"))
        os.chdir(place)
        place.chmod(0o300 if kind == "unreadable" else 0o700)
        if kind == "gone":
            place.rmdir()

    words = ["sh", "-c", "ls; echo $?; /bin/pwd -P | sed 's|/[^/]*$||'; cat @@/file; exit 5"]
    native, ours = (
        start([*before, *(word.replace("@@", tree) for word in words)], sw.user, prepare, cwd=None)
        for before, tree in (([], str(sw.source)), (prefix(sw, sw.user), sw.root))
    )
    assert native[0] == 5
    assert ours[0] == 5
    assert ours[1] == native[1]


@pytest.mark.parametrize("home", [None, "", "~", "relative", "/nonexistent", "/"])
def test_no_home(sw: World, home: str | None) -> None:
    """It finds a place or says in one line what to do, and leaves nothing in odd places."""
    if os.geteuid() != 0 or runs.shim == "off":
        pytest.skip("takes root, and the shim makes no difference")
    nobody_knows = User(54321, 54321)
    work = sw.work()
    work.chmod(0o777)
    environment = {"PATH": "/usr/bin:/bin"} if home is None else {"HOME": home}
    words = [str(COMMAND), "run", "--server", sw.url, "--key", str(sw.key), "--"]
    ran = start([*words, "/bin/true"], nobody_knows, lambda: None, cwd=work, env=environment)
    assert ran[0] == 125
    assert re.fullmatch(r"pyparrot: [^\n]*--cache[^\n]*\n", ran[2]), ran[2]
    assert os.listdir(work) == []


# Limits that can't be raised


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        (resource.RLIMIT_AS, 8 << 20),
        (resource.RLIMIT_AS, 200_000 << 10),
        (resource.RLIMIT_AS, 400_000 << 10),
        (resource.RLIMIT_DATA, 3 << 20),
        (resource.RLIMIT_DATA, 5 << 20),
        (resource.RLIMIT_DATA, 16 << 20),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_FSIZE, 1000),
        (resource.RLIMIT_NOFILE, 8),
        (resource.RLIMIT_NOFILE, 12),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_NPROC, 1),
        (resource.RLIMIT_STACK, 256 << 10),
    ],
)
@pytest.mark.parametrize("cache", ["warm", "cold"])
def test_a_hard_limit_breaks_nothing_or_is_said(
    sw: World, limit: int, value: int, cache: str
) -> None:
    words = prefix(sw, sw.user)
    if cache == "cold":
        place = sw.work()
        words[words.index("--cache") + 1] = str(place / "cache")
    else:
        start([*words, "cat", f"{sw.root}/file"], sw.user, lambda: None)
    ran = start(
        [*words, "cat", f"{sw.root}/file"],
        sw.user,
        lambda: resource.setrlimit(limit, (value, value)),
    )
    assert "Traceback" not in ran[2]
    if ran[0] == 0:
        assert (ran[1], ran[2]) == ("content\n", "")
    else:
        ours = [line for line in ran[2].splitlines() if line.startswith("pyparrot: ")]
        assert len(ours) == 1, ran
        assert ran[0] == 125 or "Input/output error" in ran[2] or "Cannot allocate" in ran[2], ran


# What is written is written before it returns


def test_a_cache_can_be_removed_at_once(sw: World) -> None:
    place = sw.work()
    words = prefix(sw, sw.user)
    words[words.index("--cache") + 1] = str(place / "cache")
    for _ in range(4):
        assert start([*words, "cat", f"{sw.root}/file"], sw.user, lambda: None)[0] == 0
        shutil.rmtree(place / "cache")
        assert os.listdir(place) == []
    assert processes_with(str(place)) == {}

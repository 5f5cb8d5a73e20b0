"""Run commands as an ordinary user does: on a repository under ``pyparrot run``, and natively on
the directory that it was made from.

In the words of a command, and in what it says, ``@@`` stands for the tree: the same command for
both, and outputs that can be compared.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

from support.servers import NGINX, Site, served_by_nginx, served_by_pyparrot

EVERYTHING = os.environ.get("PYPARROT_TESTS") == "all"
"""Whether what takes long is wanted, too."""

TREE = "@@"
LIMIT = 300.0
MEASURING = ("COVERAGE_PROCESS_CONFIG", "GCOV_ERROR_FILE")
PYPARROT = (sys.executable, "-m", "pyparrot")

SHIMS = ("auto", "off")
shim = "auto"
"""With which of them runs are started; the fixture of the same name tries all."""


class Outcome(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


def assert_same(run: Outcome, native: Outcome) -> None:
    """Both outcomes have to be equal, line by line."""
    before, after = (
        [str(outcome.status), *outcome.out.splitlines(), "errors:", *outcome.err.splitlines()]
        for outcome in (native, run)
    )
    lines = difflib.unified_diff(before, after, "native", "run", n=1, lineterm="")
    difference = "\n".join(lines)
    assert not difference, difference


class User(NamedTuple):
    """Whom commands run as: without rights, even if we have them."""

    uid: int
    gid: int

    def owns(self, path: Path) -> Path:
        """Make a new directory of this user's."""
        path.mkdir(parents=True)
        os.chown(path, self.uid, self.gid)
        return path

    def options(self) -> dict[str, Any]:
        """What `subprocess` needs to become this user."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def ordinary_user() -> User:
    """Ourselves; if we are root, somebody without rights, provided that he can run what we run."""
    ourselves = User(os.geteuid(), os.getegid())
    if ourselves.uid != 0:
        return ourselves
    entry = pwd.getpwnam("nobody")
    nobody = User(entry.pw_uid, entry.pw_gid)
    return nobody if _can_run(nobody) else ourselves


@functools.cache
def _can_run(user: User) -> bool:
    """Whether Python and pyparrot do not lie where this user may not look."""
    try:
        command = [sys.executable, "-c", "import pyparrot"]
        subprocess.run(command, cwd="/", stderr=subprocess.DEVNULL, check=True, **user.options())
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


class World(NamedTuple):
    """A repository *fqrn* that is served at *url*, and its *source*; all is below *home*."""

    home: Path
    source: Path
    fqrn: str
    url: str
    user: User

    @property
    def root(self) -> str:
        """Where the repository is seen."""
        return f"/cvmfs/{self.fqrn}"

    @property
    def key(self) -> Path:
        """The repository's public key."""
        return self.home / "keys" / f"{self.fqrn}.pub"

    def work(self) -> Path:
        """A new directory of the user's."""
        path = Path(tempfile.mkdtemp(dir=self.home / "user"))
        os.chown(path, self.user.uid, self.user.gid)
        return path

    def prefix(self, *options: str, cache: Path | None = None) -> list[str]:
        """The words before a command that is to run under pyparrot."""
        words = [*PYPARROT, "run", "--shim", shim, "--server", self.url, "--key", str(self.key)]
        return [*words, "--cache", str(cache or self.home / "user" / "cache"), *options, "--"]

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """A plain environment, with what the test wants beside."""
        home = self.home / "user"
        plain = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "TERM": "dumb",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        # Where coverage is measured, in processes of pyparrot's, too (tools/coverage).
        measured = {name: value for name, value in os.environ.items() if name in MEASURING}
        return {**plain, **measured, **(more or {})}

    def native(self, *words: str, **more: Any) -> Outcome:
        """Run a command on the source."""
        return self._run((), words, str(self.source), **more)

    def run(self, *words: str, options: Sequence[str] = (), **more: Any) -> Outcome:
        """Run a command on the repository."""
        return self._run(self.prefix(*options), words, self.root, **more)

    def both(self, *words: str, **more: Any) -> tuple[Outcome, Outcome]:
        """Run a command natively and under pyparrot."""
        return self.native(*words, **more), self.run(*words, **more)

    def _run(
        self,
        prefix: Sequence[str],
        words: Sequence[str],
        tree: str,
        cwd: str | None = None,
        environment: Mapping[str, str] | None = None,
        limit: float = LIMIT,
    ) -> Outcome:
        """*cwd* is the command's; a directory of the tree is entered by it."""
        work = self.work()
        command = [word.replace(TREE, tree) for word in words]
        if cwd is not None:
            command = ["env", "-C", cwd.replace(TREE, tree), *command]
        variables = {n: v.replace(TREE, tree) for n, v in (environment or {}).items()}
        with started(
            [*prefix, *command], cwd=work, env=self.environment(variables), **self.user.options()
        ) as process:
            out, err = process.communicate(timeout=limit)

        def shown(text: bytes) -> str:
            text = text.replace(os.fsencode(work), b"WORK").replace(
                os.fsencode(tree), TREE.encode()
            )
            return text.decode("utf-8", "backslashreplace")

        return Outcome(process.returncode, shown(out), shown(err))


@contextlib.contextmanager
def started(
    words: Sequence[str], stdin: int = subprocess.DEVNULL, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own, of which nothing is left at the end of the ``with``."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        words, stdin=stdin, stdout=pipe, stderr=pipe, start_new_session=True, **options
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        process.wait()


@contextlib.contextmanager
def world(
    fqrn: str,
    fill: Callable[[Path], None],
    serve: Callable[[Path], contextlib.AbstractContextManager[Site]] | None = None,
    *settings: str,
) -> Iterator[World]:
    """Publish what *fill* puts into a directory, and serve it until the end of the ``with``.

    *settings* are options of ``publish init``. At the end nothing may be left running.
    """
    user = ordinary_user()
    # Not pytest's directory, which others may not enter.
    home = Path(tempfile.mkdtemp(prefix="pyparrot-world-"))
    home.chmod(0o755)
    try:
        for name in ("user", "user/tmp", "user/config", "tree"):
            user.owns(home / name)
        fill(home / "tree")
        _give(home / "tree", user)
        _publish(home, fqrn, settings)
        with (serve or served)(home / "web" / "cvmfs") as site:
            url = f"http://127.0.0.1:{site.port}/cvmfs/@fqrn@"
            yield World(home, home / "tree", fqrn, url, user)
            left = _wait_until_all_ended(str(home))
        assert not left, f"still running: {left}"
    finally:
        shutil.rmtree(home)


def _give(tree: Path, user: User) -> None:
    if os.geteuid() == 0:
        subprocess.run(["chown", "-Rh", f"{user.uid}:{user.gid}", tree], check=True)


def served(directory: Path) -> contextlib.AbstractContextManager[Site]:
    """Serve repositories as well as it can be done here."""
    return served_by_nginx(directory) if os.path.exists(NGINX) else served_by_pyparrot(directory)


def _publish(home: Path, fqrn: str, settings: Sequence[str]) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(home / "config")}
    for words in (
        ("init", fqrn, "--storage", str(home / "web" / "cvmfs"), *settings),
        ("sync", fqrn, str(home / "tree"), "--quiet"),
    ):
        subprocess.run(
            [*PYPARROT, "publish", *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=LIMIT,
        )
    (home / "keys").mkdir()
    shutil.copyfile(
        home / "config" / "pyparrot" / "keys" / f"{fqrn}.pub", home / "keys" / f"{fqrn}.pub"
    )


def processes_with(text: str) -> dict[int, str]:
    """Processes whose command lines have *text*; those of a run have that of the run."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{entry.name}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode("utf-8", "replace")
                if text in line:
                    found[int(entry.name)] = line
    return found


def _wait_until_all_ended(home: str, seconds: float = 20.0) -> dict[int, str]:
    deadline = time.monotonic() + seconds
    while True:
        # The server that runs from the same directory is no part of a run.
        left = {n: line for n, line in processes_with(home).items() if "nginx" not in line}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)

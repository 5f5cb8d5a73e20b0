"""``pyparrot publish`` with bad input: one clear line, exit code 125, the last revision intact."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from support.runs import ordinary_user

from pyparrot.cli import main
from pyparrot.publish import keys, signed_files
from pyparrot.publish.repository import StoredRepository
from pyparrot.sources.cvmfs import signature
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.hashes import Algorithm, Kind

# What Python prints of errors in finalizers would be more than one line.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

FQRN = "sw.example.org"
OTHER = "other.example.org"
FAILURE = 125
NOT_EMPTY = b"0123456789abcdef" * 200
LARGE = 5 << 19  # above the 1 MB from which files are cut, below two of the largest chunks


class Result(NamedTuple):
    status: int
    out: str
    err: str


class Site:
    """A home for repositories: configuration, storage and a source directory below *base*."""

    def __init__(self, base: Path, user: int | None = None) -> None:
        self.base = base
        self.config = base / "config" / "pyparrot"
        self.storage = base / "storage"
        self.root = self.storage / FQRN
        self.source = base / "source"
        self._user = user
        self._originals: dict[Path, bytes | None] = {}

    @property
    def environment(self) -> dict[str, str]:
        scratch = self.base / "scratch"
        return {**os.environ, "XDG_CONFIG_HOME": str(self.base / "config"), "TMPDIR": str(scratch)}

    @property
    def manifest(self) -> bytes:
        return (self.root / ".cvmfspublished").read_bytes()

    def key(self, extension: str, fqrn: str = FQRN) -> Path:
        return self.config / "keys" / f"{fqrn}.{extension}"

    @property
    def settings(self) -> Path:
        return self.config / "repositories.d" / FQRN / "server.conf"

    def call(self, *words: str | bytes | Path) -> Result:
        """Run the command line in this process; a traceback would be the test's own."""
        arguments = ["publish", *(os.fsdecode(word) for word in words)]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(arguments)
        return Result(status, out.getvalue(), err.getvalue())

    def run(self, *words: str | bytes | Path, **options: Any) -> Result:
        """Run the command line as a process of its own."""
        arguments = [sys.executable, "-m", "pyparrot", "publish", *map(os.fsdecode, words)]
        if self._user is not None:
            options.update(user=self._user, group=self._user, extra_groups=[])
        environment = {**self.environment, **options.pop("environment", {})}
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        done = subprocess.run(
            arguments,
            env=environment,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            cwd=self.base,
            **options,
        )
        out = (done.stdout or b"").decode("utf-8", "surrogateescape")
        return Result(done.returncode, out, done.stderr.decode("utf-8", "surrogateescape"))

    def good(self, *words: str | bytes | Path) -> str:
        """What a command prints that has to succeed."""
        result = self.call(*words)
        assert result.status == 0, result
        return result.out

    def bad(self, *words: str | bytes | Path, why: str) -> str:
        """The one line of a command that has to fail."""
        result = self.call(*words)
        assert_one_line(result, why)
        return result.err

    def check(self, fqrn: str = FQRN) -> None:
        result = self.call("check", fqrn)
        assert (result.status, result.err) == (0, ""), result
        assert result.out.endswith(": 0 faults\n")
        assert result.out.count("\n") == 1, result.out

    @contextlib.contextmanager
    def unharmed(self) -> Iterator[None]:
        """Afterwards the last revision is as it was, and the next one can be published."""
        before = self.manifest
        yield
        assert self.manifest == before
        self.check()
        self.publish_something()

    def publish_something(self) -> None:
        """Have a next run succeed, from a source of its own."""
        name = f"next.{time.monotonic_ns()}"
        source = self.base / name
        source.mkdir()
        (source / name).write_bytes(os.urandom(100))
        assert "1 added" in self.good("sync", FQRN, source)
        self.check()

    def overwrite(self, path: Path, content: bytes | None) -> None:
        """Change a file (None removes it) until `restore`."""
        if path not in self._originals:
            self._originals[path] = path.read_bytes() if path.exists() else None
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)

    def restore(self) -> None:
        for path, content in self._originals.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
        self._originals = {}

    @contextlib.contextmanager
    def catalog(self) -> Iterator[Catalog]:
        """The root catalog of the current revision."""
        repository = StoredRepository.open(FQRN)
        with repository.open_catalog(repository.manifest.catalog) as opened:
            yield opened

    def object(self, name: Any, kind: Kind) -> Path:
        return Path(self.root, name.path(kind))


def assert_one_line(result: Result, why: str, status: int = FAILURE) -> None:
    assert result.status == status, result
    assert re.fullmatch(r"pyparrot: [^\n]+: [^\n]+\n", result.err), result.err
    assert result.err[:-1].isprintable(), result.err
    assert re.search(why, result.err), result.err


def fill_source(source: Path) -> None:
    """A little of everything that a repository stores in its own way."""
    (source / "nested" / "deep").mkdir(parents=True)
    (source / "nested" / ".cvmfscatalog").touch()
    (source / "nested" / "deep" / "file").write_bytes(b"in a nested catalog")
    (source / "small").write_bytes(NOT_EMPTY)
    (source / "empty").touch()
    (source / "large").write_bytes(os.urandom(LARGE))
    (source / "link").symlink_to("small")
    os.link(source / "small", source / "small-too")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with three revisions, of which one is tagged."""
    site = Site(tmp_path_factory.mktemp("template"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(site.base / "config"))
        site.good("init", FQRN, "--storage", site.storage, "--chunk-size", "1:1:2")
        site.source.mkdir()
        fill_source(site.source)
        site.good("sync", FQRN, site.source, "--tag", "v1")
        (site.source / "later").write_bytes(b"the third revision")
        site.good("sync", FQRN, site.source)
    return site.base


def open_copy(template: Path, base: Path, patch: pytest.MonkeyPatch) -> Site:
    """A site with the template's repository, and this process set up to work on it."""
    for name in ("config", "storage", "source"):
        shutil.copytree(template / name, base / name, symlinks=True)
    (base / "scratch").mkdir()
    site = Site(base)
    text = site.settings.read_text().replace(str(template), str(base))
    site.settings.write_text(text)
    patch.setenv("XDG_CONFIG_HOME", str(base / "config"))
    # tempfile remembers the directory that it once chose.
    patch.setattr(tempfile, "tempdir", str(base / "scratch"))
    return site


@pytest.fixture
def site(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return open_copy(template, tmp_path, monkeypatch)


@pytest.fixture
def vacant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site without any repository."""
    for name in ("storage", "source", "scratch"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return Site(tmp_path)


@pytest.fixture
def ordinary() -> Iterator[Site]:
    """A site whose commands run as a user who can't read everything; nothing is published yet."""
    user = None
    if os.geteuid() == 0:
        user = ordinary_user().uid
        if user == 0:
            pytest.skip("an ordinary user can't run this Python with pyparrot")
    # Not below tmp_path, which only its owner can enter.
    base = Path(tempfile.mkdtemp(prefix="pyparrot-test-"))
    try:
        base.chmod(0o755)
        site = Site(base, user)
        for directory in (base, site.source, site.storage, base / "scratch", base / "config"):
            directory.mkdir(exist_ok=True)
            if user is not None:
                os.chown(directory, user, user)
        yield site
    finally:
        shutil.rmtree(base)


def make_deep(directory: Path, name: str, levels: int) -> None:
    """Directories within directories, deeper than a path can be if need be."""
    here = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def supports_xattrs(directory: Path) -> bool:
    file = directory / "xattr-probe"
    file.touch()
    try:
        os.setxattr(file, "user.probe", b"1")
    except OSError:
        return False
    finally:
        file.unlink()
    return True


# Sources that can't be read


def test_source_missing(site: Site) -> None:
    with site.unharmed():
        site.bad("sync", FQRN, site.base / "no such", why="no such: .*No such file")


def test_source_is_a_file(site: Site) -> None:
    with site.unharmed():
        site.bad("sync", FQRN, site.source / "small", why="small: .*Not a directory")


def test_source_contains_the_storage(site: Site) -> None:
    alias = site.base / "alias"
    alias.symlink_to(site.base)
    with site.unharmed():
        site.bad("sync", FQRN, site.base, why="the repository's own storage lies in it")
        site.bad("sync", FQRN, site.root, why="the repository's own storage lies in it")
        site.bad("sync", FQRN, alias, why="the repository's own storage lies in it")
        site.bad("sync", FQRN, "/", why="the repository's own storage lies in it")


def test_source_contains_the_keys(site: Site) -> None:
    alias = site.base / "alias"
    alias.symlink_to(site.config)
    with site.unharmed():
        for source in (site.config, site.config / "keys", alias):
            site.bad("sync", FQRN, source, why="the directory of your secret keys lies in it")


def test_source_contains_itself(site: Site) -> None:
    """A bind mount of a directory into itself: without care a walk would never end."""
    inside = site.source / "nested" / "loop"
    inside.mkdir()
    command = ["mount", "--bind", str(site.source), str(inside)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("bind mounts are not permitted here")
    try:
        with site.unharmed():
            site.bad("sync", FQRN, site.source, why="loop: a loop: this directory contains itself")
    finally:
        subprocess.run(["umount", str(inside)], check=True)


@pytest.mark.parametrize(
    ("name", "mode"), [("secret", 0), ("closed/", 0), ("closed/", 0o400), (".cvmfsdirtab", 0)]
)
def test_unreadable(ordinary: Site, name: str, mode: int) -> None:
    assert ordinary.run("init", FQRN, "--storage", ordinary.storage).status == 0
    (ordinary.source / "file").write_bytes(b"fine")
    assert ordinary.run("sync", FQRN, ordinary.source).status == 0
    before = ordinary.manifest
    target = ordinary.source / name.rstrip("/")
    if name.endswith("/"):
        target.mkdir()
        (target / "inside").write_bytes(b"never seen")
    else:
        target.write_bytes(b"never seen")
    target.chmod(mode)
    result = ordinary.run("sync", FQRN, ordinary.source)
    target.chmod(0o755)
    assert_one_line(result, rf"{target.name}\S*: cannot be read: Permission denied \(make it")
    assert ordinary.manifest == before
    assert ordinary.run("check", FQRN).status == 0
    assert ordinary.run("sync", FQRN, ordinary.source).status == 0


def test_unreadable_archive_and_configuration(ordinary: Site) -> None:
    assert ordinary.run("init", FQRN, "--storage", ordinary.storage).status == 0
    archive = ordinary.base / "a.tar"
    archive.touch(mode=0)
    result = ordinary.run("ingest", FQRN, archive)
    assert_one_line(result, "a.tar: Permission denied")
    for file in (ordinary.key("key"), ordinary.settings):
        file.chmod(0)
        result = ordinary.run("sync", FQRN, ordinary.source)
        assert_one_line(result, f"{file.name}: Permission denied")
        file.chmod(0o600)
    (ordinary.root / "data" / "txn").chmod(0o500)
    result = ordinary.run("sync", FQRN, ordinary.source)
    assert_one_line(result, "Permission denied")
    (ordinary.root / "data" / "txn").chmod(0o755)
    assert ordinary.run("sync", FQRN, ordinary.source).status == 0


# Sources that change while they are read


def _grow(victim: Path) -> None:
    with open(victim, "ab") as stream:
        stream.write(b"more")


def _shrink(victim: Path) -> None:
    os.truncate(victim, 10)


def _vanish(victim: Path) -> None:
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()


def _become_fifo(victim: Path) -> None:
    victim.unlink()
    os.mkfifo(victim)


def _become_socket(victim: Path) -> None:
    victim.unlink()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        # The address of a socket has room for 107 bytes; a pytest directory may need more.
        directory = os.open(victim.parent, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{directory}/{victim.name}")
        os.close(directory)


def _become_directory(victim: Path) -> None:
    victim.unlink()
    victim.mkdir()


def _become_link(victim: Path) -> None:
    victim.unlink()
    victim.symlink_to("/etc/passwd")


def _become_file(victim: Path) -> None:
    shutil.rmtree(victim)
    victim.touch()


def _become_another(victim: Path) -> None:
    other = victim.with_name("another")
    other.write_bytes(os.urandom(victim.stat().st_size))
    other.rename(victim)


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize(
    "change",
    [
        _grow,
        _shrink,
        _vanish,
        _become_fifo,
        _become_socket,
        _become_directory,
        _become_link,
        _become_another,
    ],
)
@pytest.mark.timeout(30)  # opening a pipe without care would wait for ever
def test_file_changes_after_it_was_seen(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], name: str
) -> None:
    fresh = site.base / "fresh"
    fresh.mkdir()
    victim = fresh / name
    victim.write_bytes(os.urandom(100 if name == "small" else LARGE))
    look = os.lstat

    def look_and_change(path: Any, **options: Any) -> os.stat_result:
        status = look(path, **options)
        if os.fsencode(path) == os.fsencode(victim):
            monkeypatch.setattr(os, "lstat", look)
            change(victim)
        return status

    with site.unharmed():
        monkeypatch.setattr(os, "lstat", look_and_change)
        site.bad("sync", FQRN, fresh, why=rf"{name}: (changed while it was read|cannot be read)")
        assert os.lstat is look
        if os.path.lexists(victim):
            _vanish(victim)


@pytest.mark.parametrize("change", [_vanish, _become_file])
def test_directory_changes_after_it_was_seen(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    victim = site.source / "nested"
    look = os.lstat

    def look_and_change(path: Any, **options: Any) -> os.stat_result:
        status = look(path, **options)
        if os.fsencode(path) == os.fsencode(victim):
            monkeypatch.setattr(os, "lstat", look)
            change(victim)
        return status

    with site.unharmed():
        monkeypatch.setattr(os, "lstat", look_and_change)
        site.bad("sync", FQRN, site.source, why="nested: (changed while|cannot be read: Not a dir)")


def test_source_vanishes_after_its_first_look(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir
    gone = site.base / "gone"
    site.source.rename(gone)

    def vanish(path: Any) -> Any:
        if os.fsencode(path).startswith(os.fsencode(gone)):
            monkeypatch.setattr(os, "scandir", scan)
            shutil.rmtree(gone)
        return scan(path)

    with site.unharmed():
        monkeypatch.setattr(os, "scandir", vanish)
        site.bad("sync", FQRN, gone, why="gone: changed while it was read")


def test_file_is_written_all_the_time(site: Site) -> None:
    """A log file that some program writes."""
    log = site.source / "log"
    log.write_bytes(os.urandom(16 << 20))
    at_rest = threading.Event()

    def write() -> None:
        with open(log, "ab", buffering=0) as stream:
            while not at_rest.wait(0.001):
                stream.write(b"one more line\n")

    writer = threading.Thread(target=write)
    with site.unharmed():
        writer.start()
        try:
            site.bad("sync", FQRN, site.source, why="log: changed while it was read")
        finally:
            at_rest.set()
            writer.join()
    site.good("sync", FQRN, site.source)
    site.check()


def test_file_that_grows_as_fast_as_it_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading ends, though the file's end is never reached."""
    site.settings.write_text(site.settings.read_text() + "CVMFS_USE_FILE_CHUNKING=false\n")
    monkeypatch.setattr("pyparrot.publish.content.WHOLE_LIMIT", 1 << 20)
    log = site.source / "log"
    log.write_bytes(bytes(2 << 20))
    read = os.read
    limit = 64 << 20

    def read_and_grow(descriptor: int, size: int) -> bytes:
        content = read(descriptor, size)
        end = log.stat().st_size
        if content and end < limit and os.path.samestat(os.fstat(descriptor), log.stat()):
            os.truncate(log, end + len(content))
        return content

    with site.unharmed():
        monkeypatch.setattr(os, "read", read_and_grow)
        site.bad("sync", FQRN, site.source, why="log: changed while it was read")
        assert log.stat().st_size < limit
        monkeypatch.setattr(os, "read", read)


# Sources that are odd, and fine


def _sockets_and_pipes(source: Path) -> None:
    os.mkfifo(source / "pipe")
    (source / "server").touch()
    _become_socket(source / "server")


def _loops(source: Path) -> None:
    (source / "itself").symlink_to("itself")
    (source / "above").symlink_to("..")
    (source / "round").symlink_to("nested/round")
    (source / "nested" / "round").symlink_to("../round")


def _names(source: Path) -> None:
    for name in (
        b"n" * 255,
        b"\xff" * 255,
        b"bell\x07 and\nnew line\x1b[31m",
        "\u202e\u2028ünïcode".encode(),
        b" ",
        b"-rf",
        b"back\\slash",
        b"'\"$(touch x)%20#?*",
        b"\x01",
    ):
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(name)
        Path(os.fsdecode(os.fsencode(source) + b"/nested/" + name[:250] + b".d")).mkdir()


def _deep(source: Path) -> None:
    """As deep as a path can be given to the system."""
    room = os.pathconf(source, "PC_PATH_MAX") - 1 - len(os.fsencode(source))
    make_deep(source, "d" * 39, room // 40)
    assert Path(str(source) + f"/{'d' * 39}" * (room // 40)).is_dir()


@pytest.mark.parametrize("fill", [_sockets_and_pipes, _loops, _names, _deep])
def test_odd_sources_are_published(site: Site, fill: Callable[[Path], None]) -> None:
    fill(site.source)
    printed = site.good("sync", FQRN, site.source, "--dry-run")
    assert all(line.isprintable() for line in printed.splitlines())
    site.good("sync", FQRN, site.source)
    site.check()
    assert "nothing has changed" in site.good("sync", FQRN, site.source)
    shutil.rmtree(site.source)
    fill_source(site.source)
    assert "removed" in site.good("sync", FQRN, site.source, "--dry-run")
    site.good("sync", FQRN, site.source)
    site.check()


def test_deeper_than_python_recurses(site: Site) -> None:
    deep = site.base / "deep"
    deep.mkdir()
    make_deep(deep, "d", 1200)
    site.good("sync", FQRN, deep)
    site.check()
    subprocess.run(["rm", "-rf", str(deep)], check=True)  # rmtree recurses
    with site.unharmed():
        assert "removed /d/d" in site.good("sync", FQRN, site.source, "--dry-run")


def test_deeper_than_a_path_can_be(site: Site) -> None:
    """A tree made step by step, whose end can't be given to the system."""
    make_deep(site.source, "d" * 250, 20)
    with site.unharmed():
        site.bad("sync", FQRN, site.source, why="dd: cannot be read: File name too long")
    subprocess.run(["rm", "-rf", str(site.source)], check=True)


@pytest.mark.timeout(10)
def test_catalogs_nested_deeply(site: Site) -> None:
    """More than are kept open at once, each in the one before."""
    path = site.source
    for _ in range(40):
        path = path / "d"
        path.mkdir()
        (path / ".cvmfscatalog").touch()
    site.good("sync", FQRN, site.source)
    site.check()
    (path / "file").touch()
    site.good("sync", FQRN, site.source)
    site.check()


def test_more_catalogs_than_files_can_be_open(site: Site) -> None:
    for number in range(300):
        directory = site.source / f"{number}"
        directory.mkdir()
        (directory / ".cvmfscatalog").touch()
        (directory / "file").write_text(str(number))
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128));"
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code} import sys; from pyparrot.cli import main; sys.exit(main())",
            *("publish", "sync", FQRN, str(site.source)),
        ],
        env=site.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    site.check()


def test_long_attributes_are_left_out(site: Site) -> None:
    if not supports_xattrs(site.base):
        pytest.skip("no extended attributes in the test's directory")
    file = site.source / "bell\x07"
    file.touch()
    os.setxattr(file, "user.fits", b"v" * 255)
    os.setxattr(file, "user.long", b"v" * 256)
    os.setxattr(file, "user." + "n" * 240, b"")
    result = site.call("sync", FQRN, site.source)
    assert result.status == 0
    assert re.fullmatch(
        r"pyparrot: warning: \S+/bell\\x07: attribute user.long is left out: [^\n]+ 255 bytes\n",
        result.err,
    )
    site.check()
    with site.catalog() as catalog:
        entry = catalog.lookup(b"/bell\x07")
    assert entry is not None
    assert entry.xattr is not None
    assert b"user.fits" in entry.xattr
    assert b"user.long" not in entry.xattr


@pytest.mark.parametrize("storage", ["a b", "a#b", "a?b", "a%41b", "ä\udcff", "'\"$x", "tab\t"])
def test_storage_with_an_odd_name(vacant: Site, storage: str) -> None:
    fill_source(vacant.source)
    vacant.good("init", FQRN, "--storage", vacant.base / storage)
    vacant.good("sync", FQRN, vacant.source)
    vacant.good("tag", "add", FQRN, "v1")
    vacant.check()
    assert "kept" in vacant.good("gc", FQRN, "--keep-days", "0")
    vacant.check()


@pytest.mark.parametrize("storage", ["a,b", "a\nb", "a\rb"])
def test_storage_with_an_impossible_name(vacant: Site, storage: str) -> None:
    vacant.bad("init", FQRN, "--storage", vacant.base / storage, why="storage path can't hold")
    assert not vacant.settings.exists()
    assert not vacant.key("key").exists()


@pytest.mark.parametrize("scratch", ["a b", "a#b", "a?b", "a%41b"])
def test_scratch_directory_with_an_odd_name(
    site: Site, monkeypatch: pytest.MonkeyPatch, scratch: str
) -> None:
    (site.base / scratch).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(site.base / scratch))
    site.publish_something()
    site.good("tag", "list", FQRN)


# Keys, certificates and signatures


@pytest.fixture(scope="session")
def other_keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The key files of another repository."""
    base = tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(base))
        files = keys.create(FQRN, 3650, None)
    return {Path(file).suffix[1:]: content for file, content, _ in files}


def _encrypted(pem: bytes) -> bytes:
    return signature.load_private_key(pem).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def _elliptic_certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    valid = signature.new_certificate(signature.new_private_key(), FQRN, signed_files._now(), 10)
    builder = x509.CertificateBuilder(
        valid.issuer,
        valid.subject,
        key.public_key(),
        valid.serial_number,
        valid.not_valid_before_utc,
        valid.not_valid_after_utc,
    )
    return signature.certificate_pem(builder.sign(key, hashes.SHA256()))


def _other_kind_of_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


GARBAGE = b"-----BEGIN RSA PRIVATE KEY-----\nnot base64 \xff\n-----END RSA PRIVATE KEY-----\n"
# A key of an elliptic curve that no library knows: a failure of its own kind in `cryptography`.
UNKNOWN_CURVE = (
    b"-----BEGIN PRIVATE KEY-----\n"
    b"MB4CAQAwEwYHKoZIzj0CAQYIKoZIzj0DAX8EBDACAQE=\n-----END PRIVATE KEY-----\n"
)

Keys = dict[str, bytes]


class BadKey(NamedTuple):
    """What stands in the place of a key file, and what is said of it."""

    name: str
    extension: str
    content: Callable[[bytes, Keys], bytes | None]
    why: str


BAD_KEYS = [
    BadKey("key of another", "key", lambda own, other: other["key"], "wrong key: it is not the"),
    BadKey("certificate of another", "crt", lambda own, other: other["crt"], "wrong key"),
    BadKey("public key of another", "pub", lambda own, other: other["pub"], "wrong key"),
    BadKey("no key", "key", lambda own, other: None, r"sw.example.org.key: no such key \(the keys"),
    BadKey("no certificate", "crt", lambda own, other: None, "sw.example.org.crt: no such key"),
    BadKey("no public key", "pub", lambda own, other: None, "sw.example.org.pub: no such key"),
    *(
        BadKey(f"{name} {extension}", extension, lambda own, other, content=content: content, why)  # type: ignore[misc]
        for name, content, why in [
            ("empty", b"", "not a usable key"),
            ("garbage", GARBAGE, "not a usable key"),
            ("random", os.urandom(1000), "not a usable key"),
            ("ed25519", _other_kind_of_key(), "not a usable key"),
            ("unknown curve", UNKNOWN_CURVE, "not a usable key"),
        ]
        for extension in ("key", "crt", "pub")
    ),
    BadKey("truncated", "key", lambda own, other: own[: len(own) // 2], "not a usable key"),
    BadKey("password", "key", lambda own, other: _encrypted(own), "not a usable key.*ncrypted"),
    BadKey("elliptic", "crt", lambda own, other: _elliptic_certificate(), "not a usable key"),
    BadKey("key as certificate", "crt", lambda own, other: other["key"], "not a usable key"),
]


@pytest.mark.parametrize("bad", BAD_KEYS, ids=[bad.name for bad in BAD_KEYS])
def test_bad_keys(site: Site, other_keys: Keys, bad: BadKey) -> None:
    file = site.key(bad.extension)
    with site.unharmed():
        site.overwrite(file, bad.content(file.read_bytes(), other_keys))
        site.bad("sync", FQRN, site.source, why=bad.why)
        site.bad("tag", "add", FQRN, "x", why=bad.why)
        site.restore()


def test_both_keys_of_another(site: Site, other_keys: Keys) -> None:
    with site.unharmed():
        site.overwrite(site.key("key"), other_keys["key"])
        site.overwrite(site.key("crt"), other_keys["crt"])
        why = r"wrong key: the whitelist does not list \S+ certificate \(pyparrot publish resign"
        site.bad("sync", FQRN, site.source, why=why)
        site.bad("gc", FQRN, why=why)
        site.bad("rollback", FQRN, why=why)
        site.restore()


def test_resign_makes_other_keys_good(site: Site, other_keys: Keys) -> None:
    site.key("key").write_bytes(other_keys["key"])
    site.key("crt").write_bytes(other_keys["crt"])
    site.good("resign", FQRN)
    # Clients check the manifest against the certificate that it names: that one must be listed.
    repository = StoredRepository.open(FQRN)
    master = keys.load_public_key(keys.key_file(FQRN, "pub"))
    listed = signed_files.read_whitelist(repository.storage, FQRN, master).fingerprints
    named = repository.manifest.certificate
    assert named is not None
    pem = repository.storage.read(named, Kind.CERTIFICATE)
    der = signature.certificate_der(signature.load_certificate(pem))
    assert Algorithm.SHA1.of(der) in listed
    site.publish_something()


def test_check_knows_what_clients_will_believe(site: Site, other_keys: Keys) -> None:
    """A whitelist that lists the certificate in ``keys/``, but not the manifest's."""
    site.overwrite(site.key("key"), other_keys["key"])
    site.overwrite(site.key("crt"), other_keys["crt"])
    whitelist = signed_files.sign_whitelist(
        FQRN,
        keys.load_signing_keys(FQRN),
        keys.load_master_key(keys.key_file(FQRN, "masterkey")),
        30,
        Algorithm.SHA1,
    )
    site.overwrite(site.root / ".cvmfswhitelist", whitelist)
    result = site.call("check", FQRN)
    assert result.status == 1, result
    assert "whitelist" in result.out


@pytest.mark.parametrize("new", [[], ["--new-certificate"]], ids=["whitelist", "certificate"])
def test_resign_with_another_master_key(site: Site, other_keys: Keys, new: list[str]) -> None:
    """Clients have the old one's public half: they would believe nothing any more."""
    whitelist = (site.root / ".cvmfswhitelist").read_bytes()
    certificate = site.key("crt").read_bytes()
    with site.unharmed():
        site.overwrite(site.key("masterkey"), other_keys["masterkey"])
        site.bad("resign", FQRN, *new, why="wrong key")
        assert (site.root / ".cvmfswhitelist").read_bytes() == whitelist
        assert site.key("crt").read_bytes() == certificate
        site.restore()


def test_resign_without_master_key(site: Site) -> None:
    """It may be kept off the server: all but signing the whitelist works."""
    kept = site.key("masterkey").read_bytes()
    site.key("masterkey").unlink()
    site.publish_something()
    with site.unharmed():
        site.bad("resign", FQRN, why=r"sw.example.org.masterkey: no such key")
    site.key("masterkey").write_bytes(kept)
    site.good("resign", FQRN)


def _whitelist(
    site: Site, fqrn: str = FQRN, days: int = 30, extension: str = "crt", master: Keys | None = None
) -> bytes:
    pem = master["masterkey"] if master else site.key("masterkey").read_bytes()
    signing = keys.load_signing_keys(FQRN)
    key = signature.load_private_key(pem)
    return signed_files.sign_whitelist(fqrn, signing, key, days, Algorithm.SHA1)


BAD_WHITELISTS: dict[str, tuple[Callable[[Site, Keys], bytes | None], str]] = {
    "expired": (
        lambda site, other: _whitelist(site, days=-1),
        r"the whitelist expired on 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(pyparrot publish resign",
    ),
    "wrong master": (
        lambda site, other: _whitelist(site, master=other),
        "whitelist: wrong key",
    ),
    "another's": (
        lambda site, other: _whitelist(site, OTHER),
        f"the whitelist of another repository: {OTHER}",
    ),
    "missing": (lambda site, other: None, "whitelist: the repository lacks this file"),
    "empty": (lambda site, other: b"", "whitelist: corrupt"),
    "cut off": (lambda site, other: _whitelist(site)[:-100], "wrong key"),
    "only text": (lambda site, other: _whitelist(site)[:100], "whitelist: corrupt"),
    "altered": (
        lambda site, other: _whitelist(site).replace(b"\nE2", b"\nE3"),
        "corrupt: its text does not have the hash",
    ),
    "garbage": (lambda site, other: os.urandom(500), "whitelist: corrupt"),
    "manifest": (lambda site, other: site.manifest, "whitelist: corrupt"),
}


@pytest.mark.parametrize("name", BAD_WHITELISTS)
def test_bad_whitelists(site: Site, other_keys: Keys, name: str) -> None:
    make, why = BAD_WHITELISTS[name]
    with site.unharmed():
        site.overwrite(site.root / ".cvmfswhitelist", make(site, other_keys))
        site.bad("sync", FQRN, site.source, why=why)
        result = site.call("check", FQRN)
        assert result.status == 1
        assert re.search(why, result.out)
        # A new signature is the way out of each.
        site.good("resign", FQRN)
        site.check()


def test_expired_certificate(vacant: Site) -> None:
    init = ("init", FQRN, "--storage", vacant.storage)
    vacant.good(*init, "--certificate-days", "0")
    before = vacant.manifest
    why = r"the certificate expired on \S+ \S+ UTC \(pyparrot .* resign \S+ --new-certificate\)"
    vacant.bad("sync", FQRN, vacant.source, why=why)
    assert vacant.manifest == before
    assert vacant.call("check", FQRN).status == 1
    vacant.good("resign", FQRN)
    vacant.bad("sync", FQRN, vacant.source, why=why)
    old = vacant.key("crt").read_bytes()
    vacant.good("resign", FQRN, "--new-certificate")
    vacant.check()
    vacant.publish_something()
    assert vacant.key("crt").read_bytes() != old
    kept = list(vacant.key("crt").parent.glob("*.crt.until-*"))
    assert [file.read_bytes() for file in kept] == [old]
    # Another one within the same second must not lose anything, or say why it can't be.
    assert vacant.call("resign", FQRN, "--new-certificate").status in (0, FAILURE)
    vacant.check()
    vacant.good("info", FQRN)


def test_expired_whitelist(vacant: Site) -> None:
    vacant.good("init", FQRN, "--storage", vacant.storage, "--whitelist-days", "0")
    vacant.bad("sync", FQRN, vacant.source, why=r"the whitelist expired .* \(pyparrot .* resign")
    vacant.good("resign", FQRN, "--days", "1")
    vacant.publish_something()


# Making a repository


def test_init_never_overwrites(site: Site) -> None:
    kept = {path: path.read_bytes() for path in (site.config / "keys").iterdir()}
    with site.unharmed():
        site.bad("init", FQRN, "--storage", site.base / "new", why="exists already")
        assert not (site.base / "new").exists()
        settings = site.settings.read_bytes()
        site.overwrite(site.settings, None)
        site.bad("init", FQRN, "--storage", site.base / "new", why=r"key: exists already \(move it")
        site.bad("init", FQRN, "--storage", site.storage, why="there is a repository already")
        site.restore()
        assert site.settings.read_bytes() == settings
        assert kept == {path: path.read_bytes() for path in (site.config / "keys").iterdir()}


@pytest.mark.parametrize("extension", ["masterkey", "pub", "key", "crt"])
def test_init_beside_a_single_key(vacant: Site, extension: str) -> None:
    file = vacant.key(extension)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"precious")
    init = ("init", FQRN, "--storage", vacant.storage)
    vacant.bad(*init, why=rf"{extension}: exists already \(move it away")
    assert file.read_bytes() == b"precious"
    assert list(file.parent.iterdir()) == [file]
    file.unlink()
    vacant.good(*init)
    vacant.check()


def test_keys_are_private(vacant: Site) -> None:
    previous = os.umask(0)
    try:
        vacant.good("init", FQRN, "--storage", vacant.storage)
        vacant.good("resign", FQRN, "--new-certificate")
    finally:
        os.umask(previous)
    directory = vacant.config / "keys"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in directory.iterdir():
        wanted = 0o644 if file.suffix == ".pub" else 0o600
        assert stat.S_IMODE(file.stat().st_mode) == wanted, file
    writable = [path for path in vacant.root.rglob("*") if path.stat().st_mode & 0o022]
    assert not [path for path in writable if path.is_file()]


def test_init_into_a_file(vacant: Site) -> None:
    (vacant.base / "file").touch()
    vacant.bad("init", FQRN, "--storage", vacant.base / "file", why="file/.*: Not a directory")
    assert_no_repository(vacant)


def test_init_into_what_cannot_be_written(ordinary: Site) -> None:
    ordinary.storage.chmod(0o500)
    if ordinary.run("sync", FQRN, ordinary.source).status == 0:
        raise AssertionError
    result = ordinary.run("init", FQRN, "--storage", ordinary.storage)
    assert_one_line(result, r"storage/sw.example.org: Permission denied")
    assert_no_repository(ordinary)
    ordinary.storage.chmod(0o755)
    assert ordinary.run("init", FQRN, "--storage", ordinary.storage).status == 0
    keys = ordinary.base / "config" / "pyparrot" / "keys"
    keys.chmod(0o500)
    result = ordinary.run("init", OTHER, "--storage", ordinary.storage)
    keys.chmod(0o700)  # or it can't be removed
    assert_one_line(result, r"keys/other.example.org.masterkey: Permission denied")
    assert not (ordinary.storage / OTHER).exists()


@pytest.mark.parametrize("where", ["_fill", "settings.save"])
@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device", "/x"), KeyboardInterrupt()]
)
def test_init_failing_midway(
    vacant: Site, monkeypatch: pytest.MonkeyPatch, where: str, failure: BaseException
) -> None:
    """Nothing is left that would keep the next try from working."""

    def fail(*arguments: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(f"pyparrot.publish.create.{where}", fail)
        result = vacant.call("init", FQRN, "--storage", vacant.storage)
        assert result.status == (130 if isinstance(failure, KeyboardInterrupt) else FAILURE)
    assert_no_repository(vacant)
    vacant.good("init", FQRN, "--storage", vacant.storage)
    vacant.publish_something()


def assert_no_repository(site: Site) -> None:
    left = [path for path in site.config.rglob("*") if path.is_file()]
    assert left == []
    assert not (site.root / ".cvmfspublished").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--chunk-size", "4:8"), "--chunk-size: not MIN:AVG:MAX in MB: 4:8"),
        (("--chunk-size", "8:4:16"), "chunk sizes must grow"),
        (("--chunk-size", "0:0:0"), "chunk sizes must grow"),
        (("--chunk-size", "a:b:c"), "--chunk-size: not MIN"),
        (("--chunk-size", "-1:2:3"), "chunk-size"),
        (("--chunk-size", "1:2:99999"), "chunk sizes must grow"),
        (("--chunk-size", "1:2:999999"), "--chunk-size: not MIN"),
        (("--chunk-size", "²:8:16"), "--chunk-size: not MIN"),
        (("--chunk-size", "4:\n8:16\x1b"), "--chunk-size: not MIN"),
        (("--hash", "md5"), "--hash"),
        (("--compression", "lzma"), "--compression"),
        (("--ttl", "-1"), "ttl"),
        (("--ttl", "1e3"), "not a number: 1e3"),
        (("--ttl", "1234567890"), "not a number: 1234567890"),
        (("--whitelist-days", "999999999"), "."),
        (("--certificate-days", "999999999"), "."),
        (("--certificate-days", "4000000"), "."),
        (("--master-key", "no-such-file"), "no-such-file: no such key"),
        (("--master-key", "/dev/null"), "null: not a usable key"),
        (("--master-key", "/"), "/: Is a directory"),
        (("--metainfo", "no-such-file"), "no-such-file: No such file"),
        (("--metainfo", "/dev/null"), "null: not JSON"),
        (("--metainfo", sys.executable), "not JSON"),
        (("--storage",), "expected one argument"),
        (("--nonsense",), "--nonsense"),
    ],
    ids=lambda value: ascii(value) if isinstance(value, tuple) else "",
)
def test_init_with_bad_options(vacant: Site, words: tuple[str, ...], why: str) -> None:
    vacant.bad("init", FQRN, "--storage", vacant.storage, *words, why=why)
    assert_no_repository(vacant)


@pytest.mark.parametrize(
    "fqrn",
    [
        "",
        "one",
        "UPPER.example.org",
        "a..b",
        ".a.b",
        "a.b.",
        "-a.b",
        "a.b-",
        "../x.y",
        "a.b/../c",
        "a b.c",
        "a.b\n",
        "ä.b",
        "\udcff.b",
        "a." * 127 + "b",
        "a.٣",
    ],
    ids=ascii,
)
def test_bad_repository_names(vacant: Site, fqrn: str) -> None:
    why = "not a repository name|expected one|required"
    vacant.bad("init", "--storage", vacant.storage, "--", fqrn, why=why)
    for command in (["info"], ["check"], ["gc"], ["resign"], ["rollback"], ["tag", "list"]):
        vacant.bad(*command, "--", fqrn, why=why)
    vacant.bad("sync", "--", fqrn, vacant.source, why=why)
    vacant.bad("ingest", "--", fqrn, "/dev/null", why=why)


def test_unknown_repository(vacant: Site) -> None:
    why = rf"{OTHER}: no such repository here \(pyparrot publish init {OTHER} --storage DIR\)"
    for words in (["info"], ["check"], ["gc"], ["resign"], ["rollback"], ["tag", "list"]):
        vacant.bad(*words, OTHER, why=why)
    vacant.bad("sync", OTHER, vacant.source, why=why)


def test_storage_moved_away(site: Site) -> None:
    away = site.root.with_name("away")
    with site.unharmed():
        site.root.rename(away)
        for words in (("sync", FQRN, site.source), ("gc", FQRN), ("tag", "add", FQRN, "x")):
            site.bad(*words, why=r"sw.example.org: no repository there \(was the storage moved")
        for action in ("info", "rollback", "resign"):
            site.bad(action, FQRN, why="sw.example.org")
        assert site.call("check", FQRN).status in (1, FAILURE)
        assert not site.root.exists()
        away.rename(site.root)


# Settings


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "server.conf: .*not understood: nonsense"),
        ("=value", "server.conf: .*not understood"),
        ("A B=c", "server.conf: .*not understood"),
        ("bell\x07\udcff", "not understood: bell"),
        ("CVMFS_REPOSITORY_NAME=" + OTHER, "the settings of another repository"),
        ("CVMFS_UPSTREAM_STORAGE=S3,/tmp,/tmp", "CVMFS_UPSTREAM_STORAGE must be local"),
        ("CVMFS_UPSTREAM_STORAGE=local,/tmp", "CVMFS_UPSTREAM_STORAGE must be local"),
        ("CVMFS_UPSTREAM_STORAGE=local,/tmp,relative", "CVMFS_UPSTREAM_STORAGE must be local"),
        ("CVMFS_UPSTREAM_STORAGE=", "CVMFS_UPSTREAM_STORAGE must be local"),
        ("CVMFS_HASH_ALGORITHM=md5", "unknown hash algorithm"),
        ("CVMFS_COMPRESSION_ALGORITHM=lzma", "unknown compression algorithm"),
        ("CVMFS_USE_FILE_CHUNKING=perhaps", "CVMFS_USE_FILE_CHUNKING=perhaps: neither yes nor no"),
        ("CVMFS_MIN_CHUNK_SIZE=0", "chunk sizes must grow"),
        ("CVMFS_MIN_CHUNK_SIZE=4M", "CVMFS_MIN_CHUNK_SIZE=4M: not a whole number"),
        ("CVMFS_MAX_CHUNK_SIZE=" + "9" * 30, "not a whole number"),
        ("CVMFS_MAX_CHUNK_SIZE=2147483648", "chunk sizes must grow"),
        ("CVMFS_REPOSITORY_TTL=-1", "CVMFS_REPOSITORY_TTL=-1: less than 0"),
        ("CVMFS_AUTOCATALOGS_MIN_WEIGHT=999999999", "automatic catalogs need a maximum"),
        ("CVMFS_AUTOCATALOGS_MIN_WEIGHT=0", "automatic catalogs need a maximum"),
    ],
    ids=ascii,
)
def test_bad_settings(site: Site, line: str, why: str) -> None:
    with site.unharmed():
        content = site.settings.read_bytes() + os.fsencode(line) + b"\n"
        site.overwrite(site.settings, content)
        site.bad("sync", FQRN, site.source, why=why)
        site.bad("info", FQRN, why=why)
        site.restore()


def test_settings_are_a_directory(site: Site) -> None:
    content = site.settings.read_bytes()
    site.settings.unlink()
    site.settings.mkdir()
    site.bad("sync", FQRN, site.source, why="server.conf: Is a directory")
    site.settings.rmdir()
    site.settings.write_bytes(content)
    site.publish_something()


# A damaged repository


def flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_manifest_with_any_bit_flipped(site: Site) -> None:
    """In every field, the hash, the separators and the signature."""
    good = site.manifest
    with site.unharmed():
        for byte in range(0, len(good), 11):
            site.overwrite(site.root / ".cvmfspublished", flip(good, 8 * byte + byte % 8))
            site.bad("tag", "add", FQRN, "x", why=r"\.cvmfspublished: (corrupt|its signature)")
        result = site.call("check", FQRN)
        assert result.status == 1
        assert ".cvmfspublished" in result.out
        site.restore()


def test_manifest_cut_off_anywhere(site: Site) -> None:
    good = site.manifest
    with site.unharmed():
        for length in range(0, len(good), 50):
            site.overwrite(site.root / ".cvmfspublished", good[:length])
            site.bad("tag", "add", FQRN, "x", why=r"\.cvmfspublished: (corrupt|its signature)")
        for content in (os.urandom(300), bytes(1 << 20), good + b"x"):
            site.overwrite(site.root / ".cvmfspublished", content)
            site.bad("info", FQRN, why=r"\.cvmfspublished: (corrupt|its signature)")
        site.overwrite(site.root / ".cvmfspublished", None)
        site.bad("info", FQRN, why=r"\.cvmfspublished: the repository lacks this file")
        site.restore()


def test_manifest_of_another_repository(site: Site) -> None:
    site.good("init", OTHER, "--storage", site.storage)
    foreign = (site.storage / OTHER / ".cvmfspublished").read_bytes()
    with site.unharmed():
        site.overwrite(site.root / ".cvmfspublished", foreign)
        site.bad("sync", FQRN, site.source, why=f"the manifest of another repository: {OTHER}")
        assert site.call("check", FQRN).status == 1
        site.restore()


def _objects(site: Site) -> dict[str, Path]:
    """One object of each kind, all of which the current revision needs."""
    repository = StoredRepository.open(FQRN)
    current = repository.manifest
    assert current.history
    assert current.certificate
    assert current.metainfo
    with repository.open_catalog(current.catalog) as catalog:
        nested = catalog.nested_catalogs()[0].hash
        digest = next(stored.digest for stored in catalog.objects() if stored.kind is Kind.BODY)
        chunk = catalog.chunks(b"/large")[0].digest
    body, piece = (type(nested)(name, Algorithm.SHA1) for name in (digest, chunk))
    return {
        "body": site.object(body, Kind.BODY),
        "chunk": site.object(piece, Kind.CHUNK),
        "catalog": site.object(current.catalog, Kind.CATALOG),
        "nested catalog": site.object(nested, Kind.CATALOG),
        "history": site.object(current.history, Kind.HISTORY),
        "certificate": site.object(current.certificate, Kind.CERTIFICATE),
        "metainfo": site.object(current.metainfo, Kind.METAINFO),
    }


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "first bit": lambda content: flip(content, 0),
    "middle bit": lambda content: flip(content, len(content) * 4),
    "last bit": lambda content: flip(content, len(content) * 8 - 1),
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\0",
    "missing": lambda content: None,
}

KINDS = ("body", "chunk", "catalog", "nested catalog", "history", "certificate", "metainfo")


@pytest.mark.parametrize("kind", KINDS)
def test_check_finds_damage(site: Site, kind: str) -> None:
    file = _objects(site)[kind]
    good = file.read_bytes()
    with site.unharmed():
        for name, damage in DAMAGE.items():
            site.overwrite(file, damage(good))
            result = site.call("check", FQRN)
            assert (result.status, result.err) == (1, ""), (name, result)
            assert str(file) in result.out, name
            assert all(line.isprintable() for line in result.out.splitlines())
            assert "counters" not in result.out, "what can't be read can't be counted"
            only = site.call("check", FQRN, "--current", "--quiet")
            assert only.status == 1
            assert str(file) in only.out
        site.restore()


@pytest.mark.parametrize("kind", ["catalog", "history", "certificate"])
@pytest.mark.parametrize("damage", ["middle bit", "truncated", "empty", "missing"])
def test_publishing_onto_damage(site: Site, kind: str, damage: str) -> None:
    """What a new revision builds on must be whole, or it would hide the loss."""
    file = _objects(site)[kind]
    (site.source / "new").touch()
    with site.unharmed():
        site.overwrite(file, DAMAGE[damage](file.read_bytes()))
        why = f"{file.name}: (corrupt|the repository lacks)"
        site.bad("sync", FQRN, site.source, why=why)
        if kind != "history":
            site.bad("gc", FQRN, "--keep-days", "0", why=why)
        site.restore()


@pytest.mark.parametrize("content", [b"", b"garbage", os.urandom(5000), None])
def test_reference_log_is_damaged(site: Site, content: bytes | None) -> None:
    (site.source / "new").touch()
    with site.unharmed():
        site.overwrite(site.root / ".cvmfsreflog", content)
        site.bad("sync", FQRN, site.source, why=r"\.cvmfsreflog: corrupt")
        result = site.call("check", FQRN)
        assert result.status == 1
        assert ".cvmfsreflog" in result.out
        site.restore()


def test_check_compares_the_reference_log_with_the_manifest(site: Site) -> None:
    log, published = site.root / ".cvmfsreflog", site.root / ".cvmfspublished"
    with contextlib.closing(sqlite3.connect(log)) as database:
        database.execute("UPDATE refs SET timestamp = timestamp - 1")
        database.commit()
    # A publication that is cut off between the two leaves a newer log: no harm.
    site.check()
    before = published.stat().st_mtime_ns - 1
    os.utime(log, ns=(before, before))
    result = site.call("check", FQRN)
    assert result.status == 1
    assert result.out.startswith(f"{log}: corrupt: it does not have the hash in the manifest\n")
    site.publish_something()  # which signs the log anew, and checks


def test_check_counts_again(site: Site) -> None:
    """A catalog that lies about itself, published with valid signatures."""
    repository = StoredRepository.open(FQRN)
    with repository.writing() as publication:
        from pyparrot.publish.repository import Root

        current = publication.current
        file = repository.unpack_catalog(current.catalog)
        catalog = Catalog.open_to_write(file)
        recorded = catalog.counters("self")
        catalog.put_counters("self", recorded + recorded)
        catalog.close()
        content = Path(file).read_bytes()
        name = repository.put(content, Kind.CATALOG)
        publication.commit(Root(name, len(content), current.revision + 1))
    result = site.call("check", FQRN, "--current")
    assert result.status == 1
    assert re.search(r"catalog /: counters differ: regular \d+ not \d+", result.out)
    site.good("rollback", FQRN)
    assert site.call("check", FQRN, "--current").status == 0


# Tags, revisions and owners


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("tag", "add", FQRN, "v1"), r"v1: there is such a tag already"),
        (("tag", "add", FQRN, "trunk"), "trunk: there is such a tag already"),
        (("tag", "add", FQRN, ""), "not a tag name"),
        (("tag", "add", FQRN, "a b"), "a b: not a tag name"),
        (("tag", "add", FQRN, "a/b"), "a/b: not a tag name"),
        (("tag", "add", FQRN, "a\nb"), r"a\\nb: not a tag name"),
        (("tag", "add", FQRN, "\udcff"), "not a tag name"),
        (("tag", "add", FQRN, "ä"), "not a tag name"),
        (("tag", "add", FQRN, "x" * 256), "not a tag name"),
        (("tag", "add", FQRN, "x", "--revision", "99"), "99: there is no such revision"),
        (("tag", "add", FQRN, "x", "--revision", "0"), "0: there is no such revision"),
        (("tag", "add", FQRN, "x", "--revision", "-1"), "revision"),
        (("tag", "add", FQRN, "x", "--revision", "v1"), "not a number: v1"),
        (("tag", "remove", FQRN, "trunk"), "trunk: this tag belongs to pyparrot"),
        (("tag", "remove", FQRN, "v1", "trunk-previous"), "trunk-previous: this tag belongs"),
        (("tag", "remove", FQRN, "v1", "v2"), "v2: no such tag"),
        (("tag", "remove", FQRN), "required: NAME"),
        (("rollback", FQRN, "v2"), r"v2: no such tag \(pyparrot publish tag list"),
        (("rollback", FQRN, "trunk"), "trunk: it names the current revision"),
        (("sync", FQRN, ".", "--tag", "v1"), "v1: there is such a tag already"),
        (("sync", FQRN, ".", "--tag", "a b"), "a b: not a tag name"),
        (("ingest", FQRN, "/dev/null", "--tag", "a b"), "null: not a complete tar file|a b: not a"),
        (("sync", FQRN, ".", "--owner", "nobody-there"), "--owner: no such user: nobody-there"),
        (("sync", FQRN, ".", "--owner", "0:nobody-there"), "--owner: no such group: nobody-there"),
        (("sync", FQRN, ".", "--owner", "4294967296"), "--owner: no such user: 4294967296"),
        (("sync", FQRN, ".", "--owner", "-1"), "owner"),
        (("sync", FQRN, ".", "--owner", "0:0:0"), "--owner: no such group: 0:0"),
        (("sync", FQRN, ".", "--owner", "\udcff"), "--owner: no such user"),
        (("sync", FQRN), "required: SOURCE_DIR"),
        (("gc", FQRN, "--keep-days", "x"), "not a number: x"),
        (("resign", FQRN, "--days", "999999999"), "."),
        (("resign", FQRN, "--new-certificate", "--certificate-days", "999999999"), "."),
        (("resign", FQRN, "--days", "1.5"), "not a number: 1.5"),
        (("check", FQRN, "extra\n"), r"not understood: extra\\n"),
        (("nonsense",), "invalid choice: 'nonsense'"),
        (("tag", "nonsense"), "invalid choice: 'nonsense'"),
        (("tag",), "required: ACTION"),
        ((), "required: ACTION"),
    ],
    ids=ascii,
)
def test_bad_requests(site: Site, words: tuple[str, ...], why: str) -> None:
    whitelist = (site.root / ".cvmfswhitelist").read_bytes()
    key_files = sorted((site.config / "keys").iterdir())
    with site.unharmed():
        site.bad(*words, why=why)
        assert (site.root / ".cvmfswhitelist").read_bytes() == whitelist
        assert sorted((site.config / "keys").iterdir()) == key_files


@pytest.mark.parametrize("message", ["two\nlines", "\udcff\udcfe", "bell\x07", "x" * 100_000])
def test_tag_descriptions_may_be_anything(site: Site, message: str) -> None:
    site.good("tag", "add", FQRN, "odd", "-m", message)
    listed = site.good("tag", "list", FQRN)
    assert len(listed.splitlines()) == 4
    assert all(line.isprintable() for line in listed.splitlines())
    site.good("tag", "list", FQRN, "--json")
    site.check()


def test_collecting_garbage_where_it_is_off(site: Site) -> None:
    with site.unharmed():
        text = site.settings.read_bytes() + b"CVMFS_GARBAGE_COLLECTION=false\n"
        site.overwrite(site.settings, text)
        why = r"its revisions are kept for ever \(set CVMFS_GARBAGE_COLLECTION=true in .*\.conf"
        site.bad("gc", FQRN, why=why)
        site.restore()


def test_rollback_when_there_is_no_way_back(vacant: Site) -> None:
    vacant.good("init", FQRN, "--storage", vacant.storage)
    first = vacant.manifest
    result = vacant.call("rollback", FQRN)
    if result.status == 0:
        vacant.check()
    else:
        assert_one_line(result, "trunk-previous")
        assert vacant.manifest == first
    vacant.publish_something()


def test_rollback_to_what_is_lost(site: Site) -> None:
    repository = StoredRepository.open(FQRN)
    tags = {tag.name: tag for tag in repository.tags(repository.manifest)}
    with site.unharmed():
        file = site.object(tags["v1"].catalog, Kind.CATALOG)
        site.overwrite(file, None)
        site.bad("rollback", FQRN, "v1", why=f"{file.name}: the repository lacks this object")
        site.restore()


def test_rollback_and_tags(site: Site) -> None:
    with site.catalog() as catalog:
        assert catalog.lookup(b"/later")
    site.good("tag", "add", FQRN, "v2")
    assert "removed tags: v2" in site.good("rollback", FQRN, "v1")
    with site.catalog() as catalog:
        assert not catalog.lookup(b"/later")
        assert catalog.revision == 4
    site.check()
    site.good("rollback", FQRN)
    with site.catalog() as catalog:
        assert catalog.lookup(b"/later")
    site.check()
    site.good("tag", "remove", FQRN, "v1")
    site.bad("rollback", FQRN, "v1", why="no such tag")
    site.publish_something()


# Garbage collection


def test_garbage_collection_keeps_what_is_needed(site: Site) -> None:
    source = site.base / "passing"
    source.mkdir()
    for number in range(3):
        (source / "file").write_bytes(b"passing by %d" % number)
        site.good("sync", FQRN, source)
    orphan = site.root / "data" / "ab" / ("c" * 38)
    orphan.write_bytes(b"of a run that was killed")
    stranger = site.root / "data" / "ab" / "README"
    stranger.write_bytes(b"not ours")
    before = {path for path in site.root.rglob("*") if path.is_file()}
    manifest = site.manifest
    said = site.good("gc", FQRN, "--keep-days", "0", "--dry-run")
    removed = re.search(r"would remove (\d+) objects", said)
    assert removed
    assert {path for path in site.root.rglob("*") if path.is_file()} == before
    assert site.manifest == manifest
    done = site.good("gc", FQRN, "--keep-days", "0")
    after = {path for path in site.root.rglob("*") if path.is_file()}
    assert orphan not in after
    assert stranger in after
    assert f"removed {removed[1]} objects" in done
    # The orphan, and the body, catalog and history of the first of the three passing revisions.
    assert int(removed[1]) >= 4
    site.check()
    site.good("rollback", FQRN, "v1")
    site.check()
    with site.catalog() as catalog:
        assert catalog.lookup(b"/large")
    site.publish_something()
    # Young revisions stay unless asked for.
    site.good("gc", FQRN)
    assert "removed 0 objects" in site.good("gc", FQRN)
    site.check()


def test_garbage_collection_removes_nothing_if_a_catalog_is_broken(site: Site) -> None:
    (site.root / "data" / "ab" / ("c" * 38)).write_bytes(b"an orphan")
    before = {path for path in site.root.rglob("*") if path.is_file()}
    nested = _objects(site)["nested catalog"]
    with site.unharmed():
        site.overwrite(nested, flip(nested.read_bytes(), 99))
        site.bad("gc", FQRN, "--keep-days", "0", why=f"{nested.name}: corrupt")
        assert {path for path in site.root.rglob("*") if path.is_file()} == before
        site.restore()


# Tar files


def member(name: str | bytes, kind: bytes = tarfile.REGTYPE, **values: Any) -> tarfile.TarInfo:
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    made = tarfile.TarInfo(name)
    made.type = kind
    for key, value in values.items():
        setattr(made, key, value)
    return made


def tar(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    """A tar file; every regular member has *content*."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each in members:
            if each.isreg():
                each.size = len(content)
            archive.addfile(each, io.BytesIO(content) if each.isreg() else None)
    return stream.getvalue()


LINK, SYMLINK, DIRECTORY = tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE

BAD_ARCHIVES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a complete tar file"),
    "text": (b"hello world\n" * 1000, "not a complete tar file"),
    "random": (os.urandom(5000), "not a complete tar file"),
    "gzip of text": (__import__("gzip").compress(b"hello" * 1000), "not a complete tar file"),
    "parent": (tar(member("../x")), r"\.\./x: not a path inside"),
    "hidden parent": (tar(member("a/b/../../../x")), "not a path inside"),
    "parent directory": (tar(member("..", DIRECTORY)), "not a path inside"),
    "zero byte": (tar(member("a", pax_headers={"path": "a\0b"})), "."),
    "root is a file": (tar(member(".")), "only a directory can be the root"),
    "root is a link": (tar(member("/", SYMLINK, linkname="x")), "only a directory can be the root"),
    "link to nothing": (
        tar(member("a", LINK, linkname="gone")),
        r"/a: a hard link to a file that is not there \(gone\)|/a: .*gone",
    ),
    "link to later": (tar(member("a", LINK, linkname="b"), member("b")), "/a: a hard link"),
    "link to itself": (tar(member("a", LINK, linkname="a")), "/a: a hard link"),
    "link outside": (tar(member("a", LINK, linkname="../../etc/passwd")), "not a path inside"),
    "link to directory": (
        tar(member("d", DIRECTORY), member("a", LINK, linkname="d")),
        "/a: a hard link",
    ),
    "file as directory": (tar(member("a"), member("a/b")), "/a"),
    "link as directory": (tar(member("a", SYMLINK, linkname="/x"), member("a/b")), "/a"),
    "pipe as directory": (tar(member("a", tarfile.FIFOTYPE), member("a/b")), "/a"),
    "published file as directory": (tar(member("small/b")), "/small"),
    "control characters": (tar(member("../\n\x1b[31m")), "not a path inside"),
    "not UTF-8": (tar(member(b"../\xff")), "not a path inside"),
    "name too long": (tar(member("n" * 256)), "n{20}"),
    "user out of range": (tar(member("a", pax_headers={"uid": "9" * 30})), "."),
    "size out of range": (tar(member("a", pax_headers={"size": "9" * 30})), "."),
    "time out of range": (tar(member("a", pax_headers={"mtime": "9" * 30})), "."),
    "time is no number": (tar(member("a", pax_headers={"mtime": "nan"})), "."),
    "device out of range": (
        tar(member("a", tarfile.CHRTYPE)).replace(b"0000000\x000000000\0", b"\xff" * 16, 1),
        ".",
    ),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_bad_archives(site: Site, name: str) -> None:
    content, why = BAD_ARCHIVES[name]
    archive = site.base / "a.tar"
    archive.write_bytes(content)
    with site.unharmed():
        site.bad("ingest", FQRN, archive, why=why)


def test_archive_is_cut_off_anywhere(site: Site) -> None:
    """At any place before its end mark, so also between two members."""
    whole = tar(member("a"), member("b"), member("c", SYMLINK, linkname="a"), content=b"c" * 700)
    end = whole.rindex(b"ustar") // 512 * 512 + 512
    archive = site.base / "a.tar"
    wrong = []
    with site.unharmed():
        before = site.manifest
        for length in sorted({*range(0, end, 512), *range(0, end, 300), end}):
            archive.write_bytes(whole[:length])
            result = site.call("ingest", FQRN, archive, "--into", "/cut")
            if result.status != FAILURE or "a.tar: not a complete tar file" not in result.err:
                wrong.append(length)
            (site.root / ".cvmfspublished").write_bytes(before)
        assert wrong == []
    archive.write_bytes(whole)
    site.good("ingest", FQRN, archive)


@pytest.mark.parametrize("compress", ["gzip", "bz2", "lzma"])
def test_compressed_archive_is_damaged(site: Site, compress: str) -> None:
    import importlib

    pack = importlib.import_module(compress).compress
    whole = pack(tar(member("a"), member("b"), content=os.urandom(5000)))
    archive = site.base / "a.tar"
    with site.unharmed():
        for damaged in (
            whole[:20],
            whole[: len(whole) // 2],
            flip(whole, len(whole) * 4),
            whole[: len(whole) // 2] + bytes(len(whole) // 2),
        ):
            archive.write_bytes(damaged)
            site.bad("ingest", FQRN, archive, why="a.tar: not a complete tar file")
    archive.write_bytes(whole)
    site.good("ingest", FQRN, archive)
    site.check()


def test_archive_with_a_damaged_header(site: Site) -> None:
    """A member whose checksum is wrong must not be taken for the end."""
    whole = tar(member("a"), member("b"), member("c"), content=b"c" * 700)
    archive = site.base / "a.tar"
    archive.write_bytes(flip(whole, whole.index(b"b\0\0\0") * 8))
    with site.unharmed():
        site.bad("ingest", FQRN, archive, why="a.tar: not a complete tar file")


def test_archive_with_absolute_names(site: Site) -> None:
    archive = site.base / "a.tar"
    archive.write_bytes(tar(member("/etc//./passwd"), content=b"x"))
    site.good("ingest", FQRN, archive)
    with site.catalog() as catalog:
        assert catalog.lookup(b"/etc/passwd")
    site.check()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("no-such.tar",), "no-such.tar: No such file"),
        (("/",), "/: Is a directory"),
        (("a.tar", "--delete", "/gone"), "/gone: there is nothing to delete"),
        (("a.tar", "--delete", "/small/gone"), "/small/gone: there is nothing to delete"),
        (("a.tar", "--delete", "/"), "/: there is nothing to delete"),
        (("a.tar", "--delete", ""), "/: there is nothing to delete"),
        (("a.tar", "--delete", "/nested/../small"), "not a path inside"),
        (("a.tar", "--into", "/../x"), "not a path inside"),
        (("a.tar", "--into", "x/.."), "not a path inside"),
        (("a.tar", "--into", "/small"), "/small"),
        (("a.tar", "--into", "/link"), "/link"),
        (("a.tar", "--into", "/small/deeper"), "/small"),
        (("a.tar", "--into", "n" * 256), "n{20}"),
    ],
    ids=ascii,
)
def test_bad_requests_to_ingest(
    site: Site, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], why: str
) -> None:
    monkeypatch.chdir(site.base)
    Path("a.tar").write_bytes(tar(member("x"), content=b"x"))
    with site.unharmed():
        site.bad("ingest", FQRN, *words, why=why)


def test_archive_from_standard_input(site: Site) -> None:
    content = site.base / "a.tar"
    content.write_bytes(tar(member("x"), content=b"x"))
    with open(content, "rb") as stream:
        assert site.run("ingest", FQRN, "-", stdin=stream).status == 0
    site.check()
    with site.unharmed():
        result = site.run("ingest", FQRN, "-")
        assert_one_line(result, "standard input: not a complete tar file")
        with open("/proc/self/mem", "rb") as unreadable:
            result = site.run("ingest", FQRN, "-", stdin=unreadable)
        assert_one_line(result, "standard input: ")


def test_warnings_are_one_line(site: Site) -> None:
    archive = site.base / "a.tar"
    name = "bell\x07 and\nnew line"
    archive.write_bytes(
        tar(
            member(name, b"Z"),
            member(name + "2", pax_headers={"SCHILY.xattr.user.\nlong": "v" * 256}),
        )
    )
    result = site.call("ingest", FQRN, archive)
    assert result.status == 0
    lines = result.err.splitlines()
    assert len(lines) == 2, lines
    for line in lines:
        assert re.match(r"pyparrot: warning: bell\\x07 and\\nnew line", line)
        assert line.isprintable()


# Standard streams, help and completion


def test_output_that_cannot_be_written(site: Site) -> None:
    with open("/dev/full", "wb") as full:
        result = site.run("info", FQRN, stdout=full)
    assert_one_line(result, "No space left on device")


def test_output_that_nobody_reads(site: Site) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = site.run("info", FQRN, stdout=writer)
    os.close(writer)
    assert (result.status, result.err) == (141, "")


@pytest.mark.parametrize("descriptor", [0, 1])
def test_closed_streams(site: Site, descriptor: int) -> None:
    def close() -> None:
        os.close(descriptor)

    options: dict[str, Any] = {"stdin": None, "stdout": None, "preexec_fn": close}
    assert site.run("sync", FQRN, site.source, "--tag", "x", **options).status == 0
    with site.unharmed():
        result = site.run("ingest", FQRN, "-", **options)
        assert_one_line(result, "standard input|tar file")


def test_names_that_the_terminal_cannot_show(site: Site) -> None:
    (site.source / "ünïcode").touch()
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    result = site.run("sync", FQRN, site.source, "--dry-run", environment=ascii_only)
    assert (result.status, result.err) == (0, "")
    result = site.run("sync", FQRN, site.source / "no süch", environment=ascii_only)
    assert_one_line(result, "No such file")


COMMANDS = [
    [],
    ["publish"],
    *(["publish", name] for name in ("init", "sync", "ingest", "tag", "rollback", "resign")),
    *(["publish", name] for name in ("check", "gc", "info")),
    *(["publish", "tag", name] for name in ("add", "list", "remove")),
    ["serve"],
    ["completion"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("usage: pyparrot")
    assert max(map(len, shown.out.splitlines())) <= 100


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "publish" in script
    if shell != "tcsh":  # whose completion knows no options of actions
        assert "--storage" in script
    if shell != "tcsh" and shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script.encode(), capture_output=True, check=True)
        assert done.stderr == b""


@pytest.mark.parametrize("words", [["nonsense"], ["publish", "--nonsense"], ["completion", "sh"]])
def test_unknown_words(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    status = main(words)
    assert_one_line(Result(status, *capsys.readouterr()), "--help")

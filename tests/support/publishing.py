"""Sites with repositories, to publish in and to damage, for the tests of ``pyparrot publish``.

The fixtures are there for all tests; a module that has its own ``site`` sees that one.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pyparrot.cli import main
from pyparrot.publish.repository import StoredRepository
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.hashes import Algorithm, Kind
from support.runs import ordinary_user

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


def become_socket(victim: Path) -> None:
    victim.unlink()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        # The address of a socket has room for 107 bytes; a pytest directory may need more.
        directory = os.open(victim.parent, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{directory}/{victim.name}")
        os.close(directory)


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


# What is damaged, and what is published


def flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def objects_of(site: Site) -> dict[str, Path]:
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

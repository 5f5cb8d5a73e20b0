"""Whatever write fails, at whatever byte: nothing incomplete has a name, and the next use works."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Callable

import pytest

from pyparrot.cache import store as store_module
from pyparrot.cache import views
from pyparrot.cache.names import ObjectName, checksum
from pyparrot.cache.pins import Pin
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError, understood
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import Algorithm, Kind
from pyparrot.sources.cvmfs.objects import Objects
from pyparrot.sources.directory import LocalDirectory

CONTENT = os.urandom(3000)
SMALL = b"small\n" * 20

ERRORS = [
    (errno.ENOSPC, False),
    (errno.ENOSPC, True),
    (errno.EDQUOT, False),
    (errno.EFBIG, True),
    (errno.EIO, True),
]
"""What a write may fail with, and whether half of it is written."""


def name_of(content: bytes) -> ObjectName:
    return ObjectName(f"{'ab' * 20}L.{checksum(zlib.crc32(content))}")


class Server:
    """Has one object."""

    def fetch(self, path: str, sink: Any, limit: int) -> None:
        sink.write(Compression.ZLIB.pack(CONTENT))
        sink.finish()


def fetch(store: ObjectStore, local: Path) -> None:
    server: Any = Server()
    name = Algorithm.SHA1.of(Compression.ZLIB.pack(CONTENT))
    path = Objects(store, server, None).metadata(name, Kind.METAINFO)
    assert Path(path).read_bytes() == CONTENT


def write(store: ObjectStore, local: Path) -> None:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(CONTENT)
        return name_of(CONTENT)

    name = name_of(CONTENT)
    assert Path(store.find(name) or store.write(fill)).read_bytes() == CONTENT


def make(store: ObjectStore, local: Path) -> None:
    def fill(file: str) -> ObjectName:
        with open(file, "xb") as output:
            output.write(CONTENT)
        return name_of(CONTENT)

    name = name_of(CONTENT)
    assert Path(store.find(name) or store.make(fill)).read_bytes() == CONTENT


def small_file(store: ObjectStore, local: Path) -> None:
    store.write_file("manifests/x", SMALL)
    assert store.read_file("manifests", "x", limit=9999) == SMALL


def copied_view(store: ObjectStore, local: Path) -> None:
    view = os.path.join(views.directory(store), "v", "file")
    views.make_file(store, os.fsencode(view), lambda file: fill_file(os.fsdecode(file)))
    assert Path(view).read_bytes() == CONTENT


def fill_file(file: str) -> None:
    with open(file, "xb") as output:
        output.write(CONTENT)


def pin(store: ObjectStore, local: Path) -> None:
    store.pins.hold(Pin("r", "/", 1, (name_of(CONTENT),)))
    assert len(store.pins.all()) == 1


def local_file(store: ObjectStore, local: Path) -> None:
    path = LocalDirectory(str(local), b"/top", store).fetch("/file")
    assert Path(path).read_bytes() == CONTENT


USES = [fetch, write, make, small_file, copied_view, pin, local_file]
COMPLETE = {CONTENT, SMALL, b"1\n"}


@pytest.fixture
def local(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "file").write_bytes(CONTENT)
    return tmp_path / "local"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else makes room here."""
    monkeypatch.setattr(store_module, "_SQUEEZE_PAUSE", 0.0)


def check(cache: Path) -> None:
    """Nothing unfinished is left, and whatever has a name is complete."""
    assert os.listdir(cache / "txn") == []
    for place in ("objects", "views", "manifests"):
        for path in (cache / place).rglob("*"):
            if path.is_file():
                assert path.read_bytes() in COMPLETE, path
    for path in (cache / "pins").glob("*.json"):
        assert path.read_bytes().endswith(b"}")


def attempt(
    cache: Path, use: Callable[[ObjectStore, Path], None], local: Path
) -> OSError | PyparrotError | None:
    """Use a cache; the failure has to name a path and a reason."""
    try:
        with ObjectStore(str(cache)) as store:
            use(store, local)
    except (OSError, PyparrotError) as failure:
        shown = understood(failure)
        assert shown is not None
        what, why = str(shown).split(": ", 1)
        assert os.path.isabs(what), shown
        assert why
        return failure
    return None


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("step", [7, 97])
def test_a_limit_on_the_size_of_files(
    use: Callable[[ObjectStore, Path], None], step: int, tmp_path: Path, local: Path
) -> None:
    """The kernel itself cuts each write short at some byte, and refuses the next one (EFBIG)."""
    cache = tmp_path / "cache"
    sizes = range(0, 160, step) if step == 7 else range(160, len(CONTENT), step)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    failures = 0
    with ObjectStore(str(cache)):
        pass
    for size in sizes:
        for file in (*(cache / "objects").rglob("*"), *(cache / "views").rglob("*")):
            if file.is_file():
                file.unlink()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            failure = attempt(cache, use, local)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if failure is not None:
            failures += 1
            assert use is pin or getattr(failure, "errno", 0) == errno.EFBIG
        check(cache)
    assert failures > 0 or use in (small_file, pin)
    assert attempt(cache, use, local) is None
    check(cache)


class Injected:
    """The *number*-th change of the file system by this process fails."""

    def __init__(self, number: int, error: int, half: bool) -> None:
        self.left = number
        self.error = error
        self.half = half

    def count(self, path: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.error, os.strerror(self.error), path)


CHANGES = ("open", "mkdir", "rename", "replace", "link", "chmod", "fchmod", "utime", "symlink")


@contextlib.contextmanager
def injected(injection: Injected, cache: Path) -> Iterator[None]:
    """Have one of the changes below *cache* fail: calls, writes, and the closing of files."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            real = getattr(os, name)

            def call(*given: Any, real: Any = real, **more: Any) -> Any:
                writes = real is not REAL_OPEN or (len(given) > 1 and given[1] & WRITING)
                if writes and str(cache) in str(given[0]):
                    injection.count(given[0])
                return real(*given, **more)

            patch.setattr(os, name, call)

        def open_file(file: Any, mode: str = "r", *given: Any, **more: Any) -> Any:
            opened = REAL_FILE(file, mode, *given, **more)
            if set(mode) & set("xwa+") and str(cache) in str(file):
                return Failing(opened, injection)
            return opened

        patch.setattr("builtins.open", open_file)
        yield


REAL_OPEN, REAL_FILE = os.open, open
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Failing:
    """A file, some write or close of which fails as a disk does: the error names no file."""

    def __init__(self, file: Any, injection: Injected) -> None:
        self._file = file
        self._injection = injection
        self.name = file.name

    def write(self, content: bytes) -> int:
        try:
            self._injection.count(None)
        except OSError as error:
            if self._injection.half:
                self._file.write(content[: len(content) // 2])
            raise OSError(error.errno, error.strerror) from None
        return int(self._file.write(content))

    def close(self) -> None:
        self._file.close()
        try:
            self._injection.count(None)
        except OSError as error:
            raise OSError(error.errno, error.strerror) from None

    def __enter__(self) -> Failing:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and not self._file.closed:
            self.close()
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("error", "half"), ERRORS)
def test_each_change_of_the_file_system(
    use: Callable[[ObjectStore, Path], None], error: int, half: bool, tmp_path: Path, local: Path
) -> None:
    """One after the other fails, once: where that is a full disk, room is made and it goes on."""
    failures = 0
    for number in range(1, 200):
        cache = tmp_path / f"cache{number}"
        injection = Injected(number, error, half)
        with injected(injection, cache):
            failure = attempt(cache, use, local)
        failures += failure is not None
        if cache.exists():
            if (cache / "txn").exists():
                check(cache)
            assert attempt(cache, use, local) is None
            check(cache)
        if injection.left > 0:
            break
    else:
        raise AssertionError("there is no end")
    assert failures

"""Whatever happens to any file or directory of a cache, the next use mends it, or says one line."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Callable

import pytest

import pyparrot.sources.directory  # noqa: F401 (registers a kind of objects)
from pyparrot.cache import intact, owned, views
from pyparrot.cache.names import ObjectName, checksum
from pyparrot.cache.pins import Pin
from pyparrot.cache.store import ObjectStore
from pyparrot.cache.verify import verify
from pyparrot.errors import PyparrotError
from pyparrot.progress import Progress

CONTENT = b"content\n" * 100
NAME = ObjectName(f"{'aa' * 20}L.{checksum(zlib.crc32(CONTENT))}")
OBJECT = f"objects/aa/{NAME[2:]}"
SECONDS = 60

pytestmark = pytest.mark.usefixtures("alarm")


@pytest.fixture
def alarm() -> Iterator[None]:
    """Nothing here may wait for ever."""

    def stop(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# What happens to a file


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.chmod(0o700)
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.chmod(0o700)
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.chmod(0o700)
    os.truncate(path, 0)


def hole(path: Path) -> None:
    size = path.stat().st_size
    empty(path)
    os.truncate(path, size)


def not_text(path: Path) -> None:
    path.chmod(0o700)
    path.write_bytes(b"\xff\xfe\x80" * 50)


def gone(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def directory(path: Path) -> None:
    gone(path)
    path.mkdir(0o700)


def full_directory(path: Path) -> None:
    directory(path)
    (path / "something").write_text("else\n")


def pipe(path: Path) -> None:
    gone(path)
    os.mkfifo(path)


def named_socket(path: Path) -> None:
    gone(path)
    before = os.getcwd()
    os.chdir(path.parent)  # such names are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(before)


def dangling_link(path: Path) -> None:
    gone(path)
    path.symlink_to("/nowhere/at all")


def link_to_elsewhere(path: Path) -> None:
    other = path.parent.parent / "elsewhere"
    if path.is_dir():
        shutil.copytree(path, other)
    else:
        shutil.copy2(path, other)
    gone(path)
    path.symlink_to(other)


def no_rights(path: Path) -> None:
    path.chmod(0)


def regular_file(path: Path) -> None:
    gone(path)
    path.write_text("no directory\n")


OF_FILES = [
    flip,
    truncate,
    empty,
    hole,
    not_text,
    gone,
    directory,
    full_directory,
    pipe,
    named_socket,
    dangling_link,
    link_to_elsewhere,
    no_rights,
]
OF_DIRECTORIES = [
    gone,
    regular_file,
    pipe,
    named_socket,
    dangling_link,
    link_to_elsewhere,
    no_rights,
]
FILES = ["version", "lock", "ledger/cache.db", OBJECT, "views/v/d/file", "pins/lock"]
DIRECTORIES = [
    "objects",
    "objects/aa",
    "views",
    "views/v",
    "views/v/d",
    "ledger",
    "manifests",
    "txn",
    "pins",
]


# Use


def fetch(store: ObjectStore) -> str:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(CONTENT)
        return NAME

    return store.find(NAME, len(CONTENT)) or store.write(fill)


def view(store: ObjectStore, name: str) -> bytes:
    return os.fsencode(os.path.join(views.directory(store), "v", "d", name))


def open_view(store: ObjectStore, name: str) -> bytes:
    """As the engine does: what is not right is made again, and that may not go on for ever."""
    path = view(store, name)
    for _ in range(3):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            status = os.stat(path)
            if intact.is_marked(status, store.mark) and status.st_size == len(CONTENT):
                return Path(os.fsdecode(path)).read_bytes()
            if not os.path.isdir(path):
                os.unlink(path)
        views.make(store, path, 0o100644, b"", lambda: fetch(store))
    raise AssertionError("it would be asked for again and again")


def use(directory: Path) -> None:
    with ObjectStore(str(directory)) as store:
        assert Path(fetch(store)).read_bytes() == CONTENT
        assert open_view(store, "file") == CONTENT
        store.write_file("manifests/x", b"manifest")
        assert store.read_file("manifests", "x", limit=99) == b"manifest"
        store.pins.settle()
        store.flush()
        assert [record.name for record in store.records()] == [NAME]
        verify(store, Progress("", "", quiet=True))
        assert store.find(NAME)
    assert (directory / "version").read_bytes().strip() == b"1"
    assert os.listdir(directory / "txn") == []


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    use(tmp_path / "cache")
    return tmp_path / "cache"


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", OF_FILES)
def test_files(damage: Callable[[Path], None], file: str, cache: Path) -> None:
    if (cache / file).stat().st_size == 0 and damage in (flip, truncate):
        pytest.skip("nothing is in it")
    damage(cache / file)
    use(cache)
    use(cache)


@pytest.mark.parametrize("name", DIRECTORIES)
@pytest.mark.parametrize("damage", OF_DIRECTORIES)
def test_directories(damage: Callable[[Path], None], name: str, cache: Path) -> None:
    damage(cache / name)
    use(cache)
    use(cache)


@pytest.mark.parametrize("name", [*DIRECTORIES, *FILES])
@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_what_belongs_to_another_user(name: str, cache: Path) -> None:
    """A file is made again; about a directory there is one line, which names it."""
    os.chown(cache / name, 12345, 12345)
    if (cache / name).is_dir():
        with pytest.raises(PyparrotError) as failure, ObjectStore(str(cache)) as store:
            # What C believes of views by itself has tests of its own.
            views.make(store, view(store, "new"), 0o100644, b"", lambda: fetch(store))
        assert str(failure.value).startswith(f"{cache / name}: belongs to another user (another")
    else:
        use(cache)


@pytest.mark.parametrize("while_open", ["objects/aa", "views/v/d", "views/v", OBJECT])
@pytest.mark.parametrize("damage", [gone, regular_file, pipe, dangling_link, no_rights])
def test_while_it_is_open(damage: Callable[[Path], None], while_open: str, cache: Path) -> None:
    with ObjectStore(str(cache)) as store:
        assert open_view(store, "file") == CONTENT
        damage(cache / while_open)
        assert Path(fetch(store)).read_bytes() == CONTENT
        assert open_view(store, "file") == open_view(store, "other") == CONTENT


@pytest.mark.parametrize("damage", [directory, full_directory, pipe, dangling_link])
@pytest.mark.parametrize("kind", ["link", "pipe", "socket", "directory"])
def test_views_of_other_types(kind: str, damage: Callable[[Path], None], cache: Path) -> None:
    modes = {"link": 0o120777, "pipe": 0o010600, "socket": 0o140600, "directory": 0o040755}
    with ObjectStore(str(cache)) as store:
        path = view(store, "odd")
        Path(os.fsdecode(path)).touch()
        damage(Path(os.fsdecode(path)))
        views.make(store, path, modes[kind], b"target", lambda: "")
        assert os.lstat(path).st_mode & 0o170000 == modes[kind] & 0o170000
        if kind == "link":
            assert os.readlink(path) == b"target"


def test_directories_of_views_that_are_closed(cache: Path) -> None:
    for name in ("views/v/d", "views/v"):
        (cache / name).chmod(0o555)
    with ObjectStore(str(cache)) as store:
        assert open_view(store, "new") == CONTENT
        views.make(store, view(store, "below/it"), 0o100644, b"", lambda: fetch(store))
        store.clear()
    assert os.listdir(cache / "views") == []


# The ledger

STATEMENTS = {
    "sizes that are texts": "UPDATE Cache SET size = 'large'",
    "no sizes": "UPDATE Cache SET size = NULL",
    "negative sizes": "UPDATE Cache SET size = -5000000000",
    "huge sizes": "UPDATE Cache SET size = 9223372036854775807",
    "sizes that are no number": "UPDATE Cache SET size = 9e999",
    "times that are texts": "UPDATE Cache SET access_time = 'today'",
    "no times": "UPDATE Cache SET access_time = NULL",
    "infinite times": "UPDATE Cache SET access_time = 9e999",
    "negative times": "UPDATE Cache SET access_time = -1e300",
    "names that are bytes": "UPDATE Cache SET key = x'ff00fe' WHERE key LIKE 'aa%'",
    "names that are numbers": "UPDATE Cache SET key = 17 WHERE key LIKE 'aa%'",
    "names that are not UTF-8": "UPDATE Cache SET key = CAST(x'ff' AS TEXT) WHERE key LIKE 'aa%'",
    "names that lead elsewhere": "UPDATE Cache SET key = '../../../x' WHERE key LIKE 'aa%'",
    "other modes": "UPDATE Cache SET mode = 4, value = x'80049500', filename = 'x', raw = 0",
    "odd tags": "UPDATE Cache SET tag = x'00'",
    "a total that is text": "UPDATE Settings SET value = 'much' WHERE key = 'size'",
    "a negative total": "UPDATE Settings SET value = -1 WHERE key = 'size'",
    "a huge total": "UPDATE Settings SET value = 9223372036854775807 WHERE key = 'size'",
    "settings that are bytes": "UPDATE Settings SET value = x'ff'",
    "no settings": "DELETE FROM Settings",
    "no table": "DROP TABLE Cache",
    "another table": "DROP TABLE Cache; CREATE TABLE Cache (key, x)",
    "another version": "PRAGMA user_version = 99",
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_odd_rows(statement: str, cache: Path) -> None:
    with contextlib.closing(sqlite3.connect(cache / "ledger" / "cache.db")) as database:
        for trigger in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            if "total" in statement or "Settings" not in statement:
                database.execute(f"DROP TRIGGER {trigger[0]}")
        database.executescript(statement)
    with ObjectStore(str(cache), quota=1_000_000) as store:
        for number in range(2, 10):
            put(store, f"aa{number:02}", 50_000)
            store.flush()
        assert store.find(ObjectName("aa09"))
    use_with_more(cache)


def put(store: ObjectStore, name: str, size: int) -> str:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(bytes(size))
        return ObjectName(name)

    return store.write(fill)


def use_with_more(directory: Path) -> None:
    with ObjectStore(str(directory), quota=1_000_000) as store:
        fetch(store)
        store.reconcile()
        assert {record.name for record in store.records()} == {name for name, _ in store.files()}
        for number in range(10, 60):
            put(store, f"bb{number}", 50_000)
        store.flush()
        assert sum(status.st_size for _, status in store.files()) <= 1_000_000


# Pins

PINS: dict[str, Any] = {
    "not JSON": b"{",
    "not UTF-8": b"\xff",
    "nothing": b"",
    "a list": [],
    "a number": 5,
    "nested too deeply": b"[" * 100_000,
    "no objects": {"repository": "r", "path": "/", "revision": 1},
    "objects that are a number": {"repository": "r", "path": "/", "revision": 1, "objects": 5},
    "a repository that is a number": {"repository": 1, "path": "/", "revision": 1, "objects": []},
    "a path that is a list": {"repository": "r", "path": [], "revision": 1, "objects": []},
    "a revision that is text": {"repository": "r", "path": "/", "revision": "1", "objects": []},
    "more": {"repository": "r", "path": "/", "revision": 1, "objects": [], "more": 1},
}


@pytest.mark.parametrize("record", PINS.values(), ids=PINS.keys())
def test_odd_pins(record: Any, cache: Path) -> None:
    content = record if isinstance(record, bytes) else json.dumps(record).encode()
    damaged = cache / "pins" / ("0" * 40 + ".json")
    damaged.write_bytes(content)
    with ObjectStore(str(cache)) as store:
        store.pins.hold(Pin("r", "/good", 1, (NAME,)))
        assert [pin.path for pin in store.pins.all()] == ["/good"]
        found = verify(store, Progress("", "", quiet=True))
        assert [fault.path for fault in found.faults] == [str(damaged)]
        assert not damaged.exists()
        store.pins.release_all()
        assert os.listdir(cache / "pins") == ["lock"]


# File systems that can't keep what marks an object


def clamp(monkeypatch: pytest.MonkeyPatch, first: int, unit: int) -> None:
    """Have no times before *first* (seconds), and in units of so many nanoseconds."""
    real = os.utime

    def utime(path: str | bytes, *, ns: tuple[int, int]) -> None:
        modified = max(first * intact.SECOND, ns[1])
        real(path, ns=(ns[0], modified - modified % unit))

    monkeypatch.setattr(os, "utime", utime)


def test_a_file_system_without_times_before_1980(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FAT, which has units of two seconds, and no hard links."""
    clamp(monkeypatch, 315_532_800, 2 * intact.SECOND)

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    use(tmp_path / "cache")
    with ObjectStore(str(tmp_path / "cache")) as store:
        assert store.mark == intact.LATER_MARK
        assert store.find(NAME)
        assert open_view(store, "file") == CONTENT


def test_a_file_system_without_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clamp(monkeypatch, 1_700_000_000, 1)
    with pytest.raises(PyparrotError, match="keeps no modes or times"):
        ObjectStore(str(tmp_path / "cache"))


def test_a_cache_that_was_moved_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched again and again."""
    os.unlink(cache / OBJECT)
    clamp(monkeypatch, 1_700_000_000, 1)
    with ObjectStore(str(cache)) as store, pytest.raises(PyparrotError, match="does not keep"):
        fetch(store)


@pytest.mark.parametrize("mark", intact.MARKS)
def test_marks_can_be_kept(mark: int) -> None:
    """By what has 32 bits for seconds, with a sign or without."""
    assert 0 < mark < (1 << 31) * intact.SECOND
    assert mark % intact.SECOND == 0


def test_what_lies_in_the_way_is_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine\n")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    owned.remove(str(inside))
    assert (outside / "file").read_text() == "mine\n"
    assert not inside.exists()
    assert owned.remove(str(inside)) == 0

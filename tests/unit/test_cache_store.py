"""The object store: what has a name is there and whole; what goes, and what stays."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from pyparrot.cache.ledger import Ledger
from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path / "cache"))


def put(store: ObjectStore, name: str, content: bytes = b"content") -> str:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(content)
        return ObjectName(name)

    return store.write(fill)


def names(store: ObjectStore) -> list[str]:
    return sorted(record.name for record in store.records())


def pinned(store: ObjectStore) -> list[str]:
    return sorted(record.name for record in store.records() if record.pinned)


def test_object_appears_whole(store: ObjectStore) -> None:
    assert store.find(ObjectName("aabb")) is None
    path = put(store, "aabb", b"text")
    assert store.find(ObjectName("aabb")) == path == store.path(ObjectName("aabb"))
    assert Path(path).read_bytes() == b"text"
    assert os.stat(path).st_mode & 0o777 == 0o500
    assert store.name(path) == "aabb"


def test_what_is_not_added_leaves_nothing(store: ObjectStore) -> None:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(b"half")
        raise OSError(errno.EIO, "the other half does not come")

    with pytest.raises(OSError, match="does not come"):
        store.write(fill)
    assert os.listdir(os.path.join(store.directory, "txn")) == []
    assert names(store) == []


def test_names_by_prefix(store: ObjectStore) -> None:
    for name in ("aabbC", "aabbC.1.1", "aabc", "bbaa"):
        put(store, name)
    assert store.names("aabbC") == ["aabbC", "aabbC.1.1"]
    assert store.names("aa") == ["aabbC", "aabbC.1.1", "aabc"]
    assert store.names("cc") == []


def test_the_first_by_prefix_that_is_intact(store: ObjectStore) -> None:
    put(store, "aabbT.1.x")
    second = put(store, "aabbT.1.y")
    put(store, "aabbT.11.a")
    Path(store.path(ObjectName("aabbT.1.x"))).touch()
    assert store.find_first("aabbT.1.") == second
    assert store.names("aabbT.1.") == ["aabbT.1.y"]
    assert store.find_first("aabbT.2.") is None
    assert store.find_first("ccT.2.") is None


def test_a_file_is_made_or_not(store: ObjectStore) -> None:
    def make(path: str) -> ObjectName:
        Path(path).write_bytes(b"made")
        return ObjectName("aa01")

    def make_none(path: str) -> None:
        Path(path).write_bytes(b"half")

    assert store.make(make) == store.find(ObjectName("aa01"))
    assert store.make(make_none) is None
    assert os.listdir(store.file("txn")) == []


def test_an_object_is_written_again_when_there_is_room(store: ObjectStore) -> None:
    put(store, "bb01", bytes(100_000))
    full = [OSError(errno.ENOSPC, "full")]

    def fill(file: BinaryIO) -> ObjectName:
        file.write(b"content")
        if full:
            raise full.pop()
        return ObjectName("aa01")

    assert Path(store.write(fill)).read_bytes() == b"content"
    assert names(store) == ["aa01"]


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), quota=1_000_000) as store:
        for name in ("aa01", "aa02", "aa03"):
            put(store, name, bytes(300_000))
            store.flush()
            time.sleep(0.01)
        put(store, "aa04", bytes(300_000))
        store.flush()
        # 1.2 MB where 1 MB may be: half of the quota is made free.
        assert names(store) == ["aa04"]
        assert store._usage.ledger.size <= 500_000


def test_use_counts(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), quota=1_000_000) as store:
        for name in ("aa01", "aa02", "aa03"):
            put(store, name, bytes(100_000))
            store.flush()
            time.sleep(0.01)
        assert store.find(ObjectName("aa01")) is not None
        store.flush()
        store.evict(200_000)
        assert names(store) == ["aa01"]


def test_pinned_objects_stay(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), quota=1_000_000) as store:
        put(store, "aa01", bytes(300_000))
        store.pin([ObjectName("aa01"), ObjectName("never there")])
        assert pinned(store) == ["aa01"]
        for number in range(2, 8):
            put(store, f"aa0{number}", bytes(300_000))
            store.flush()
        assert "aa01" in names(store)
        store.evict(10_000_000)
        assert names(store) == ["aa01"]
        put(store, "aa01", bytes(300_000))  # somebody else has fetched it, too
        assert pinned(store) == ["aa01"]
        store.pin([ObjectName("aa01")], False)
        assert pinned(store) == []
        store.evict(10_000_000)
        assert names(store) == []


def test_clear_keeps_pins_and_open_files(store: ObjectStore) -> None:
    put(store, "aa01", b"pinned")
    path = put(store, "aa02", b"open")
    store.pin([ObjectName("aa01")])
    with open(path, "rb") as file:
        assert store.clear() == (1, 4)
        assert file.read() == b"open"
    assert names(store) == ["aa01"]
    assert store.find(ObjectName("aa02")) is None
    assert store.clear(everything=True) == (1, 6)
    assert names(store) == []
    assert store.find(ObjectName("aa01")) is None


def lose(store: ObjectStore, name: str) -> Path:
    """An object that the ledger does not know."""
    path = Path(store.path(ObjectName(name)))
    path.parent.mkdir(0o700)
    path.write_bytes(b"lost")
    path.chmod(0o600)
    return path


def test_clear_takes_what_the_ledger_has_missed(store: ObjectStore) -> None:
    """A process that was killed has told the ledger nothing."""
    path = lose(store, "bb01")
    assert store.clear() == (1, 4)
    assert not path.exists()


def test_reconcile(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "aa01")
    gone = put(store, "aa02")
    store.pin([ObjectName("aa01")])
    os.unlink(gone)
    lose(store, "bb01")
    stale = Path(store.directory, "txn", "1.2.3")
    stale.write_bytes(b"")
    monkeypatch.setattr("pyparrot.cache.transactions.STALE_SECONDS", -1)
    store.reconcile()
    assert names(store) == ["aa01", "bb01"]
    assert pinned(store) == ["aa01"]
    assert not stale.exists()


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    first, second = (ObjectStore(str(tmp_path / "cache")) for _ in range(2))
    put(first, "aa01")
    assert second.find(ObjectName("aa01")) is not None
    put(second, "aa01")
    first.close()
    second.close()
    assert names(ObjectStore(str(tmp_path / "cache"))) == ["aa01"]


def test_full_disk_makes_room_once(store: ObjectStore) -> None:
    attempts = []

    def write() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError(errno.ENOSPC, "full")
        return "written"

    with pytest.raises(OSError, match="full"):
        store.with_space(write)
    put(store, "aa01")
    attempts.clear()
    assert store.with_space(write) == "written"
    assert names(store) == []


def test_discard(store: ObjectStore) -> None:
    path = put(store, "aa01")
    store.flush()
    store.discard(ObjectName("aa01"))
    store.discard(ObjectName("aa01"))
    assert not os.path.exists(path)
    assert names(store) == []


def test_others_may_not_write(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(PyparrotError, match="others may write to it"):
        ObjectStore(str(directory))


def test_not_a_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PyparrotError, match="not a cache, and not empty"):
        ObjectStore(str(tmp_path))


def test_cache_of_another_version(store: ObjectStore) -> None:
    store.write_file("version", b"77\n")
    with pytest.raises(PyparrotError, match="another version"):
        ObjectStore(store.directory)


# What must not matter


def test_what_was_written_to_is_gone(store: ObjectStore) -> None:
    path = Path(put(store, "aa01", b"text"))
    path.chmod(0o600)
    path.write_bytes(b"test")
    assert store.find(ObjectName("aa01")) is None
    assert not path.exists()
    assert names(store) == []


def test_a_wrong_size_is_as_bad_as_none(store: ObjectStore) -> None:
    put(store, "aa01", b"text")
    assert store.find(ObjectName("aa01"), 4) is not None
    assert store.find(ObjectName("aa01"), 5) is None
    assert store.find(ObjectName("aa01")) is None


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_ledger_is_made_anew(damage: bytes, tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), quota=1_000_000) as store:
        put(store, "aa01", bytes(300_000))
    for file in (tmp_path / "cache" / "ledger").iterdir():
        file.unlink()
    (tmp_path / "cache" / "ledger" / "cache.db").write_bytes(damage)
    with ObjectStore(str(tmp_path / "cache"), quota=1_000_000) as store:
        for number in range(2, 8):
            put(store, f"aa0{number}", bytes(300_000))
            store.flush()
        assert store.find(ObjectName("aa07"))
        assert sum(status.st_size for _, status in store.files()) <= 1_000_000
        assert names(store) == sorted(name for name, _ in store.files())


def test_a_ledger_that_can_t_be_written(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk: objects come and go, and it is told once that works again."""
    put(store, "aa01", bytes(100_000))
    store.flush()

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        for name in ("add", "use", "remove", "records", "pin"):
            patch.setattr(Ledger, name, refuse)
        put(store, "aa02", bytes(100_000))
        assert store.find(ObjectName("aa01"))
        store.flush()
        assert store.evict_half()
        store.discard(ObjectName("aa02"))
    put(store, "aa03", bytes(100_000))
    store.reconcile()
    assert names(store) == sorted(name for name, _ in store.files())
    assert "aa03" in names(store)


def test_pins_hold_without_the_ledger(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("aa01", "aa02"):
        put(store, name, bytes(100_000))
    store.write_file(
        "pins/x.json",
        b'{"repository": "r", "path": "/", "revision": 1, "objects": ["aa01"]}',
    )

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Ledger, "records", refuse)
    store.evict(10_000_000)
    assert [name for name, _ in store.files()] == ["aa01"]


def test_eviction_takes_what_the_ledger_has_missed(tmp_path: Path) -> None:
    """Killed processes have told the ledger nothing, but the disk is full of what they added."""
    lost = ObjectStore(str(tmp_path / "cache"))
    put(lost, "aa01", bytes(900_000))
    lost._usage._added.clear()  # as if it had been killed
    with ObjectStore(str(tmp_path / "cache"), quota=1_000_000) as store:
        assert store.evict_half()
        assert list(store.files()) == []


def test_the_quota_counts_at_once(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), quota=1_600_000) as store:
        for number in range(100):
            put(store, f"aa{number:02}", bytes(100_000))
            assert sum(status.st_size for _, status in store.files()) <= 1_800_000
        # What alone is more than all may stay until something else comes.
        put(store, "bb00", bytes(5_000_000))
        assert store.find(ObjectName("bb00"))
        put(store, "bb01", bytes(100_000))
        store.flush()
        assert store.find(ObjectName("bb00")) is None


def test_a_small_file_on_a_full_disk(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "aa01", bytes(100_000))
    full = [OSError(errno.ENOSPC, "full")]

    def replace(*names: str) -> None:
        if full:
            raise full.pop()
        os.rename(*names)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        store.write_file("manifests/x", b"content")
    assert Path(store.file("manifests", "x")).read_bytes() == b"content"
    assert os.listdir(store.file("txn")) == []

"""The object store: what has a name is there and whole; what goes, and what stays."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from pyparrot.cache import ObjectStore
from pyparrot.errors import PyparrotError


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path / "cache"))


def put(store: ObjectStore, name: str, content: bytes = b"content") -> str:
    with store.writing() as file:
        file.write(content)
        file.flush()
        return store.add(name, file.name)


def names(store: ObjectStore) -> list[str]:
    return sorted(record.name for record in store.records())


def pinned(store: ObjectStore) -> list[str]:
    return sorted(record.name for record in store.records() if record.pinned)


def test_object_appears_whole(store: ObjectStore) -> None:
    assert store.find("aabb") is None
    path = put(store, "aabb", b"text")
    assert store.find("aabb") == path == store.path("aabb")
    assert Path(path).read_bytes() == b"text"
    assert os.stat(path).st_mode & 0o777 == 0o400
    assert store.name(path) == "aabb"


def test_what_is_not_added_leaves_nothing(store: ObjectStore) -> None:
    with store.writing() as file:
        file.write(b"half")
    assert os.listdir(os.path.join(store.directory, "txn")) == []
    assert names(store) == []


def test_names_by_prefix(store: ObjectStore) -> None:
    for name in ("aabbC", "aabbC.1.1", "aabc", "bbaa"):
        put(store, name)
    assert store.names("aabbC") == ["aabbC", "aabbC.1.1"]
    assert store.names("aa") == ["aabbC", "aabbC.1.1", "aabc"]
    assert store.names("cc") == []


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), quota=1000) as store:
        for name in ("aa01", "aa02", "aa03"):
            put(store, name, bytes(300))
            store.flush()
            time.sleep(0.01)
        put(store, "aa04", bytes(300))
        store.flush()
        # 1200 bytes where 1000 may be: half of the quota is made free.
        assert names(store) == ["aa04"]
        assert store.ledger.size <= 500


def test_use_counts(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), quota=1000) as store:
        for name in ("aa01", "aa02", "aa03"):
            put(store, name, bytes(100))
            store.flush()
            time.sleep(0.01)
        assert store.find("aa01") is not None
        store.flush()
        store.evict(200)
        assert names(store) == ["aa01"]


def test_pinned_objects_stay(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), quota=1000) as store:
        put(store, "aa01", bytes(300))
        store.pin(["aa01", "never there"])
        assert pinned(store) == ["aa01"]
        for number in range(2, 8):
            put(store, f"aa0{number}", bytes(300))
            store.flush()
        assert "aa01" in names(store)
        store.evict(10_000)
        assert names(store) == ["aa01"]
        put(store, "aa01", bytes(300))  # somebody else has fetched it, too
        assert pinned(store) == ["aa01"]
        store.pin(["aa01"], False)
        assert pinned(store) == []
        store.evict(10_000)
        assert names(store) == []


def test_clear_keeps_pins_and_open_files(store: ObjectStore) -> None:
    put(store, "aa01", b"pinned")
    path = put(store, "aa02", b"open")
    store.pin(["aa01"])
    with open(path, "rb") as file:
        assert store.clear() == (1, 4)
        assert file.read() == b"open"
    assert names(store) == ["aa01"]
    assert store.find("aa02") is None
    assert store.clear(everything=True) == (1, 6)
    assert names(store) == []
    assert store.find("aa01") is None


def test_clear_takes_what_the_ledger_has_missed(store: ObjectStore) -> None:
    """A process that was killed has told the ledger nothing."""
    path = Path(store.path("bb01"))
    path.parent.mkdir()
    path.write_bytes(b"lost")
    assert store.clear() == (1, 4)
    assert not path.exists()


def test_reconcile(store: ObjectStore) -> None:
    put(store, "aa01")
    gone = put(store, "aa02")
    store.pin(["aa01"])
    os.unlink(gone)
    lost = Path(store.path("bb01"))
    lost.parent.mkdir()
    lost.write_bytes(b"lost")
    stale = Path(store.directory, "txn", "1.2.3")
    stale.write_bytes(b"")
    os.utime(stale, (0, 0))
    store.reconcile()
    assert names(store) == ["aa01", "bb01"]
    assert pinned(store) == ["aa01"]
    assert not stale.exists()


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    first, second = (ObjectStore(str(tmp_path / "cache")) for _ in range(2))
    put(first, "aa01")
    assert second.find("aa01") is not None
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
    store.discard("aa01")
    store.discard("aa01")
    assert not os.path.exists(path)
    assert names(store) == []


def test_others_may_not_write(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(PyparrotError, match="others may write to this cache"):
        ObjectStore(str(directory))


def test_not_a_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PyparrotError, match="not a cache, and not empty"):
        ObjectStore(str(tmp_path))


def test_cache_of_another_version(store: ObjectStore) -> None:
    store.write_file("version", b"77\n")
    with pytest.raises(PyparrotError, match="another version"):
        ObjectStore(store.directory)

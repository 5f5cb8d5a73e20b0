"""All that is in a cache is in its quota, and goes with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from pyparrot.cache import stale_views, usage, views
from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore

MEGABYTE = 1 << 20
FIXED = 2 * MEGABYTE
"""What no quota takes away: the database and its journal, and the directories of objects."""


def put(store: ObjectStore, name: str, size: int) -> str:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(os.urandom(size))
        return ObjectName(name)

    return store.write(fill)


def blocks(directory: Path) -> int:
    """What ``du`` says, in bytes."""
    seen = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def make_view(store: ObjectStore, path: str, name: str = "aa01", size: int = 100) -> None:
    view = os.path.join(views.directory(store), path)

    def body() -> str:
        return store.find(ObjectName(name)) or put(store, name, size)

    views.make(store, os.fsencode(view), 0o100644, b"", body)


def test_small_objects_count_by_their_blocks(tmp_path: Path) -> None:
    quota = 4 * MEGABYTE
    with ObjectStore(str(tmp_path / "cache"), quota) as store:
        for number in range(3000):
            put(store, f"aa{number:04}", 10)
    assert blocks(tmp_path / "cache") <= quota + FIXED


def test_directories_of_views_count(tmp_path: Path) -> None:
    """Names in a deep tree, all of one small file, whose views are copies."""
    with ObjectStore(str(tmp_path / "cache"), 4 * MEGABYTE) as store:
        for number in range(600):
            make_view(store, f"v/{number}/a/b/file")
    assert blocks(tmp_path / "cache") <= 4 * MEGABYTE + FIXED


def test_links_count(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), 4 * MEGABYTE) as store:
        for number in range(600):
            make_view(store, f"v/{number}/a/b/file", f"aa{number:03}")
    assert blocks(tmp_path / "cache") <= 4 * MEGABYTE + FIXED


@pytest.mark.parametrize("guard", [None, b"core"])
def test_unused_views_go_first(
    guard: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object that they are of stays: to fetch it again costs more than to make a view."""
    for module in (stale_views, views):
        monkeypatch.setattr(module, "core_name", lambda: guard)
    with ObjectStore(str(tmp_path / "cache"), 8 * MEGABYTE) as store:
        body = put(store, "aa01", 100)
        for number in range(200):
            make_view(store, f"v/{number}/file")
        assert store.evict(10_000) > 10_000
        assert os.path.exists(body)
        assert os.listdir(views.directory(store)) == []


def test_views_in_use_stay(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), 100 * MEGABYTE) as store:
        old = put(store, "aa01", 100_000)
        put(store, "aa02", 100_000)
        make_view(store, "v/old/file")
        time.sleep(0.05)
        make_view(store, "v/new/file", "aa02")
        store.evict(50_000)
        assert not os.path.exists(old)
        top = Path(views.directory(store))
        assert not (top / "v" / "old" / "file").exists()
        assert (top / "v" / "new" / "file").exists()


def test_what_keeps_core_files_away_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (stale_views, views):
        monkeypatch.setattr(module, "core_name", lambda: b"core")
    with ObjectStore(str(tmp_path / "cache"), 100 * MEGABYTE) as store:
        make_view(store, "v/d/file")
        top = Path(views.directory(store))
        stale_views.prune(str(top), (), (top / "v").stat().st_ctime)
        assert (top / "v" / "d" / "core").is_dir()
        stale_views.prune(str(top), (), time.time() + 1)
        assert os.listdir(top) == []


def test_what_is_larger_than_the_quota_goes_at_the_end(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache"), 4 * MEGABYTE) as store:
        put(store, "aa01", 100)
        large = put(store, "aa02", 10 * MEGABYTE)
        make_view(store, "v/large", "aa02")
        store.flush()
        assert store.find(ObjectName("aa02"))
        with open(os.path.join(views.directory(store), "v", "large"), "rb") as reader:
            store.close()
            assert not os.path.exists(large)
            assert len(reader.read()) == 10 * MEGABYTE
    assert blocks(tmp_path / "cache") <= 4 * MEGABYTE + FIXED


ADD = """
import os, sys
from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
store = ObjectStore(sys.argv[1], 1 << 20)
def fill(file):
    file.write(bytes(50_000))
    return ObjectName(sys.argv[2])
store.write(fill)
os.kill(os.getpid(), 9)
"""


def test_what_killed_processes_have_added_counts(tmp_path: Path) -> None:
    """They told the ledger nothing, many times over."""
    for number in range(30):
        command = [sys.executable, "-c", ADD, str(tmp_path / "cache"), f"aa{number:02}"]
        assert subprocess.run(command, check=False, timeout=60).returncode == -9
    size = sum(path.stat().st_size for path in (tmp_path / "cache" / "objects").rglob("??"))
    assert size <= MEGABYTE + 100_000
    with ObjectStore(str(tmp_path / "cache"), MEGABYTE) as store:
        put(store, "bb01", 10)
    left = [name for name in os.listdir(tmp_path / "cache" / "ledger") if "untold" in name]
    assert left == []


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many objects are used before anything is flushed, and if the ledger can't be told."""
    with ObjectStore(str(tmp_path / "cache")) as store:
        put(store, "aa01", 10)
        for number in range(20_000):
            store._usage.use(ObjectName(f"aa{number}"))
        assert len(store._usage._used) <= usage._MOST_USED
        monkeypatch.setattr(store._usage, "_tell", lambda _: None)
        monkeypatch.setattr(usage, "_MOST_UNTOLD", 500)
        for number in range(3000):
            if store._usage.add(ObjectName(f"aa{number:05}"), 10, 0):
                store._usage.flush()
        assert len(store._usage._added) <= 500 + 256
        for number in range(20_000):
            store.note_trusted(str(number))
        assert len(store.trusted) <= 4096
        monkeypatch.undo()


def test_a_ledger_that_can_t_be_written_is_no_way_round_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ObjectStore(str(tmp_path / "cache"), 4 * MEGABYTE) as store:
        monkeypatch.setattr(store._usage, "_tell", lambda _: None)
        for number in range(400):
            put(store, f"aa{number:03}", 50_000)
        assert sum(status.st_size for _, status in store.files()) <= 5 * MEGABYTE
        monkeypatch.undo()


def test_a_cache_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache")) as store:
        put(store, "aa01", 10)
        subprocess.run(["rm", "-rf", str(tmp_path / "cache")], check=True)
    assert not (tmp_path / "cache").exists()

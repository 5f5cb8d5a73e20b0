"""A check of the cache keeps what is right, of whatever kind, and counts it as what it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from support import run_pyparrot
from support.libraries import CALLS, SHIM, assembled

from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
from pyparrot.cache.verify import verify
from pyparrot.core import ffi
from pyparrot.libc.copies import LibcCopies
from pyparrot.progress import Progress
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.directory import LocalDirectory

OLD_NAMES = (f"{'ab' * 20}L", "0123456789abcdef0123456789abcdefP.1d2c38.89abcdef1234")
"""What copies of local files and of C libraries were called before names had checksums."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(str(tmp_path / "cache")) as opened:
        yield opened


def put(store: ObjectStore, name: str, content: bytes) -> Path:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(content)
        return ObjectName(name)

    return Path(store.write(fill))


def copy_of_library(store: ObjectStore, tmp_path: Path) -> Path:
    library = tmp_path / "library"
    if not library.exists():
        library.mkdir()
        assembled(library, CALLS)
    substitution: Any = ffi.new("struct pp_substitution *")
    (file,) = library.glob("*.so")
    with open(file, "rb") as opened:
        LibcCopies(store, str(SHIM), substitution).add(opened.fileno())
    return Path(os.fsdecode(ffi.string(substitution.copies[0].file)))


def copy_of_file(store: ObjectStore, tmp_path: Path) -> Path:
    top = tmp_path / "top"
    top.mkdir(exist_ok=True)
    if not (top / "file").exists():
        (top / "file").write_bytes(b"content\n" * 1000)
    return Path(LocalDirectory(str(top), b"/top", store).fetch("/file"))


COPIES = [copy_of_library, copy_of_file]


def cache(action: str, *words: str, store: ObjectStore) -> Any:
    result = run_pyparrot(["cache", action, *words, "--cache", store.directory])
    assert result.status == 0, result
    return json.loads(result.out) if "--json" in words else result.out


@pytest.mark.parametrize("copy", COPIES)
def test_what_is_right_stays(copy: Any, store: ObjectStore, tmp_path: Path) -> None:
    path = copy(store, tmp_path)
    store.flush()
    assert cache("verify", store=store).endswith(": 0 corrupt\n")
    assert path.exists()
    assert copy(store, tmp_path) == path


def test_each_is_counted_as_what_it_is(store: ObjectStore, tmp_path: Path) -> None:
    for copy in COPIES:
        copy(store, tmp_path)
    store.flush()
    kinds = {"copies of C libraries": 1, "copies of local files": 1}
    assert cache("info", "--json", store=store)["kinds"] == kinds
    listed = cache("list", "--json", store=store)
    assert sorted(each["kind"] for each in listed) == sorted(kinds)


@pytest.mark.parametrize("copy", COPIES)
def test_what_changes_on_the_disk_is_found(copy: Any, store: ObjectStore, tmp_path: Path) -> None:
    path = copy(store, tmp_path)
    content = bytearray(path.read_bytes())
    status = path.stat()
    content[len(content) // 2] ^= 1
    path.chmod(0o700)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    name = store.name(str(path))
    assert store.find(name)
    found = verify(store, Progress("", "", quiet=True))
    assert (found.corrupt, found.doubtful) == ((name,), ())
    assert not path.exists()
    assert copy(store, tmp_path) == path
    assert verify(store, Progress("", "", quiet=True)).corrupt == ()


def test_what_is_of_no_known_kind_goes(store: ObjectStore) -> None:
    path = put(store, "strange", b"?")
    found = verify(store, Progress("", "", quiet=True))
    assert (found.objects, found.bytes, found.doubtful) == (1, 1, ("strange",))
    assert not path.exists()


@pytest.mark.parametrize("name", OLD_NAMES)
def test_a_cache_of_an_older_version(name: str, store: ObjectStore, tmp_path: Path) -> None:
    """What is found under its old name is found; the rest can be counted, and goes in time."""
    packed = b"text"
    body = put(store, str(Algorithm.SHA1.of(packed)), packed)
    old = put(store, name, b"old")
    store.write_file(
        "pins/x.json",
        json.dumps(
            {"repository": "r", "path": "/", "revision": 1, "objects": [store.name(str(body))]}
        ).encode(),
    )
    store.flush()
    assert cache("info", "--json", store=store)["kinds"] == {"files": 1, "other": 1}
    assert cache("list", store=store).count("\n") == 2
    for copy in COPIES:
        copy(store, tmp_path)
    assert cache("verify", store=store).endswith(
        "0 corrupt, 1 dropped as nothing vouches for them\n"
    )
    assert not old.exists()
    assert body.exists()
    assert [record.name for record in store.records() if record.pinned] == [store.name(str(body))]
    put(store, name, b"old")
    store.evict(1 << 30)
    assert [name for name, _ in store.files()] == [store.name(str(body))]

"""A check of the cache keeps what is right, of whatever kind, and counts it as what it is."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from support import run_pyparrot
from support.libraries import CALLS, SHIM, assembled

from pyparrot.cache import views
from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
from pyparrot.cache.verify import verify
from pyparrot.core import ffi
from pyparrot.libc.copies import LibcCopies
from pyparrot.libc.interpreter import copy_with_interpreter
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
        copies = LibcCopies(store, str(SHIM), substitution)
        copies.add(opened.fileno())
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
    kinds = {"copies of C libraries": 1, "copies of local files": 1, "records of C libraries": 1}
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


# Views


def rewrite(path: Path, content: bytes, *, keep_time: bool) -> None:
    status = path.stat()
    path.chmod(0o700)
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.chmod(0o500)


def check(store: ObjectStore) -> list[tuple[str, str]]:
    found = verify(store, Progress("", "", quiet=True))
    return [(os.path.relpath(fault.path, store.directory), fault.why) for fault in found.faults]


@pytest.fixture
def copied(store: ObjectStore, tmp_path: Path) -> dict[str, Path]:
    """Views: a link, a copy of a small body, and a copy of a program for another interpreter."""
    body = str(copy_of_file(store, tmp_path))
    top = Path(views.directory(store))
    for name in ("link", "copy"):
        views.make(store, os.fsencode(top / "v" / name), 0o100644, b"", lambda: body)
    views.make_file(
        store,
        os.fsencode(top / "v.x" / "state" / "program"),
        lambda name: copy_with_interpreter(b"/bin/true", name, b"/interpreter"),
    )
    return {
        "link": top / "v" / "link",
        "copy": top / "v" / "copy",
        "program": top / "v.x" / "state" / "program",
    }


def test_views_that_are_right_stay(store: ObjectStore, copied: dict[str, Path]) -> None:
    assert copied["copy"].stat().st_nlink == copied["program"].stat().st_nlink == 1
    assert copied["link"].stat().st_nlink == 2
    found = verify(store, Progress("", "", quiet=True))
    assert (found.views, found.faults, found.doubtful) == (3, (), ())
    assert all(path.exists() for path in copied.values())


@pytest.mark.parametrize("keep_time", [False, True])
@pytest.mark.parametrize("which", ["copy", "program"])
def test_views_with_content_of_their_own(
    which: str, keep_time: bool, store: ObjectStore, copied: dict[str, Path]
) -> None:
    """Also where hard links can't be made, for then all views are such."""
    path = copied[which]
    content = path.read_bytes()
    rewrite(path, content[:-1] + bytes([content[-1] ^ 1]), keep_time=keep_time)
    why = "corrupt" if keep_time else "written to"
    assert check(store) == [(os.path.relpath(path, store.directory), why)]
    assert not path.exists()
    assert all(other.exists() for name, other in copied.items() if name != which)
    assert check(store) == []


def test_a_view_that_was_copied_from_a_corrupt_object_goes(
    store: ObjectStore, copied: dict[str, Path]
) -> None:
    """Its checksum is that of the corrupt content."""
    (body,) = (store.path(name) for name, status in store.files() if status.st_nlink == 2)
    rewrite(copied["link"], b"CONTENT\n" * 1000, keep_time=True)
    late = copied["link"].with_name("late")
    views.make(store, os.fsencode(late), 0o100644, b"", lambda: body)
    assert late.stat().st_nlink == 1
    found = dict(check(store))
    assert sorted(found.values()) == ["a copy of what is corrupt", "corrupt"]
    assert not late.exists()
    assert copied["copy"].exists()


def test_a_view_that_is_a_link_goes_with_its_object(
    store: ObjectStore, copied: dict[str, Path]
) -> None:
    rewrite(copied["link"], b"CONTENT\n" * 1000, keep_time=True)
    ((path, why),) = check(store)
    assert path.startswith("objects/")
    assert why == "corrupt"
    assert not copied["link"].exists()


def test_it_goes_on_behind_what_it_can_t_read(
    store: ObjectStore, copied: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [put(store, f"{number:02x}" * 20 + "L.00000000", b"bad") for number in range(5)]
    broken = names[1]
    real = open

    def refuse(file: Any, *more: Any, **most: Any) -> Any:
        if str(file) == str(broken):
            raise OSError(errno.EIO, os.strerror(errno.EIO), file)
        return real(file, *more, **most)

    monkeypatch.setattr("builtins.open", refuse)
    found = check(store)
    assert found == [
        (os.path.relpath(path, store.directory), reason)
        for path, reason in zip(
            names, ["corrupt", "can't be read: Input/output error", *["corrupt"] * 3]
        )
    ]
    assert not any(path.exists() for path in names)


def test_what_does_not_belong_there(store: ObjectStore, copied: dict[str, Path]) -> None:
    strange = Path(store.directory, "objects", "strange")
    strange.write_text("what is this?\n")
    link = Path(store.directory, "objects", "bb")
    link.symlink_to("/tmp")
    wanted = [(f"objects/{name}", "not what belongs there") for name in ("bb", "strange")]
    assert sorted(check(store)) == wanted
    assert not strange.exists()
    assert not link.is_symlink()


def test_a_file_system_that_keeps_no_nanoseconds(
    store: ObjectStore, copied: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing vouches for copies there, so they are made anew; that is no fault."""
    os.utime(copied["copy"], ns=(0, store.mark))
    assert check(store) == []
    assert not copied["copy"].exists()
    assert copied["program"].exists()

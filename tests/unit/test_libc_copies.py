"""Which copies of libraries are served: made once, and found again in the cache."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.libraries import CALLS, SHIM, assembled, check_segments, function, shim_of

from pyparrot.cache.store import ObjectStore
from pyparrot.cache.verify import verify
from pyparrot.core import ffi, lib
from pyparrot.libc import copy as copying
from pyparrot.libc.copies import LibcCopies
from pyparrot.libc.image import Image
from pyparrot.progress import Progress


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(str(tmp_path / "cache")) as opened:
        yield opened


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of sites of each library that was looked at."""
    counts: list[int] = []

    def make(source: str, shim: str, target: str) -> int:
        counts.append(real(source, shim, target))
        return counts[-1]

    real = copying.make_copy
    monkeypatch.setattr(copying, "make_copy", make)
    return counts


class Session:
    """The libraries of a session, and what its engine is told of them."""

    def __init__(self, store: ObjectStore, shim: Path = SHIM) -> None:
        self.substitution = ffi.new("struct pp_substitution *")
        self.libraries = LibcCopies(store, str(shim), self.substitution)

    def add(self, file: Path) -> None:
        with open(file, "rb") as opened:
            self.libraries.add(opened.fileno())

    @property
    def copies(self) -> list[Path | None]:
        """The copy of each library, in the order of their coming."""
        files = [self.substitution.copies[i].file for i in range(self.substitution.copies_count)]
        return [Path(os.fsdecode(ffi.string(file))) if file else None for file in files]


def library(directory: Path, text: str = CALLS, build: str = "none") -> Path:
    directory.mkdir()
    return assembled(directory, text, f"-Wl,--build-id={build}")


# Copies


def test_a_copy_is_served(tmp_path: Path, store: ObjectStore) -> None:
    source = library(tmp_path / "given", build="0x0123456789abcdef")
    session = Session(store)
    session.add(source)
    (copy,) = session.copies
    assert copy is not None
    images = [Image(each.read_bytes()) for each in (source, copy, SHIM)]
    check_segments(*images)
    status, told = source.stat(), session.substitution.copies[0]
    assert (told.device, told.inode, told.size) == (status.st_dev, status.st_ino, status.st_size)
    assert (told.modified, told.changed) == (status.st_mtime_ns, status.st_ctime_ns)
    assert Path(store.directory) in copy.parents
    assert not list((tmp_path / "cache" / "txn").iterdir())


def test_it_is_made_once(tmp_path: Path, store: ObjectStore, made: list[int]) -> None:
    source = library(tmp_path / "given", build="0x0123456789abcdef")
    sessions = [Session(store), Session(store)]
    for session in sessions:
        session.add(source)
        session.add(source)
    assert made == [4]
    assert len(sessions[0].copies) == 1
    assert sessions[1].copies == sessions[0].copies
    # The same build at another place, and one that is newer than what was seen.
    shutil.copy(source, tmp_path / "twin.so")
    sessions[0].add(tmp_path / "twin.so")
    os.utime(source, ns=(1, 1))
    sessions[0].add(source)
    assert made == [4]
    assert sessions[0].copies == 3 * sessions[1].copies
    assert [sessions[0].substitution.copies[i].inode for i in range(3)] == [
        source.stat().st_ino,
        (tmp_path / "twin.so").stat().st_ino,
        source.stat().st_ino,
    ]


def test_another_version_of_the_shim_makes_another_copy(
    tmp_path: Path, store: ObjectStore, made: list[int]
) -> None:
    source = library(tmp_path / "given", build="0x0123456789abcdef")
    (tmp_path / "shim").mkdir()
    other = shim_of(tmp_path / "shim", "long pp_dispatch(const void *e) { return e ? 1 : 0; }\n")
    sessions = [Session(store), Session(store, other)]
    for session, shim in zip(sessions, (SHIM, other)):
        session.add(source)
        (copy,) = session.copies
        assert copy is not None
        check_segments(*(Image(each.read_bytes()) for each in (source, copy, shim)))
    assert made == [4, 4]
    assert sessions[0].copies != sessions[1].copies


@pytest.mark.parametrize("build", ["none", "0x0123456789abcdef"])
def test_libraries_are_told_apart_by_their_content(
    tmp_path: Path, store: ObjectStore, made: list[int], build: str
) -> None:
    one = library(tmp_path / "one", CALLS + ".data\n .quad 2\n", build)
    other = library(tmp_path / "other", CALLS + ".data\n .quad 1\n", build)
    assert one.stat().st_size == other.stat().st_size
    for session in (Session(store), Session(store)):
        session.add(one)
        session.add(other)
        copies = [copy for copy in session.copies if copy is not None]
        assert len(set(copies)) == 2
        for source, copy in zip((one, other), copies):
            check_segments(*(Image(each.read_bytes()) for each in (source, copy, SHIM)))
    assert made == [4, 4]


def test_a_copy_that_was_written_to_is_made_anew(
    tmp_path: Path, store: ObjectStore, made: list[int]
) -> None:
    source = library(tmp_path / "given")
    sessions = [Session(store), Session(store)]
    sessions[0].add(source)
    (copy,) = sessions[0].copies
    assert copy is not None
    good = copy.read_bytes()
    copy.chmod(0o700)
    copy.write_bytes(b"something else")
    sessions[1].add(source)
    assert made == [4, 4]
    assert sessions[1].copies == [copy]
    assert copy.read_bytes() == good


@pytest.mark.parametrize("way", ["in place", "renamed"])
def test_a_library_that_was_edited_has_another_copy(
    tmp_path: Path, store: ObjectStore, made: list[int], way: str
) -> None:
    """It keeps its build id, size and time, and changes within a tick of the clock."""
    source = library(tmp_path / "given", CALLS + '.data\n .ascii "/old/path"\n', "0x01234567")
    edited = tmp_path / "edited.so"
    shutil.copy2(source, edited)
    edited.write_bytes(source.read_bytes().replace(b"/old/path", b"/new/path"))
    session = Session(store)
    session.add(source)
    times = (source.stat().st_atime_ns, source.stat().st_mtime_ns)
    if way == "in place":
        source.write_bytes(edited.read_bytes())
    else:
        edited.rename(source)
    os.utime(source, ns=times)
    for each in (session, Session(store)):
        each.add(source)
        assert each.copies[-1] is not None
        assert b"/new/path" in each.copies[-1].read_bytes()
    assert made == [4, 4]


def test_a_library_that_is_known_is_not_read(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = library(tmp_path / "given")
    sessions = [Session(store), Session(store)]
    sessions[0].add(source)
    monkeypatch.setattr(LibcCopies, "_read", None)
    sessions[1].add(source)
    assert sessions[1].copies == sessions[0].copies


@pytest.mark.parametrize("content", [b"", b"0" * 64, b"x" * 64, bytes(64), b"\xff" * 64])
def test_a_record_that_was_spoilt_is_made_anew(
    tmp_path: Path, store: ObjectStore, made: list[int], content: bytes
) -> None:
    source = library(tmp_path / "given")
    sessions = [Session(store), Session(store)]
    sessions[0].add(source)
    (record,) = [path for path in Path(store.directory, "objects").rglob("*S.*") if is_record(path)]
    record.chmod(0o700)
    record.write_bytes(content)
    sessions[1].add(source)
    assert sessions[1].copies == sessions[0].copies
    assert made == [4]


def is_record(path: Path) -> bool:
    return path.name.count(".") == 6


def test_what_is_recorded_and_copied_can_be_verified(tmp_path: Path, store: ObjectStore) -> None:
    Session(store).add(library(tmp_path / "given"))
    findings = verify(store, Progress("", "", quiet=True))
    assert findings.objects == 2
    assert (findings.corrupt, findings.doubtful) == ((), ())


def test_a_library_without_sites_is_known_to_have_none(
    tmp_path: Path, store: ObjectStore, made: list[int]
) -> None:
    source = library(tmp_path / "idle", function("idle", "nop"))
    session = Session(store)
    session.add(source)
    session.add(source)
    assert made == [0]
    assert session.copies == [None]
    assert session.substitution.copies[0].inode == source.stat().st_ino


def test_what_is_no_library_is_complained_about_once(tmp_path: Path, store: ObjectStore) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"no library")
    session = Session(store)
    with pytest.raises(ValueError, match=r"."):
        session.add(source)
    session.add(source)
    assert session.copies == []
    assert not list((tmp_path / "cache" / "txn").iterdir())


def test_there_is_room_for_so_many(tmp_path: Path, store: ObjectStore, made: list[int]) -> None:
    source = library(tmp_path / "given", build="0x0123456789abcdef")
    session = Session(store)
    for number in range(lib.PP_COPIES_MAX + 2):
        session.add(Path(shutil.copy(source, tmp_path / f"{number}.so")))
    assert made == [4]
    assert len(session.copies) == lib.PP_COPIES_MAX


def added_later(session: Session, file: Path) -> list[Exception]:
    """What is complained about; the thread is at its end, and has closed the descriptor."""
    complaints: list[Exception] = []
    before = set(threading.enumerate())
    descriptor = os.open(file, os.O_RDONLY)
    session.libraries.add_later(descriptor, complaints.append)
    for thread in set(threading.enumerate()) - before:
        if thread.name == "libc-copy":
            thread.join(60)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    return complaints


def test_a_copy_may_be_made_later(tmp_path: Path, store: ObjectStore) -> None:
    session = Session(store)
    assert added_later(session, library(tmp_path / "given")) == []
    assert len(session.copies) == 1
    (tmp_path / "source").write_bytes(b"no library")
    (complaint,) = added_later(session, tmp_path / "source")
    assert isinstance(complaint, ValueError)
    assert len(session.copies) == 1


def test_many_at_once(tmp_path: Path, store: ObjectStore, made: list[int]) -> None:
    files = [library(tmp_path / f"{n}", CALLS + f".data\n .quad {n}\n") for n in range(4)]
    session = Session(store)
    work: Any = [threading.Thread(target=session.add, args=(file,)) for file in 3 * files]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(60)
    assert made == 4 * [4]
    assert len(set(session.copies)) == 4
    inodes = {session.substitution.copies[i].inode for i in range(4)}
    assert inodes == {file.stat().st_ino for file in files}


# Disks that are full


def in_child(work: Callable[[], object]) -> int:
    """The status of a child that does *work*: 0, or the errno that it fails with."""
    child = os.fork()
    if child == 0:
        status = 250
        try:
            work()
            status = 0
        except OSError as error:
            status = error.errno or 251
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_no_copy_is_incomplete_whatever_fits(tmp_path: Path, store: ObjectStore) -> None:
    """With a limit on the size of files, as on a disk with so much room."""
    source = library(tmp_path / "given")
    Session(store).add(source)
    whole = max(path.stat().st_size for path in Path(store.directory, "objects").rglob("*S.*"))
    outcomes = set()
    for size in [*range(0, 200, 20), *range(200, whole, max(1, whole // 60)), whole - 1, whole]:
        store.clear(everything=True)

        def add(size: int = size) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            Session(store).add(source)

        outcomes.add(in_child(add))
        findings = verify(store, Progress("", "", quiet=True))
        assert (findings.corrupt, findings.doubtful) == ((), ()), size
        session = Session(store)
        session.add(source)
        (copy,) = session.copies
        assert copy is not None
        check_segments(*(Image(each.read_bytes()) for each in (source, copy, SHIM)))
    assert outcomes == {0, errno.EFBIG}
    assert not list(Path(store.directory, "txn").iterdir())

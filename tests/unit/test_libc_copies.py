"""Which copies of libraries are served: made once, and found again in the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.libraries import CALLS, SHIM, assembled, c_library, check_segments, function, shim_of

from pyparrot.cache.store import ObjectStore
from pyparrot.core import ffi, lib
from pyparrot.libc import copy as copying
from pyparrot.libc.copies import LibcCopies
from pyparrot.libc.elf import build_id
from pyparrot.libc.image import Image

HEAD = 65536


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


# Build ids


def test_the_build_id_of_the_c_library() -> None:
    readelf = shutil.which("readelf") or pytest.skip("no readelf")
    told = subprocess.check_output([readelf, "-n", c_library()], text=True)
    found = re.search(r"Build ID: ([0-9a-f]+)", told) or pytest.skip("it has none")
    with open(c_library(), "rb") as file:
        assert build_id(file.read(HEAD)) == found[1]


NOTE = """
    .section .note.other, "a", @note
    .balign 4
    .long 5, 3, 3
    .ascii "ABCD\\0\\0\\0\\0"
    .long 7
"""


def test_the_build_id_that_the_linker_was_given(tmp_path: Path) -> None:
    given = library(tmp_path / "given", CALLS + NOTE, "0x0123456789abcdef0123")
    assert build_id(given.read_bytes()) == "0123456789abcdef0123"
    assert build_id(library(tmp_path / "none", CALLS + NOTE).read_bytes()) is None


@pytest.mark.parametrize("head", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" * 20, bytes(100)])
def test_what_is_no_library_has_no_build_id(head: bytes) -> None:
    assert build_id(head) is None


def test_a_build_id_is_found_whole_or_not_at_all(tmp_path: Path) -> None:
    data = library(tmp_path / "given", CALLS, "0x0123456789abcdef0123").read_bytes()
    found = [build_id(data[:size]) for size in range(len(data) + 1)]
    assert set(found) == {None, "0123456789abcdef0123"}
    assert found == sorted(found, key=bool)


@pytest.fixture(scope="session")
def identified(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("identified")
    return library(directory / "made", CALLS + NOTE, "0x0123456789abcdef").read_bytes()


@given(place=st.integers(0, 1 << 20), value=st.binary(min_size=1, max_size=8))
def test_a_broken_head_has_some_build_id_or_none(
    identified: bytes, place: int, value: bytes
) -> None:
    place %= 1024
    found = build_id(identified[:place] + value + identified[place + len(value) :])
    assert found is None or re.fullmatch("([0-9a-f]{2})+", found)


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


def test_libraries_without_build_id_are_told_apart(
    tmp_path: Path, store: ObjectStore, made: list[int]
) -> None:
    one, other = library(tmp_path / "one"), library(tmp_path / "other", CALLS + ".data\n .quad 1\n")
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

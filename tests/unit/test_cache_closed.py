"""What gets a name in the cache is open for writing nowhere: else no program can run from it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from support.libraries import CALLS, SHIM, assembled

from pyparrot.cache import views
from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
from pyparrot.core import ffi
from pyparrot.libc import interpreter
from pyparrot.libc.copies import LibcCopies
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import Algorithm, Kind
from pyparrot.sources.cvmfs.objects import Objects
from pyparrot.sources.directory import LocalDirectory

CONTENT = b"#!/bin/sh\nexit 9\n"


def writers(file: str | bytes) -> list[int]:
    """The descriptors of this process through which *file* could be written to."""
    found = []
    wanted = os.stat(file)
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            status = os.fstat(int(name))
            flags = fcntl.fcntl(int(name), fcntl.F_GETFL)
            is_it = (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino)
            if is_it and flags & os.O_ACCMODE != os.O_RDONLY:
                found.append(int(name))
    return found


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What gets a name; none of it may be open for writing at that moment."""
    seen: list[str] = []
    open_still: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def call(source: str | bytes, target: str | bytes, **more: Any) -> None:
            seen.append(os.fsdecode(target))
            if writers(source):
                open_still.append(f"{name} to {os.fsdecode(target)}")
            real(source, target, **more)

        monkeypatch.setattr(os, name, call)

    for name in ("rename", "replace", "link"):
        watch(name)
    yield seen
    assert not open_still


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(str(tmp_path / "cache")) as opened:
        yield opened


def test_the_check_sees_writers(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with open(file, "wb") as writing, open(file, "rb"):
        assert writers(str(file)) == [writing.fileno()]
    with open(file, "rb"):
        assert writers(str(file)) == []


def test_objects(store: ObjectStore, named: list[str]) -> None:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(CONTENT)
        return ObjectName("aa01")

    path = store.write(fill)
    assert Path(path).read_bytes() == CONTENT
    assert named == [path]


def test_what_is_fetched(store: ObjectStore, named: list[str]) -> None:
    class Server:
        """Has one object."""

        def fetch(self, path: str, sink: Any, limit: int) -> None:
            sink.write(Compression.ZLIB.pack(CONTENT))
            sink.finish()

    server: Any = Server()
    name = Algorithm.SHA1.of(Compression.ZLIB.pack(CONTENT))
    path = Objects(store, server, None).metadata(name, Kind.METAINFO)
    assert Path(path).read_bytes() == CONTENT
    assert path in named


def test_copies_of_local_files(store: ObjectStore, named: list[str], tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "file").write_bytes(CONTENT)
    path = LocalDirectory(str(tmp_path / "top"), b"/top", store).fetch("/file")
    assert Path(path).read_bytes() == CONTENT
    assert path in named


def test_copies_of_libraries(store: ObjectStore, named: list[str], tmp_path: Path) -> None:
    library = assembled(tmp_path, CALLS)
    with open(library, "rb") as file:
        LibcCopies(store, str(SHIM), ffi.new("struct pp_substitution *")).add(file.fileno())
    assert len(set(named)) == 2  # the copy, and which content the library has


def test_small_files(store: ObjectStore, named: list[str]) -> None:
    store.write_file("manifests/x", CONTENT)
    assert named == [store.file("manifests", "x")]


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_views(size: int, store: ObjectStore, named: list[str]) -> None:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(bytes(size))
        return ObjectName("aa01")

    body = store.write(fill)
    for name in ("one", "two"):
        view = os.path.join(views.directory(store), name)
        views.make(store, os.fsencode(view), 0o100755, b"", lambda: body)
        assert view in named


def test_programs_with_another_interpreter(store: ObjectStore, named: list[str]) -> None:
    view = os.path.join(views.directory(store), "program")
    views.make_file(
        store,
        os.fsencode(view),
        lambda name: interpreter.copy_with_interpreter(b"/bin/true", name, b"/interpreter"),
    )
    assert view in named

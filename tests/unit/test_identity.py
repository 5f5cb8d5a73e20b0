"""What is kept of a file holds for one state of it: other files, and other states, are others."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyparrot.cache import program_copies, views
from pyparrot.cache.identity import Identity
from pyparrot.cache.store import ObjectStore
from pyparrot.core import lib
from pyparrot.libc.elf import INTERPRETER, file_reader, read_headers
from pyparrot.libc.interpreter import Changed, copy_with_interpreter
from pyparrot.sources.directory import LocalDirectory

ONE, TWO = b"content one", b"content two"


def rename(file: Path, content: bytes) -> None:
    new = file.with_name("new")
    new.write_bytes(content)
    new.rename(file)


def again(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


WAYS: tuple[Callable[[Path, bytes], object], ...] = (Path.write_bytes, rename, again)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(str(tmp_path / "cache")) as opened:
        yield opened


def exchange(file: Path, content: bytes, way: Callable[[Path, bytes], object]) -> None:
    """Put other content of the same size there, with the same time of modification."""
    before = file.stat()
    way(file, content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("way", WAYS)
def test_a_settled_file_has_another_identity_when_it_is_changed(
    tmp_path: Path, way: Callable[[Path, bytes], object]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(ONE)
    for content in (TWO, ONE, TWO, TWO):
        before = Identity.of(file.stat())
        with open(file, "rb") as opened:
            before.settle(opened.fileno())
        exchange(file, content, way)
        after = Identity.of(file.stat())
        assert after != before
        assert (after.size, after.modified) == (before.size, before.modified)


def test_settling_takes_no_time_once_it_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr("time.time", lambda: 1000.0)
    with open("/proc/self/status", "rb") as file:  # of no file system that is known to be fine
        for changed, longest in ((999.5, None), (999.995, 0.02), (1000.0, 2.1), (5000.1, 0.02)):
            waits.clear()
            Identity(1, 2, 3, 4, int(changed * 1e9)).settle(file.fileno())
            assert waits == [] if longest is None else 0 < waits[0] <= longest


def test_where_times_are_fine_every_change_shows(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(ONE)
    with open(file, "rb") as opened:
        if not lib.pp_has_fine_times(opened.fileno()):
            pytest.skip("times are coarse here")
    seen = set()
    for number in range(2000):
        file.write_bytes(b"%4d" % number)
        seen.add(Identity.of(file.stat()))
    assert len(seen) == 2000


@pytest.mark.parametrize("way", WAYS)
def test_a_local_directory_shows_what_a_file_is(
    tmp_path: Path, store: ObjectStore, way: Callable[[Path, bytes], object]
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    file = top / "file"
    file.write_bytes(ONE)
    for content in (ONE, TWO, ONE):
        exchange(file, content, way)
        with LocalDirectory(str(top), b"/seen", store) as tree:
            assert Path(tree.fetch("/file")).read_bytes() == content


def test_a_local_file_of_another_size_than_was_listed_is_stale(
    tmp_path: Path, store: ObjectStore
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").write_bytes(ONE)
    with LocalDirectory(str(top), b"/seen", store) as tree:
        (top / "file").write_bytes(ONE + TWO)
        with pytest.raises(OSError, match="file") as raised:
            tree.fetch("/file")
        assert raised.value.errno == errno.ESTALE


# Copies of programs

PROGRAM = Path("/bin/true")
LOADER = b"/a/new/ld.so"


def interpreter_of(file: Path) -> bytes:
    with open(file, "rb") as opened:
        read = file_reader(opened.fileno())
        (segment,) = (each for each in read_headers(read)[1] if each.type == INTERPRETER)
        return read(segment.offset, segment.file_size)


def test_a_program_is_copied_in_one_state_only(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copy(PROGRAM, source)
    identity = Identity.of(source.stat())
    copy_with_interpreter(bytes(source), bytes(target), LOADER, identity)
    assert interpreter_of(target) == LOADER + b"\0"
    target.unlink()
    with pytest.raises(Changed):
        copy_with_interpreter(
            bytes(source), bytes(target), LOADER, identity._replace(modified=identity.modified - 1)
        )


def test_no_copy_of_a_program_is_incomplete_whatever_fits(
    tmp_path: Path, store: ObjectStore
) -> None:
    view = tmp_path / "cache" / "views" / "real.x" / "state" / "program"
    whole = PROGRAM.stat().st_size + len(LOADER) + 1

    def make() -> None:
        views.make_file(
            store,
            bytes(view),
            lambda name: copy_with_interpreter(bytes(PROGRAM), name, LOADER),
        )

    outcomes = set()
    for size in [0, 1, 63, *range(64, whole, whole // 30), whole - 1, whole]:
        child = os.fork()
        if child == 0:
            status = 250
            try:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
                make()
                status = 0
            except OSError as error:
                status = error.errno or 251
            finally:
                os._exit(status)
        outcome = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        outcomes.add(outcome)
        assert view.exists() == (outcome == 0)
        if outcome == 0:
            assert view.stat().st_size == whole
            assert interpreter_of(view) == LOADER + b"\0"
            view.unlink()
    assert outcomes == {0, errno.EFBIG}


def test_the_name_of_a_state_is_what_c_makes_of_it() -> None:
    assert program_copies.state_of(Identity(0xFE00, 0x1A, 16, -1, 255)) == (
        "fe00-1a-10-ffffffffffffffff-ff-"
    )

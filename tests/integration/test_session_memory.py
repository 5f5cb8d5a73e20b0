"""What outlives a supervisor: another process that takes over shows the same, in the same place."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.runs import EVERYTHING, PYPARROT, World, world

from pyparrot.cache import views
from pyparrot.cache.intact import MARK, SECOND
from pyparrot.cache.store import ObjectStore
from pyparrot.core import ffi, lib
from pyparrot.run.mounter import Mounter
from pyparrot.run.mounts import MountTable
from pyparrot.run.options import MountOption, Options
from pyparrot.run.report import Reporter
from pyparrot.run.session_memory import SessionMemory
from pyparrot.run.usage import UsageRecorder

FQRN = "lasting.example.org"
TOP = f"/cvmfs/{FQRN}".encode()
NOWHERE = "http://127.0.0.1:1/cvmfs/@fqrn@"
TIMES = 300 if EVERYTHING else 60


@pytest.fixture(scope="module")
def lasting() -> Iterator[World]:
    def fill(tree: Path) -> None:
        (tree / "nested").mkdir()
        (tree / "nested" / ".cvmfscatalog").touch()
        (tree / "nested" / "file").write_text("first\n")

    with world(FQRN, fill) as made:
        yield made


def publish_again(made: World) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(made.home / "config")}
    words = [*PYPARROT, "publish", "sync", FQRN, str(made.source), "--quiet"]
    subprocess.run(words, env=environment, check=True)


class Supervisor:
    """As much of one as mounts."""

    def __init__(self, memory: SessionMemory, made: World, cache: Path, local: Path) -> None:
        url = made.url if not memory.journal.read() else NOWHERE
        parameters = {"CVMFS_SERVER_URL": url, "CVMFS_PUBLIC_KEY": str(made.key)}
        mounts = [MountOption("/opt/there", FQRN), MountOption("/opt/local", str(local))]
        self.store = ObjectStore(str(cache))
        top = views.directory(self.store)
        self.memory = memory
        assert memory.state is not None
        before = memory.journal.read()
        if before:
            memory.state.resume()
        memory.state.set_views(top, MARK // SECOND)
        self.table = MountTable(top, memory.state, memory.journal)
        options = Options(mounts, parameters)
        self.mounter = Mounter(options, self.store, self.table, Reporter(0, None))
        self.mounter.start(before)

    def tree(self, path: bytes) -> Any:
        mount = self.table.get(path)
        assert mount is not None
        return mount.tree

    def read(self, path: bytes) -> list[str]:
        """What is in the nested catalog of the mount at *path*."""
        tree = self.tree(path)
        found = tree.listdir("nested")
        mount = self.table.get(path)
        assert mount is not None
        self.table.has_grown(mount)
        assert isinstance(found, list)
        return found

    def touch_tops(self) -> None:
        """Have the top of each catalog be used, in the order in which shims were told of them."""
        assert self.memory.state is not None
        assert self.memory.usage is not None
        for order, (start, _, _) in enumerate(self.memory.state.touched, 1):
            self.memory.usage.words(start)[0] = order

    def touched(self, file: Path) -> list[bytes]:
        """What was used, as ``--touched`` says it."""
        assert self.memory.state is not None
        assert self.memory.usage is not None
        UsageRecorder(self.memory.state, self.memory.usage, str(file)).finish(self.table)
        return file.read_bytes().splitlines()

    def follow(self) -> None:
        newest = self.mounter.open_newest(self.tree(TOP))
        self.mounter.mount(TOP, newest)

    def seen(self) -> dict[str, Any]:
        """All that somebody who goes on must find unchanged."""
        table = self.table.namespace.mounts
        mounts = []
        for slot in range(table.mask + 1):
            record = lib.pp_mount_at(table, slot)
            if record != ffi.NULL:
                mount = self.table.find(record)
                root = getattr(mount.tree, "root", None)
                environment = record.environment
                mounts.append(
                    (
                        *(
                            record.number,
                            lib.pp_mounts_mount(table, slot),
                            record.device,
                            record.blocks,
                        ),
                        *(record.flags, environment, mount.view, str(root), str(mount.path)),
                        mount.tree is not None,
                    )
                )
        return {
            "mounts": sorted(mounts),
            "newest": sorted(str((mount.path, mount.number)) for mount in self.table),
            "cvmfs": self.tree(b"/cvmfs").listdir(),
            "nested": {str(path): self.read(path) for path in (TOP, b"/opt/there")},
        }


def ended(process: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


def in_child(work: Callable[[], Any]) -> Any:
    """What *work* gives in a process that is killed right after it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        try:
            os.write(writer, json.dumps(answer).encode())
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = json.loads(file.read())
    ended(child)
    return answer


class Watcher:
    """Reads the shared state all the time, as shims do: by its descriptor, and nothing else."""

    def __init__(self, memory: SessionMemory) -> None:
        assert memory.state is not None
        size = lib.PP_SHARED_STATE_SIZE
        self._memory = mmap.mmap(memory.state.descriptor, size, prot=mmap.PROT_READ)
        self._start = ffi.from_buffer(self._memory)
        self.state = ffi.cast("struct pp_shared_state *", self._start)
        self.looked = 0
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        path = ffi.new("char[]", TOP + b"/nested/file")
        end = ffi.new("size_t *")
        while not self._over.is_set():
            table = lib.pp_mounts_open(self._start, lib.PP_SHARED_STATE_SIZE, self.state.table)
            if table == ffi.NULL or lib.pp_mounts_match(table, path, end) == ffi.NULL:
                self.wrong.append(f"table {self.state.table}")
            self.looked += 1
            time.sleep(0.0005)


def test_another_process_goes_on_with_the_same(lasting: World, tmp_path: Path) -> None:
    """Whatever was published meanwhile, without a network, in views that were left, too."""
    memory = SessionMemory(7, shim=True)
    memory.open_by(os.getpid())
    assert memory.state is not None
    (tmp_path / "local").mkdir()
    places = (memory, lasting, tmp_path / "cache", tmp_path / "local")

    def first() -> dict[str, Any]:
        supervisor = Supervisor(*places)
        for path in (b"/cvmfs", TOP):
            assert supervisor.mounter.mount_automatically(path)
        supervisor.read(TOP)
        (lasting.source / "nested" / "second").touch()
        publish_again(lasting)
        supervisor.touch_tops()
        supervisor.follow()
        return supervisor.seen()

    before = in_child(first)
    assert isinstance(before, dict), before
    assert before["nested"] == {
        str(TOP): [".cvmfscatalog", "file", "second"],
        "b'/opt/there'": [".cvmfscatalog", "file"],
    }
    (lasting.source / "nested" / "third").touch()
    publish_again(lasting)
    directories = memory.state.pointer.directories
    with Watcher(memory) as watcher:
        used = []
        for _ in range(TIMES):
            after = in_child(lambda: Supervisor(*places).seen())
            assert after == before
            used.append(memory.state.pointer.used)
    assert memory.state.pointer.directories == directories + TIMES
    assert watcher.wrong == []
    assert watcher.looked > 0
    # 300 of them in a row find room.
    assert (used[-1] - used[0]) / (TIMES - 1) * 300 < lib.PP_SHARED_STATE_SIZE / 2

    def goes_on() -> list[Any]:
        supervisor = Supervisor(*places)
        last = max(mount.number for mount in supervisor.table)
        supervisor.table.reserve(b"/new")
        new = supervisor.table.get(b"/new")
        assert new is not None
        used = supervisor.touched(tmp_path / "touched")
        return [last, new.number, [os.fsdecode(path) for path in used]]

    last, new, touched = in_child(goes_on)
    # Not of the directories of names and the local one: their lists were made anew.
    assert touched == ["/opt/there", f"/cvmfs/{FQRN}", f"/cvmfs/{FQRN}/nested"]
    assert new > last


def test_what_can_not_be_opened_again_is_asked_for_when_it_is_needed(
    lasting: World, tmp_path: Path
) -> None:
    memory = SessionMemory(7, shim=False)
    (tmp_path / "local").mkdir()
    options = Options([MountOption("/opt/local", str(tmp_path / "local"))])

    def start(*, again: bool) -> list[Any]:
        store = ObjectStore(str(tmp_path / "cache"))
        table = MountTable(views.directory(store), None, memory.journal)
        mounter = Mounter(options, store, table, Reporter(0, str(tmp_path / "log")))
        mounter.start(memory.journal.read())
        mount = table.get(b"/opt/local")
        assert mount is not None
        seen: list[Any] = [mount.number, mount.view, mount.tree is not None]
        if again:
            (tmp_path / "gone").rename(tmp_path / "local")
            assert mounter.mount_automatically(b"/opt/local")
            mount = table.get(b"/opt/local")
            assert mount is not None
            seen.append(mount.tree is not None)
        return seen

    number, view, is_there = in_child(lambda: start(again=False))
    assert is_there
    (tmp_path / "local").rename(tmp_path / "gone")
    assert in_child(lambda: start(again=True)) == [number, view, False, True]
    assert str(tmp_path / "local") in (tmp_path / "log").read_text()


def test_nothing_is_lost_wherever_a_writer_is_killed() -> None:
    """The journal says what was written last, or what was before: never half of one."""
    from pyparrot.run.journal import CHOSEN, Entry, Journal

    journal = Journal()
    assert journal.read() == []

    def write() -> None:
        for number in range(1, 1_000_000):
            journal.write(Entry(CHOSEN, number, b"/%d" % n) for n in range(number % 500 + 1))

    for pause in range(20):
        child = os.fork()
        if child == 0:
            write()
            os._exit(1)
        time.sleep(pause / 500)
        os.kill(child, signal.SIGKILL)
        ended(child)
        entries = journal.read()
        assert [entry.path for entry in entries] == [b"/%d" % n for n in range(len(entries))]
        assert len({entry.number for entry in entries}) <= 1
        if entries:
            assert len(entries) == entries[0].number % 500 + 1
    assert journal.is_complete
    journal.write([Entry(CHOSEN, 1, b"/x" * (1 << 20))])
    assert not journal.is_complete
    assert journal.read() == []

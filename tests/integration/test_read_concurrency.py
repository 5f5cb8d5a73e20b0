"""Many processes, one cache: all bytes are right, whoever is killed and however full the disk is.

Run as a program, this file is the herd: it forks readers, kills some, and reports. A program of its
own, because pytest has threads and can't fork; and so that a file system of its own can be mounted
where nobody else sees it, which is gone when the program is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

FQRN = "sw.example.org"
SMALL_FILES = 60
OPTIONS = {"CVMFS_BACKOFF_INIT": "0", "CVMFS_TIMEOUT_DIRECT": "10"}


class Task(NamedTuple):
    """What a herd has to do, and under which conditions; *disk* and *quota* are in bytes."""

    url: str
    key: str
    cache: str
    files: dict[str, str]
    """The SHA-256 of each file that is to be read."""
    objects: dict[str, str]
    """The SHA-256 of what each object unpacks to, by its name in the cache."""
    readers: int = 32
    kills: int = 0
    disk: int = 0
    quota: int = 1 << 30
    rounds: int = 1
    largest_file: int = 0
    seconds: float = 90.0


class Report(NamedTuple):
    """What a herd did: readers that read everything, what others said, what is in the cache."""

    done: int
    failures: list[str]
    late: int
    killed: int
    bad_objects: list[str]
    unfinished: int


# The herd


def read_tree(task: Task) -> None:
    """One reader: everything, in the same order as all others."""
    from pyparrot.repository import open_repository

    with open_repository(
        FQRN, server=task.url, key=task.key, cache=task.cache, quota=task.quota, options=OPTIONS
    ) as repository:
        for _ in range(task.rounds):
            for path, digest in task.files.items():
                with repository.open(path) as file:
                    content = file.read()
                if hashlib.sha256(content).hexdigest() != digest:
                    raise AssertionError(f"wrong bytes: {path}")


def start_reader(task: Task, pipe: int) -> int:
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        read_tree(task)
        status = 0
    except BaseException as error:
        code = errno.errorcode.get(getattr(error, "errno", None) or 0, "")
        line = f"{type(error).__name__} {code}: {error}".replace("\n", " ")
        with contextlib.suppress(OSError):
            os.write(pipe, line[:500].encode("utf-8", "replace") + b"\n")
    finally:
        os._exit(status)


def reap(running: set[int]) -> Counter[int]:
    """Collect readers that have ended, by their wait status."""
    ended: Counter[int] = Counter()
    for process in list(running):
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            running.discard(process)
            ended[status] += 1
    return ended


def run_herd(task: Task) -> Report:
    import requests  # noqa: F401 (once for all readers, before they are forked)

    import pyparrot.cache
    import pyparrot.sources.cvmfs.remote
    import pyparrot.transport.connections  # noqa: F401

    if task.disk:
        words = ("-t", "tmpfs", "-o", f"size={task.disk},mode=700", "none", task.cache)
        subprocess.run(["mount", *words], check=True)
    if task.largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (task.largest_file, task.largest_file))
    inlet, outlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    dice = random.Random(task.kills)
    deadline = time.monotonic() + task.seconds
    running = {start_reader(task, outlet) for _ in range(task.readers)}
    ended: Counter[int] = Counter()
    killed = 0
    while running and time.monotonic() < deadline:
        time.sleep(0.02)
        ended += reap(running)
        if killed < task.kills and running:
            os.kill(dice.choice(sorted(running)), signal.SIGKILL)
            killed += 1
            running.add(start_reader(task, outlet))
    late = len(running)
    for process in running:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    said = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(inlet, 65536):
            said += piece
    bad = bad_objects(task)
    unfinished = len(os.listdir(os.path.join(task.cache, "txn")))
    return Report(ended[0], said.decode().splitlines(), late, killed, bad, unfinished)


def bad_objects(task: Task) -> list[str]:
    """Names in the cache whose content is not theirs."""
    from pyparrot.cache.store import ObjectStore

    bad = []
    store = ObjectStore(task.cache, task.quota)
    for name, _ in store.files():
        content = hashlib.sha256(Path(store.path(name)).read_bytes()).hexdigest()
        if name.endswith("W"):
            good = content in task.files.values()
        elif "." in name:
            good = name.partition(".")[0] in task.objects
        else:
            good = content == task.objects.get(name)
        if not good:
            bad.append(str(name))
    return bad


if __name__ == "__main__":
    print(json.dumps(run_herd(Task(**json.loads(sys.stdin.read())))._asdict()))
    sys.exit()


# The tests

import threading  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402

import pytest  # noqa: E402 (the herd does without)
from support import run_publish  # noqa: E402
from support.faulty_server import FaultyServer, Handler  # noqa: E402

from pyparrot.cache.names import ObjectName  # noqa: E402
from pyparrot.cache.store import ObjectStore  # noqa: E402
from pyparrot.publish.settings import settings_file  # noqa: E402
from pyparrot.repository import open_repository  # noqa: E402

MEGABYTE = 1 << 20


class Tree(NamedTuple):
    """A published tree: where it lies, and a task to read all of it."""

    root: Path
    task: Task

    @property
    def size(self) -> int:
        return sum(file.stat().st_size for file in (self.root.parent / "source").rglob("*"))


class CountingServer(FaultyServer):
    """Serves a repository to a crowd."""

    request_queue_size = 1024

    def __init__(self, root: Path) -> None:
        def behave(handler: Handler) -> None:
            try:
                content = (root / handler.path.lstrip("/")).read_bytes()
            except FileNotFoundError:
                handler.send(404, b"none\n")
            else:
                handler.send(200, content)

        super().__init__(behave)

    def downloads(self) -> Counter[str]:
        """How often each object was asked for."""
        with self.lock:
            return Counter(
                request.target for request in self.requests if request.target.startswith("/data/")
            )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """60 small files and two chunked ones, in two catalogs: 24 MB that don't compress."""
    home = tmp_path_factory.mktemp("tree")
    dice = random.Random(5)
    source = home / "source"
    (source / "nested").mkdir(parents=True)
    (source / "nested" / ".cvmfscatalog").touch()
    sizes = {f"nested/{n}" if n % 2 else f"file{n}": 300_000 + n for n in range(SMALL_FILES)}
    sizes.update({"big": 3 * MEGABYTE, "nested/big": 3 * MEGABYTE})
    files = {}
    for name, size in sizes.items():
        content = dice.randbytes(size)
        (source / name).write_bytes(content)
        files[f"/{name}"] = hashlib.sha256(content).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        run_publish("init", FQRN, "--storage", home)
        with open(settings_file(FQRN), "a", encoding="ascii") as file:
            for name, count in (("MIN", 1), ("AVG", 2), ("MAX", 3)):
                file.write(f"CVMFS_{name}_CHUNK_SIZE={count * MEGABYTE // 2}\n")
        run_publish("sync", FQRN, source, "--quiet")
    objects = {}
    for path in (home / FQRN / "data").glob("??/*"):
        if len(path.name) >= 38:
            content = zlib.decompress(path.read_bytes())
            objects[path.parent.name + path.name] = hashlib.sha256(content).hexdigest()
    key = str(home / "config" / "pyparrot" / "keys" / f"{FQRN}.pub")
    return Tree(home / FQRN, Task("", key, "", files, objects))


@pytest.fixture
def server(tree: Tree) -> Iterator[CountingServer]:
    server = CountingServer(tree.root)
    with server:
        yield server


def private_mounts() -> list[str]:
    """Words before a command that may then mount what only it sees, or skip the test."""
    ways = [["unshare", "--mount", "--propagation", "private"]]
    ways += [["unshare", "--user", "--map-root-user", "--mount"]]
    for way in ways:
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [*way, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
            )
            if tried.returncode == 0:
                return way
    pytest.skip("no file system may be mounted here")


def herd(tree: Tree, server: CountingServer, cache: Path, **conditions: Any) -> Report:
    cache.mkdir()
    task = tree.task._replace(url=server.url, cache=str(cache), **conditions)
    before = private_mounts() if task.disk else []
    process = subprocess.Popen(
        [*before, sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(json.dumps(task._asdict()).encode(), task.seconds + 30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 0
    return Report(**json.loads(out))


def assert_all_read(report: Report, readers: int) -> None:
    """Everybody who was let live has read everything, and nothing bad is in the cache."""
    assert not report.failures, "\n".join(sorted(set(report.failures)))
    assert report.late == 0
    assert report.bad_objects == []
    # A reader that was to be killed may just have ended.
    assert readers <= report.done <= readers + report.killed


def test_one_cold_cache(tree: Tree, server: CountingServer, tmp_path: Path) -> None:
    report = herd(tree, server, tmp_path / "cache")
    assert_all_read(report, 32)
    assert report.unfinished == 0
    downloads = server.downloads()
    assert len(downloads) > SMALL_FILES
    often = {path: count for path, count in downloads.items() if count > 4}
    assert not often, f"{len(often)} objects, up to {max(often.values())} times"


@pytest.mark.parametrize("made", range(6))
def test_a_cache_whose_maker_was_killed(made: int, tmp_path: Path) -> None:
    """Directories without a version are a cache that somebody makes, or did not get to make."""
    cache = tmp_path / "cache"
    with ObjectStore(str(tmp_path / "model")):
        pass
    cache.mkdir(mode=0o700)
    for name in ("objects", "indexes", "manifests", "ledger", "txn")[:made]:
        if (tmp_path / "model" / name).is_dir():
            (cache / name).mkdir(mode=0o700)
    name = ObjectName("ab" * 20)

    def fill(file: BinaryIO) -> ObjectName:
        file.write(b"content")
        return name

    with ObjectStore(str(cache)) as store:
        store.write(fill)
    with ObjectStore(str(cache)) as store:
        assert store.find(name)


def test_many_make_a_cache_at_once(tmp_path: Path) -> None:
    for number in range(20):
        directory = str(tmp_path / str(number))
        barrier = threading.Barrier(8)

        def open_store(
            barrier: threading.Barrier = barrier, directory: str = directory
        ) -> ObjectStore:
            barrier.wait(10)
            return ObjectStore(directory)

        with ThreadPoolExecutor(8) as pool:
            for store in [pool.submit(open_store) for _ in range(8)]:
                store.result().close()


def test_with_kill_9(tree: Tree, server: CountingServer, tmp_path: Path) -> None:
    report = herd(tree, server, tmp_path / "cache", kills=24)
    assert_all_read(report, 32)
    assert report.killed == 24
    # Half-done work of the dead is done again, and not by everybody.
    often = {path: count for path, count in server.downloads().items() if count > 8}
    assert not often, f"{len(often)} objects, up to {max(often.values())} times"


@pytest.mark.parametrize("kills", [0, 24])
def test_on_a_file_system_of_20_mb(
    kills: int, tree: Tree, server: CountingServer, tmp_path: Path
) -> None:
    """The tree is larger than the disk: what was used first has to go meanwhile."""
    assert tree.size > 20 * MEGABYTE
    report = herd(tree, server, tmp_path / "cache", disk=20 * MEGABYTE, kills=kills)
    assert_all_read(report, 32)


def test_eviction_while_reading(tree: Tree, server: CountingServer, tmp_path: Path) -> None:
    """A quota that holds a third of the tree: every read is right, and the quota holds."""
    quota = 8 * MEGABYTE
    report = herd(tree, server, tmp_path / "cache", readers=6, rounds=2, quota=quota)
    assert_all_read(report, 6)
    # A process that adds beyond the quota evicts; some slack is for what is added meanwhile.
    used = sum(file.stat().st_size for file in (tmp_path / "cache" / "objects").rglob("*"))
    assert used <= quota + 1 * MEGABYTE


def test_one_reader_keeps_to_the_quota(tree: Tree, server: CountingServer, tmp_path: Path) -> None:
    quota = 8 * MEGABYTE
    with open_repository(
        FQRN, server=server.url, key=tree.task.key, cache=str(tmp_path / "cache"), quota=quota
    ) as repository:
        most = 0
        for path, digest in tree.task.files.items():
            with repository.open(path) as file:
                assert hashlib.sha256(file.read()).hexdigest() == digest
            objects = (tmp_path / "cache" / "objects").rglob("*")
            most = max(most, sum(file.stat().st_size for file in objects if file.is_file()))
    # The largest file may be on top while room is made for it.
    assert most <= quota + 4 * MEGABYTE


def test_an_object_larger_than_the_quota(
    tree: Tree, server: CountingServer, tmp_path: Path
) -> None:
    with open_repository(
        FQRN, server=server.url, key=tree.task.key, cache=str(tmp_path / "cache"), quota=MEGABYTE
    ) as repository:
        for path in ("/big", "/nested/big", "/big"):
            with repository.open(path) as file:
                assert hashlib.sha256(file.read()).hexdigest() == tree.task.files[path]


def test_no_space_reaches_the_caller(tree: Tree, server: CountingServer, tmp_path: Path) -> None:
    """A file larger than the disk: ENOSPC, and what is smaller can still be read."""
    report = herd(tree, server, tmp_path / "cache", readers=1, disk=2 * MEGABYTE)
    assert report.done == report.late == 0
    [failure] = report.failures
    assert failure.startswith("OSError ENOSPC: "), failure
    assert report.bad_objects == []
    assert report.unfinished == 0


def test_files_may_not_be_so_large(tree: Tree, server: CountingServer, tmp_path: Path) -> None:
    """A limit of the shell: an `OSError`, and nothing bad in the cache."""
    report = herd(tree, server, tmp_path / "cache", readers=2, largest_file=MEGABYTE)
    assert report.done == report.late == 0
    assert len(report.failures) == 2
    assert all(failure.startswith("OSError EFBIG: ") for failure in report.failures), report
    assert report.bad_objects == []
    assert report.unfinished == 0

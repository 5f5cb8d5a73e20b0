"""Fetches many files at once, before somebody needs them.

Files are independent of each other, so a few threads fetch side by side; what fails is collected,
and the others go on.
"""

from __future__ import annotations

import itertools
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable, NamedTuple, TypeVar

from pyparrot.progress import Progress

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository
    from pyparrot.tree.base import Listed
    from pyparrot.tree.entries import Node

THREADS = 16
"""Files under way at once: as many as a transport has connections would help little more."""

_AHEAD = 8
"""Items waiting for each thread: keeps all busy, bounds memory."""

_SHORT = 64

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

Failed = Callable[[bytes, OSError], object]
"""Is told which path failed, and why."""

Got = Callable[[str], object]
"""Is told the name in the store of each content that is there."""


class Gate:
    """Lets as many threads work as gain something by it.

    Python computes in one thread at a time. Threads that wait for a server are worth having; those
    that wait for each other only cost hand-overs. How long a file takes beside how long it computes
    tells which they are.
    """

    _FIRST = 2
    _SHARE = 0.75  # below 1: threads that wait for each other shall become fewer
    _MEMORY = 0.9

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(self._FIRST, most))
        self._inside = 0
        self._changed = threading.Condition()
        self._wall = self._computing = 0.0

    def run(self, function: Callable[[_Item], _Result], item: _Item) -> _Result:
        """Run *function* on *item* when it is time."""
        with self._changed:
            while self._inside >= int(self._limit):
                self._changed.wait()
            self._inside += 1
        wall, computing = time.perf_counter(), time.thread_time()
        try:
            return function(item)
        finally:
            wall, computing = time.perf_counter() - wall, time.thread_time() - computing
            with self._changed:
                self._inside -= 1
                self._wall = self._MEMORY * self._wall + wall
                self._computing = self._MEMORY * self._computing + computing
                fitting = 1 + self._SHARE * self._wall / max(self._computing, 1e-6)
                self._limit = min(self._most, max(self._FIRST, fitting, self._limit - 1))
                self._changed.notify(max(1, int(self._limit) - self._inside))


class Amount(NamedTuple):
    """How much content there is: different files, and their bytes (unpacked)."""

    files: int
    bytes: int


class Outcome(NamedTuple):
    """What a prefetch did; bytes are those of the files' content."""

    files: int
    fetched: int
    there: int
    failures: tuple[tuple[bytes, OSError], ...]


def in_parallel(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int = THREADS
) -> Iterator[tuple[_Item, Future[_Result]]]:
    """Run *function* on all *items*; each item comes back in its turn, with a future that is done.

    *items* are taken only as needed. Whoever stops early, or is interrupted, waits for nothing:
    what has not begun never will.
    """
    pool = ThreadPoolExecutor(threads, "parallel")
    source = iter(items)
    under_way: deque[tuple[_Item, Future[_Result]]] = deque()
    try:
        while True:
            for item in itertools.islice(source, threads * _AHEAD - len(under_way)):
                under_way.append((item, pool.submit(function, item)))
            if not under_way:
                return
            item, future = under_way.popleft()
            future.exception()  # wait, but raise nothing here
            yield item, future
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def walk(repository: RemoteRepository, top: bytes, failed: Failed) -> Iterator[Listed]:
    """As `Tree.walk`, but a directory that can't be read is told to *failed*, and the walk
    goes on; a symlink at the top is followed."""
    from pyparrot.tree.base import Listed

    try:
        found = repository.lookup(top)
    except OSError as error:
        failed(top, error)
        return
    pending = [Listed(found.path, found.node)]
    while pending:
        listed = pending.pop()
        yield listed
        if stat.S_ISDIR(listed.node.mode):
            try:
                pending += reversed(list(repository.scandir(listed.path)))
            except OSError as error:
                failed(listed.path, error)


def survey(repository: RemoteRepository, tops: Iterable[bytes], failed: Failed) -> Amount:
    """How much `prefetch` has to do; this fetches the catalogs."""
    files = size = 0
    for listed in _contents(repository, tops, failed):
        files += 1
        size += listed.node.size
    return Amount(files, size)


def prefetch(
    repository: RemoteRepository,
    tops: Iterable[bytes],
    progress: Progress,
    got: Got = lambda _: None,
) -> Outcome:
    """Fetch all files at and below *tops*; *progress* counts files, *got* is told of each."""
    tops = list(tops)
    failures: list[tuple[bytes, OSError]] = []
    files = fetched = there = 0

    def fetch(listed: Listed) -> tuple[str, bool]:
        was_there = repository.is_cached(listed.node)
        return repository.body(listed.node, listed.path), was_there

    # The first of two walks learns how much it is: with all nodes in memory one would do.
    progress.expect(survey(repository, tops, lambda *failure: failures.append(failure)).files)
    contents = _contents(repository, tops, lambda *_: None)
    gate = Gate(THREADS)
    for listed, future in in_parallel(lambda item: gate.run(fetch, item), contents):
        try:
            file, was_there = future.result()
        except OSError as error:
            failures.append((listed.path, error))
        else:
            got(repository.store.name(file))
            files += 1
            fetched += 0 if was_there else listed.node.size
            there += listed.node.size if was_there else 0
        progress.advance()
    return Outcome(files, fetched, there, tuple(failures))


def _contents(
    repository: RemoteRepository, tops: Iterable[bytes], failed: Failed
) -> Iterator[Listed]:
    """The regular files at and below *tops*, each content once."""
    seen: set[object] = set()
    for top in tops:
        for listed in walk(repository, top, failed):
            content = _content(listed.node)
            if stat.S_ISREG(listed.node.mode) and content not in seen:
                seen.add(content)
                yield listed


def _content(node: Node) -> object:
    """What two files with the same content have in common; small, for there may be millions."""
    return node.handle if len(node.handle) <= _SHORT else hash(node.handle)

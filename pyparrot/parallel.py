"""Runs one function on many items in a few threads: no more threads than gain something by it."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, TypeVar

THREADS = 16
"""Items under way at once: as many as a transport has connections; more would help little."""

_AHEAD = 8
"""Items waiting for each thread: keeps all threads busy, and bounds memory."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Gate:
    """Lets as many threads work as gain something by it.

    Python computes in one thread at a time. Threads that wait for a server are worth having;
    threads that wait for each other only cost changes of thread. How long an item takes beside how
    long it computes tells which they are.
    """

    _FIRST = 2
    _SHARE = 0.75  # below 1: threads that wait for each other become fewer
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


def in_parallel(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int = THREADS
) -> Iterator[tuple[_Item, Future[_Result]]]:
    """Run *function* on all *items*; each item comes back in its turn, with a future that is done.

    *items* are taken only as needed. A caller that stops early, or is interrupted, waits for
    nothing: what has not begun by then is never run.
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

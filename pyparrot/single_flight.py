"""One execution for all threads that want the same at the same time."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Callable, Generic, TypeVar

from pyparrot.errors import PyparrotError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(Generic[V]):
    """An execution under way: done once it has a result, an error, or was abandoned."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.pilot = threading.get_ident()
        self.results: list[V] = []
        self.error: Exception | None = None


class SingleFlight(Generic[K, V]):
    """Runs one function a key at a time; callers that come meanwhile join. Thread-safe.

    Results are not kept: a caller that comes after the end runs the function again. A caller that
    joins waits up to *patience* seconds.
    """

    def __init__(self, patience: float = 3600.0) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._flights: dict[K, _Flight[V]] = {}

    def run(self, key: K, function: Callable[[], V]) -> V:
        """The result of *function*, or the exception that it raised, whichever thread ran it.

        If that thread is interrupted (an exception that is no `Exception`), one of those that wait
        takes over. `PyparrotError` if the wait takes too long.
        """
        while True:
            with self._lock:
                flight = self._flights.get(key)
                if flight is None:
                    mine = self._flights[key] = _Flight()
                    break
            if flight.pilot == threading.get_ident():
                raise RuntimeError(f"run({key!r}) inside run({key!r}) would wait for itself")
            if not flight.done.wait(self._patience):
                raise PyparrotError(str(key), "another thread takes too long to get it")
            if flight.error is not None:
                raise flight.error
            if flight.results:
                return flight.results[0]
        try:
            result = function()
        except Exception as error:
            mine.error = error
            raise
        else:
            mine.results.append(result)
            return result
        finally:
            with self._lock:
                del self._flights[key]
            mine.done.set()

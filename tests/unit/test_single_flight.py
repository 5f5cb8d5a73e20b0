"""One execution for all who want the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyparrot.errors import PyparrotError
from pyparrot.single_flight import SingleFlight

LIMIT = 20.0


class Task:
    """Counts its runs; each waits until it is released."""

    def __init__(self) -> None:
        self.runs = 0
        self.started = threading.Event()
        self.release = threading.Event()

    def __call__(self) -> list[int]:
        self.runs += 1
        self.started.set()
        assert self.release.wait(LIMIT)
        return [self.runs]


def wait_for_joiners(flights: SingleFlight[str, list[int]], key: str, number: int) -> None:
    done = flights._flights[key].done
    for _ in range(4000):
        if len(done._cond._waiters) >= number:  # type: ignore[attr-defined]
            return
        threading.Event().wait(0.005)
    raise AssertionError("nobody joins")


def test_those_who_come_meanwhile_share_the_result() -> None:
    flights: SingleFlight[str, list[int]] = SingleFlight()
    task = Task()
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(flights.run, "key", task) for _ in range(8)]
        assert task.started.wait(LIMIT)
        wait_for_joiners(flights, "key", 7)
        task.release.set()
        found = [result.result(LIMIT) for result in results]
    assert task.runs == 1
    assert all(result is found[0] for result in found)
    assert not flights._flights


def test_other_keys_run_at_the_same_time() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    meeting = threading.Barrier(2, timeout=LIMIT)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda key: flights.run(key, meeting.wait), "ab")) == [0, 1]


def test_who_comes_later_starts_anew() -> None:
    flights: SingleFlight[str, list[int]] = SingleFlight()
    task = Task()
    task.release.set()
    assert flights.run("key", task) == [1]
    assert flights.run("key", task) == [2]


def test_an_exception_is_shared_and_forgotten() -> None:
    flights: SingleFlight[str, list[int]] = SingleFlight()
    task = Task()

    def fail() -> list[int]:
        task()
        raise PyparrotError("x", "no")

    with ThreadPoolExecutor(3) as pool:
        results = [pool.submit(flights.run, "key", fail) for _ in range(3)]
        assert task.started.wait(LIMIT)
        wait_for_joiners(flights, "key", 2)
        task.release.set()
        errors = [result.exception(LIMIT) for result in results]
    assert task.runs == 1
    assert all(isinstance(error, PyparrotError) for error in errors)
    assert flights.run("key", lambda: [7]) == [7]


def test_a_wait_is_bounded() -> None:
    flights: SingleFlight[str, list[int]] = SingleFlight(patience=0.05)
    task = Task()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(flights.run, "key", task)
        assert task.started.wait(LIMIT)
        with pytest.raises(PyparrotError, match="too long"):
            flights.run("key", task)
        task.release.set()
        assert first.result(LIMIT) == [1]


def test_another_takes_over_from_one_who_is_interrupted() -> None:
    flights: SingleFlight[str, list[int]] = SingleFlight()
    task = Task()

    def interrupted() -> list[int]:
        task()
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.run, "key", interrupted)
        assert task.started.wait(LIMIT)
        second = pool.submit(flights.run, "key", lambda: [5])
        wait_for_joiners(flights, "key", 1)
        task.release.set()
        assert isinstance(first.exception(LIMIT), KeyboardInterrupt)
        assert second.result(LIMIT) == [5]


def test_waiting_for_oneself_is_refused() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    with pytest.raises(RuntimeError, match="itself"):
        flights.run("key", lambda: flights.run("key", lambda: 1))
    assert not flights._flights

"""Locks between processes: they exclude, they end with their owner, and no wait is without end."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyparrot.cache.locks import Locks
from pyparrot.cache.transactions import Transactions

OWNER = """
import sys
from pyparrot.cache.locks import Locks
from pyparrot.cache.transactions import Transactions
locks = Locks(sys.argv[1])
with locks.hold("work", 10), Transactions(sys.argv[2], locks).writing() as file:
    file.write(b"half")
    file.flush()
    print(locks.token, file.name, flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(work: Path) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """A process with a token, an unfinished file, and the lock "work" held until it ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, work / "lock", work / "txn"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        token, file = process.stdout.readline().split()
        yield token, file, process
    finally:
        process.kill()
        process.communicate()


def test_others_wait_and_take_over(tmp_path: Path) -> None:
    first, second = Locks(str(tmp_path / "lock")), Locks(str(tmp_path / "lock"))
    order = []

    def take() -> None:
        with second.hold("work", 30):
            order.append("second")

    with first.hold("work", 1):
        thread = threading.Thread(target=take)
        thread.start()
        with second.hold("something else", 0):
            time.sleep(0.1)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_a_wait_ends(tmp_path: Path) -> None:
    first, second = Locks(str(tmp_path / "lock")), Locks(str(tmp_path / "lock"))
    with first.hold("work", 1):
        begin = time.monotonic()
        with second.hold("work", 0.05):
            assert 0.05 <= time.monotonic() - begin < 10
        # What the second did not get it has not given back either.
        begin = time.monotonic()
        with second.hold("work", 0.05):
            assert time.monotonic() - begin >= 0.05


def test_what_was_not_got_is_not_given_back(tmp_path: Path) -> None:
    (tmp_path / "txn").mkdir()
    locks = Locks(str(tmp_path / "lock"))
    with other_process(tmp_path) as (_, _, process):
        with locks.hold("work", 0.01):
            pass
        begin = time.monotonic()
        with locks.hold("work", 0.3):
            assert time.monotonic() - begin >= 0.3
        assert process.poll() is None


def test_what_a_killed_process_leaves(tmp_path: Path) -> None:
    locks = Locks(str(tmp_path / "lock"))
    (tmp_path / "txn").mkdir()
    transactions = Transactions(str(tmp_path / "txn"), locks)
    with other_process(tmp_path) as (token, file, process):
        assert locks.is_alive(token)
        assert transactions.sweep() == 0
        assert transactions.others()
        process.kill()
        process.wait()
        assert not locks.is_alive(token)
        with locks.hold("work", 10):
            pass
        assert os.path.exists(file)
        assert transactions.sweep() == len(b"half")
        assert os.listdir(tmp_path / "txn") == []


def test_one_s_own_token_is_alive(tmp_path: Path) -> None:
    locks = Locks(str(tmp_path / "lock"))
    assert locks.token == locks.token
    assert locks.is_alive(locks.token)
    other = Locks(str(tmp_path / "lock"))
    assert other.token != locks.token
    assert other.is_alive(locks.token)
    token = locks.token
    del locks
    assert not other.is_alive(token)


@pytest.mark.parametrize("token", ["", "version", "elsewhere-5", "-", "{machine}-", "{machine}-x"])
def test_what_is_not_known_to_be_dead(token: str, tmp_path: Path) -> None:
    """It goes when it is old, but not before."""
    locks = Locks(str(tmp_path / "lock"))
    machine = locks.token.partition("-")[0]
    assert locks.is_alive(token.format(machine=machine))
    assert not locks.is_alive(f"{machine}-5")


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All goes on; nobody is taken for dead."""

    def refuse(*_: object) -> object:
        raise OSError(errno.ENOLCK, "no locks")

    locks = Locks(str(tmp_path / "lock"))
    (tmp_path / "txn").mkdir()
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with locks.hold("work", 10):
        machine = locks.token.partition("-")[0]
        assert locks.is_alive(f"{machine}-5")
    transactions = Transactions(str(tmp_path / "txn"), locks)
    with transactions.writing() as file:
        assert os.path.exists(file.name)
        assert transactions.sweep() == 0


def test_what_is_old_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locks = Locks(str(tmp_path / "lock"))
    (tmp_path / "txn").mkdir()
    transactions = Transactions(str(tmp_path / "txn"), locks)
    with transactions.writing() as file:
        file.write(b"long ago")
        file.flush()
        os.utime(file.name, (0, 0))  # says nothing
        assert transactions.sweep() == 0
        monkeypatch.setattr("pyparrot.cache.transactions.STALE_SECONDS", -1)
        assert transactions.sweep() == len(b"long ago")


def test_another_thread_is_another_one(tmp_path: Path) -> None:
    (tmp_path / "txn").mkdir()
    transactions = Transactions(str(tmp_path / "txn"), Locks(str(tmp_path / "lock")))
    found: list[bool] = []
    with transactions.writing():
        assert not transactions.others()
        thread = threading.Thread(target=lambda: found.append(transactions.others()))
        thread.start()
        thread.join(10)
    assert found == [True]
    assert os.listdir(tmp_path / "txn") == []

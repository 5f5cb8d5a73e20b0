"""Locks between processes that end with their owner, however it ends.

All locks are in one file, a byte of it for each purpose: open file description locks, as in
fcntl(2), which belong to a `Locks`, not to a process or thread. They keep processes from doing the
same work twice, and tell which unfinished files belong to dead processes. Correctness does not
depend on them: where the file system has no locks, or one is held for too long, work goes on
without them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import struct
import threading
import time
from collections.abc import Iterator

from pyparrot.cache.owned import open_shared

_FLOCK = struct.Struct("hhqqi4x")
_BYTES = 1 << 62
_BUSY = (errno.EACCES, errno.EAGAIN)
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


@functools.cache
def _machine() -> str:
    """What this machine is called since it was started: another name after each start."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(8)
    except OSError:
        return os.urandom(4).hex()  # nobody else's then, so that nobody is taken for dead


class Locks:
    """The locks in *file*. Threads may share one `Locks`, but never exclude each other with it."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._guard = threading.RLock()
        self._descriptor: int | None = None
        self._token = ""

    @property
    def token(self) -> str:
        """A text that `is_alive` for as long as this `Locks` or a fork of its process is there."""
        with self._guard:
            if not self._token:
                number = int.from_bytes(os.urandom(8), "little") % _BYTES
                with contextlib.suppress(OSError):
                    self._set(fcntl.F_WRLCK, number)
                self._token = f"{_machine()}-{number:x}"
            return self._token

    def is_alive(self, token: str) -> bool:
        """Whether the owner of *token* is still there; yes if that can't be known."""
        machine, _, number = token.partition("-")
        # Another machine's locks may be seen from here or not.
        if token == self._token or machine != _machine():
            return True
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, int(number, 16) % _BYTES, 1, 0)
            found = fcntl.fcntl(self._opened(), fcntl.F_OFD_GETLK, asked)
        except (OSError, ValueError):
            return True
        kind: int = _FLOCK.unpack(found)[0]
        return kind != fcntl.F_UNLCK

    @contextlib.contextmanager
    def hold(self, name: str, seconds: float) -> Iterator[None]:
        """Hold the lock of that *name*; waits for it up to *seconds*, then goes on without it."""
        import hashlib

        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") % _BYTES
        held = self._wait(number, seconds)
        try:
            yield
        finally:
            if held:
                self._set(fcntl.F_UNLCK, number)

    def _wait(self, number: int, seconds: float) -> bool:
        deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
        while True:
            try:
                self._set(fcntl.F_WRLCK, number)
                return True
            except OSError as error:
                if error.errno not in _BUSY or time.monotonic() > deadline:
                    return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _set(self, kind: int, number: int) -> None:
        wanted = _FLOCK.pack(kind, os.SEEK_SET, number, 1, 0)
        fcntl.fcntl(self._opened(), fcntl.F_OFD_SETLK, wanted)

    def _opened(self) -> int:
        with self._guard:
            if self._descriptor is None:
                self._descriptor = open_shared(self._file)
            return self._descriptor

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

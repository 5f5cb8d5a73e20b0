"""The process that the user started: it passes signals on, and the exit status.

Supervisor and monitor write to it through a pipe, a line for each message:

- ``P`` and the command's process number
- ``S`` when the command has been stopped
- ``X`` and the command's wait status, when it has ended and has left no process behind
- ``L`` and its wait status, when it has ended and others go on
- ``T`` when the supervisor has something to write at its end
- ``D`` when the supervisor has written all that it had to write
- ``W`` and the number of a signal that the supervisor has got
- ``E`` and why the command could not be started
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING

from pyparrot.errors import EXIT_FAILURE

if TYPE_CHECKING:
    from pyparrot.run.forwarding import Forwarder

_STATS_SECONDS = 5.0
_WRITE_SECONDS = 60.0
"""How long to wait for what the supervisor writes at its end."""


def wait(messages: int, supervisor: int, wait_for_statistics: bool) -> int:
    """Wait until the command has ended, and end as it did; gives its exit status.

    All signals are blocked. *wait_for_statistics*: they are to be written before this process ends
    even if other processes go on, if that does not take long.
    """
    return _Frontend(messages, supervisor, wait_for_statistics).wait()


class _Frontend:
    def __init__(self, messages: int, supervisor: int, wait_for_statistics: bool) -> None:
        self._messages = messages
        self._supervisor = supervisor
        self._wait_for_statistics = wait_for_statistics
        self._pending = b""
        self._forwarder: Forwarder | None = None
        self._witnessed: list[int] = []  # before there is a forwarder
        self._is_something_written = False

    def wait(self) -> int:
        while True:
            lines = self._read()
            if lines is None:
                print("pyparrot: run: the supervisor has ended before the command", file=sys.stderr)
                return EXIT_FAILURE
            for line in lines:
                kind, text = line[:1], line[1:]
                if kind == b"E":
                    text = text.decode("utf-8", "surrogateescape")
                    print(f"pyparrot: {text}", file=sys.stderr)
                    return EXIT_FAILURE
                if kind in b"XL":
                    seconds = _WRITE_SECONDS if kind == b"X" else 0.0
                    if kind == b"L" and self._wait_for_statistics:
                        seconds = _STATS_SECONDS
                    return self._end(int(text), seconds, lines)
                self._note(kind, text)

    def _read(self, seconds: float | None = None) -> list[bytes] | None:
        """The next messages; None at the end, or when the time is over."""
        if seconds is not None and not select.select([self._messages], [], [], seconds)[0]:
            return None
        data = os.read(self._messages, 4096)
        *lines, self._pending = (self._pending + data).split(b"\n")
        return lines if data else None

    def _note(self, kind: bytes, text: bytes) -> None:
        if kind == b"P":
            from pyparrot.run.forwarding import Forwarder

            self._forwarder = Forwarder(int(text), self._supervisor)
            for number in self._witnessed:
                self._forwarder.witness(number)
            self._forwarder.start()
        elif kind == b"S":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif kind == b"T":
            self._is_something_written = True
        elif kind == b"W":
            if self._forwarder is None:
                self._witnessed.append(int(text))
            else:
                self._forwarder.witness(int(text))

    def _end(self, status: int, seconds: float, lines: list[bytes] | None) -> int:
        """End as the command did, but not before all is written."""
        import time

        if self._forwarder is not None:
            self._forwarder.command_has_ended(lambda: os._exit(_end_like(status)))
        deadline = time.monotonic() + seconds
        while self._is_something_written and lines is not None and b"D" not in lines:
            lines = self._read(max(0.0, deadline - time.monotonic()))
        return _end_like(status)


def _end_like(status: int) -> int:
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    number = os.WTERMSIG(status)
    # If there is to be a core file, the command has left it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_kill(threading.get_ident(), number)  # another thread takes what all can get
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    return 128 + number

"""The process that the user started: it passes signals on, and the exit status.

Supervisor and monitor write to it through a pipe, a line for each message:

- ``P`` and the process numbers of command, monitor and tracer
- ``R`` and the process number of another supervisor, when the one before was killed
- ``O`` when an orphan wants to know its parent (see ``csrc/task/reaper.h``)
- ``S`` when the command has been stopped
- ``X`` and the command's wait status, when it has ended and has left no process behind
- ``L`` and its wait status, when it has ended and others go on
- ``T`` when the supervisor has something to write at its end
- ``D`` when the supervisor has written all that it had to write
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

from pyparrot.core import lib
from pyparrot.errors import EXIT_FAILURE

if TYPE_CHECKING:
    from pyparrot.run.forwarding import Forwarder
    from pyparrot.run.roles import FrontendMemory

_STATS_SECONDS = 5.0
_WRITE_SECONDS = 60.0
"""How long to wait for what the supervisor writes at its end."""


def wait(
    messages: int,
    supervisor: int,
    shared: FrontendMemory,
    wait_for_statistics: bool,
) -> int:
    """Wait until the command has ended, and end as it did; gives its exit status.

    All signals are blocked. *shared* is memory that supervisors have, too.
    *wait_for_statistics*: they are to be written before this process ends even if other processes
    go on, if that does not take long.
    """
    return _Frontend(messages, supervisor, shared, wait_for_statistics).wait()


class _Frontend:
    def __init__(
        self,
        messages: int,
        supervisor: int,
        shared: FrontendMemory,
        wait_for_statistics: bool,
    ) -> None:
        self._messages = messages
        self._helpers = {supervisor}  # not to be ended with the command
        self._supervisor = supervisor
        self._monitor = -1
        self._shared = shared
        self._wait_for_statistics = wait_for_statistics
        self._pending = b""
        self._forwarder: Forwarder | None = None
        self._is_something_written = False

    def wait(self) -> int:
        while True:
            lines = self._read()
            if lines is None:
                return self._end_all()
            for line in lines:
                kind, text = line[:1], line[1:]
                if kind == b"E":
                    print(f"pyparrot: {text.decode('utf-8', 'surrogateescape')}", file=sys.stderr)
                    return EXIT_FAILURE
                if kind == b"L":
                    self._find_reaper()  # nobody can be asked when we have ended
                if kind in b"XL":
                    seconds = _WRITE_SECONDS if kind == b"X" else 0.0
                    if kind == b"L" and self._wait_for_statistics:
                        seconds = _STATS_SECONDS
                    self._wait_until_written(seconds, lines, int(text))
                    return _end_like(int(text))
                self._note(kind, text)

    def _read(self, seconds: float | None = None) -> list[bytes] | None:
        """The next messages; None at the end, when the monitor has ended, or when time is over."""
        watched = [self._messages] if self._monitor < 0 else [self._messages, self._monitor]
        if self._messages not in select.select(watched, [], [], seconds)[0]:
            return None
        data = os.read(self._messages, 4096)
        *lines, self._pending = (self._pending + data).split(b"\n")
        return lines if data else None

    def _note(self, kind: bytes, text: bytes) -> None:
        if kind == b"P":
            from pyparrot.run.forwarding import Forwarder

            command, monitor, tracer = map(int, text.split())
            self._helpers.add(tracer)
            with contextlib.suppress(ProcessLookupError):
                self._monitor = os.pidfd_open(monitor)
            self._forwarder = Forwarder(command, self._supervisor, self._shared.witness)
            self._forwarder.start()
        elif kind == b"R":
            self._helpers.add(int(text))
            if self._forwarder is not None:
                self._forwarder.supervisor = int(text)
        elif kind == b"O":
            self._find_reaper()
        elif kind == b"S":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif kind == b"T":
            self._is_something_written = True

    def _find_reaper(self) -> None:
        lib.pp_reaper_find(self._shared.reaper)

    def _end_all(self) -> int:
        """The monitor has ended before the command, and nobody else can go on."""
        from pyparrot.run.tasks import kill_descendants

        kill_descendants(self._helpers)
        self._wait_until_written(_WRITE_SECONDS, [], None)
        why = "the monitor was killed: the command was ended"
        print(f"pyparrot: run: {why}", file=sys.stderr)
        return EXIT_FAILURE

    def _wait_until_written(
        self, seconds: float, lines: list[bytes] | None, status: int | None
    ) -> None:
        """Wait for all that the supervisor writes, or for a signal: *status* is the command's."""
        import time

        if self._forwarder is not None:
            self._forwarder.command_has_ended(
                lambda: os._exit(EXIT_FAILURE if status is None else _end_like(status))
            )
        deadline = time.monotonic() + seconds
        self._monitor = -1  # it ends now
        while self._is_something_written and lines is not None and b"D" not in lines:
            lines = self._read(max(0.0, deadline - time.monotonic()))


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

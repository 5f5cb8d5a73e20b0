"""Signals for the command that have come to the frontend alone.

Whoever sends a signal may mean the frontend, which he takes for the command, or its process group,
or all processes of a job, one by one. In the last two cases the command gets the signal itself; and
so does the supervisor, which is in the same group and does nothing else with signals than tell. So
what the frontend gets is passed on unless the supervisor has got as much.

Each signal waits `WINDOW` for that: whoever signals one process after the other takes a while.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Callable, NoReturn

from pyparrot.run.witness import Reader, pending

if TYPE_CHECKING:
    from pyparrot.core import PpWitness

WINDOW = 0.1
"""Seconds between what one sender sends to one process and to another, at the most."""

_BY_KERNEL = 0x80
"""si_code of what the terminal's driver sends, and timers."""

_NOT_FORWARDED = {
    signal.SIGCHLD,  # of our own children
    signal.SIGKILL,
    signal.SIGSTOP,
}
_FAULTS = {
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
_ENDING = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}


class Forwarder:
    """Passes signals on to *command* unless *supervisor* has got them, too (process numbers).

    Where there is no supervisor just then, what the kernel sends is taken for the terminal's, which
    the command gets, too. (Only SIGHUP may be for the session's leader alone.)
    """

    def __init__(self, command: int, supervisor: int, witness: PpWitness) -> None:
        self._command = -1
        with contextlib.suppress(ProcessLookupError):  # a short one may have ended before
            self._command = os.pidfd_open(command)
        self.supervisor = supervisor
        self._witnessed = Reader(witness)
        self._waiting: deque[tuple[float, int, int]] = deque()  # when, number, code
        self._at_end: Callable[[], object] | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._run, daemon=True).start()

    def command_has_ended(self, end: Callable[[], object]) -> None:
        """Call *end* if anybody wants this process to end before it has done all."""
        self._at_end = end

    def _run(self) -> NoReturn:
        wanted = signal.valid_signals() - _NOT_FORWARDED
        while True:
            info = signal.sigtimedwait(wanted, self._seconds_left())
            if info is not None and not (info.si_signo in _FAULTS and info.si_code > 0):
                self._waiting.append((time.monotonic(), info.si_signo, info.si_code))
            self._forward_due()

    def _seconds_left(self) -> float:
        if not self._waiting:
            return 3600.0
        return max(0.0, self._waiting[0][0] + WINDOW - time.monotonic())

    def _forward_due(self) -> None:
        if not self._waiting:
            return
        waiting = pending(self.supervisor)
        is_behind = waiting is not None and self._witnessed.is_behind(self.supervisor)
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] + WINDOW <= now:
            received, number, code = self._waiting.popleft()
            if is_behind or (waiting is not None and waiting >> (number - 1) & 1):
                # It may have come to the supervisor, which has had no time to say so.
                self._waiting.append((now, number, code))
            elif not self._was_witnessed(received, number) and (
                waiting is not None or code != _BY_KERNEL or number == signal.SIGHUP
            ):
                self._forward(number)

    def _was_witnessed(self, received: float, number: int) -> bool:
        """Whether the supervisor has got a signal as well."""
        return self._witnessed.take(number, received - WINDOW, received - 10 * WINDOW)

    def _forward(self, number: int) -> None:
        if self._at_end is not None:
            if number in _ENDING:
                self._at_end()
            return
        if self._command >= 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._command, number)

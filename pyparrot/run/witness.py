"""Which signals the supervisor has got: what has come to it has come to the command, too.

Both are in the process group that the run was started in. So the frontend, which is in it as well,
can tell what was sent to it alone. The supervisor writes down what it gets, in memory that it
shares with the frontend, from the moment that the command is there to get the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from typing import TYPE_CHECKING

from pyparrot.core import lib

if TYPE_CHECKING:
    from pyparrot.core import PpWitness


def begin(witness: PpWitness, command: int | None = None) -> None:
    """Write down all that this process gets, for ever; all signals are blocked in all threads.

    What has come already is sent to the process *command*, which has not begun, unless it has got
    it.
    """
    if command is not None:
        missed = (pending(os.getpid()) or 0) & ~(pending(command) or 0)
        for number in signal.valid_signals() - {signal.SIGCHLD}:
            if missed >> (number - 1) & 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(command, number)
    threading.Thread(target=lib.pp_witness_signals, args=(witness,), daemon=True).start()


def pending(process: int) -> int | None:
    """The signals that wait for a process, a bit each; None if it has ended."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as status:
            lines = dict(line.partition(":")[::2] for line in status)
    except OSError:
        return None
    return None if lines["State"].split()[0] in "ZX" else int(lines["ShdPnd"], 16)


class Reader:
    """The frontend's view of what was written down."""

    def __init__(self, witness: PpWitness) -> None:
        self._witness = witness
        self._read = 0
        self._seen: deque[tuple[float, int]] = deque()

    def is_behind(self, process: int) -> bool:
        """Whether the supervisor, of that number, has just taken a signal and not said so yet."""
        try:
            with open(f"/proc/{process}/task/{self._witness.thread}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] in (b"R", b"D")
        except OSError:
            return False

    def take(self, number: int, since: float, forget: float) -> bool:
        """Whether a signal has come *since* that time, which then counts no more.

        What came before *forget* is dropped. Both are seconds of the monotonic clock.
        """
        count = self._witness.count
        for turn in range(max(self._read, count - lib.PP_WITNESSED), count):
            entry = self._witness.ring[turn % lib.PP_WITNESSED]
            self._seen.append((entry.time * 1e-9, entry.number))
        self._read = count
        while self._seen and self._seen[0][0] < forget:
            self._seen.popleft()
        for seen in self._seen:
            if seen[1] == number and seen[0] >= since:
                self._seen.remove(seen)
                return True
        return False

"""What a run tells its user: lines on standard error or in a log, and statistics at the end."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from pyparrot.errors import printable

if TYPE_CHECKING:
    from pyparrot.libc.substitution import Shim
    from pyparrot.run.engines.base import Counters


_REMEMBERED = 1000
"""So many lines are not said again."""


class Reporter:
    """Writes lines to the file *log*, or to standard error if that is None. Any thread may.

    *verbosity* is how often ``-v`` was given. With a log, lines of level 1 are written in any case.
    """

    def __init__(self, verbosity: int, log: str | None) -> None:
        self._started = time.monotonic()
        self._saying = threading.Lock()
        self._said: dict[str, None] = {}  # the last ones, in order
        self._descriptor = 2
        self._level = verbosity
        if log is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(log, flags, 0o666)
            self._level = max(verbosity, 1)

    def say(self, level: int, text: str | bytes) -> None:
        """A line of a *level*: 0 for what is always said, 1 with ``-v``, 2 with ``-vv``."""
        if level <= self._level:
            os.write(self._descriptor, f"pyparrot: {printable(text)}\n".encode())

    def complain(self, text: str) -> None:
        """Say what has failed, once: thousands of calls may fail for the same reason."""
        with self._saying:
            if text in self._said:
                return
            self._said[text] = None
            if len(self._said) > _REMEMBERED:
                del self._said[next(iter(self._said))]
        self.say(0, text)

    def statistics(
        self, calls: Counters, shim: Shim | None, fetched: tuple[int, int], waited: float
    ) -> None:
        """The line of ``--stats``.

        *fetched* is how many requests were made, and how many bytes arrived, *waited* how many
        seconds calls have waited for that.
        """
        seconds = time.monotonic() - self._started
        requests, size = fetched
        line = (
            f"{seconds:.2f} s; system calls: {calls.calls} trapped = {calls.ran} let run"
            f" + {calls.answered} answered + {calls.opened} opened + {calls.changed} changed;"
            f"{_shim_statistics(shim)}"
            f" fetched: {requests} requests, {size / 1e6:.3f} MB;"
            f" waited for what was missing: {waited:.2f} s in {calls.asked} calls"
        )
        self.say(0, line)


def _shim_statistics(shim: Shim | None) -> str:
    if shim is None:
        return ""
    shared = shim.shared.pointer
    return f" shim: {shared.answered} answered, {shared.ran} let through, {shared.left} left;"

"""What a run tells its user: lines on standard error or in a log, and statistics at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyparrot.errors import printable

if TYPE_CHECKING:
    from pyparrot.libc.substitution import Shim
    from pyparrot.run.engines.base import Counters
    from pyparrot.tree.base import Tree


class Reporter:
    """Writes lines to the file *log*, or to standard error if that is None. Any thread may.

    *verbosity* is how often ``-v`` was given. With a log, lines of level 1 are written in any case.
    """

    def __init__(self, verbosity: int, log: str | None) -> None:
        self._started = time.monotonic()
        self._said: set[str] = set()
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
        if text not in self._said:
            self._said.add(text)
            self.say(0, text)

    def statistics(
        self, calls: Counters, shim: Shim | None, opened: Sequence[Tree], waited: float
    ) -> None:
        """The line of ``--stats``: what trees that were *opened* have fetched, among other things.

        *waited* is how many seconds calls have waited for what was fetched.
        """
        from pyparrot.sources.capabilities import Transported

        seconds = time.monotonic() - self._started
        fetched = [tree.transferred() for tree in opened if isinstance(tree, Transported)]
        requests, size = sum(each[0] for each in fetched), sum(each[1] for each in fetched)
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

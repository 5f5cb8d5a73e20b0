"""Progress for people: a bar on a terminal, plain lines elsewhere, on standard error."""

from __future__ import annotations

import sys
import time
from typing import Any

_LINE_INTERVAL = 10.0
"""Seconds between two plain lines."""


class Progress:
    """Counts what is done of something that takes long.

    *unit* is what is counted. Use as a context manager; `warn` may be called at any time.
    """

    def __init__(self, what: str, unit: str, quiet: bool = False) -> None:
        self._what = what
        self._unit = unit
        self._quiet = quiet
        self._done = 0
        self._total: int | None = None
        self._next_line = time.monotonic() + _LINE_INTERVAL
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            import tqdm

            self._bar = tqdm.tqdm(
                desc=self._what, unit=f" {self._unit}", leave=False, dynamic_ncols=True
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def expect(self, total: int) -> None:
        """Say how much there is to do in all."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total
            self._bar.refresh()

    def advance(self, count: int = 1) -> None:
        """Say that *count* more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif not self._quiet and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_INTERVAL
            of_total = f" of {self._total}" if self._total is not None else ""
            self._print(f"{self._what}: {self._done}{of_total} {self._unit}")

    def warn(self, message: str) -> None:
        """Print a warning as a line of its own, whether quiet or not."""
        self._print(f"pyparrot: warning: {message}")

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

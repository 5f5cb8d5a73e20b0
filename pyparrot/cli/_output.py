"""Standard output and standard error: bytes, JSON, and what people read."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from pyparrot.errors import PyparrotError, printable


def output() -> BinaryIO:
    """Standard output for bytes; `PyparrotError` if there is none."""
    if sys.stdout is None:
        raise PyparrotError("standard output", "it is closed")
    return sys.stdout.buffer


def write(data: bytes) -> None:
    """Write to standard output: names are bytes, whatever they encode."""
    output().write(data)


def to_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def shown_name(name: bytes) -> bytes:
    """A name as it is written: raw, but nothing that a terminal would obey."""
    if not to_terminal():
        return name
    return "".join(c if c.isprintable() else "?" for c in os.fsdecode(name)).encode()


def write_json(value: object) -> None:
    """Write JSON; surrogates stand for the bytes that are not UTF-8."""
    import json

    print(json.dumps(value, indent=2))


def time_text(seconds: float) -> str:
    """A time, for people; as a number if it is in no year that there is a calendar for."""
    import time

    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"


def write_facts(facts: Mapping[str, object]) -> None:
    """Write facts, a line each, in two columns."""
    width = max(map(len, facts), default=0) + 2
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):{width}}{printable(str(value))}".rstrip())


def warn(text: str) -> None:
    """Print a warning."""
    print(f"pyparrot: warning: {printable(text)}", file=sys.stderr)


def report_faults(faults: Sequence[str], summary: str | None) -> int:
    """Print what a check has found, a line each, and then the *summary*; gives the exit status."""
    for fault in faults:
        print(printable(fault))
    if summary is not None:
        print(summary)
    return 1 if faults else 0


def size_text(count: float) -> str:
    """A number of bytes."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.{0 if unit == 'bytes' else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"

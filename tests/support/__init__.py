"""What several tests share: how they run the command line."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pyparrot import cli


class Result(NamedTuple):
    """What a command did: its exit status and what it wrote."""

    status: int
    out: str
    err: str


class Publish(Protocol):
    """Runs ``pyparrot publish``, as `run_publish` does."""

    def __call__(self, *words: str | bytes | os.PathLike[str], status: int = 0) -> Result:
        """Run it with *words*; it must end with *status*."""


def run_pyparrot(words: Sequence[str]) -> Result:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(words)
    return Result(status, out.getvalue(), err.getvalue())


def run_publish(*words: str | bytes | os.PathLike[str], status: int = 0) -> Result:
    """Run ``pyparrot publish`` with *words* in this process; it must end with *status*."""
    result = run_pyparrot(["publish", *(os.fsdecode(word) for word in words)])
    assert result.status == status, f"publish {words}: {result}"
    return result

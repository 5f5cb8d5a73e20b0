"""What came of one run, beside what the same job gives natively.

The kinds, the worst first:

``traceback``  something of pyparrot's says it in the words of Python or of the C library
``hang``       it had to be ended, since nothing more came of it, nor a request to the server
``left``       a process was left behind
``wrong``      a step gave something else than natively, or failed without a line that says why
``unhealed``   it was right or clean, but the next run, without a fault, was not right
``clean``      steps failed, or the whole run, and a line says what and why
``right``      all as natively
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

from support.runs import processes_with, started

KINDS = ("traceback", "hang", "left", "wrong", "unhealed", "clean", "right")
PROBLEMS = KINDS[:5]

HANG_SECONDS = 30.0
_LEFT_SECONDS = 5.0
_TRACEBACK = re.compile(
    r"Traceback \(most recent call last\)|^Fatal Python error|Exception ignored in"
    r"|terminate called|\*\*\* .* \*\*\*: terminated|^  File \"",
    re.MULTILINE,
)
_CLEAN_LINE = re.compile(r"^pyparrot: .+: \S", re.MULTILINE)
_BY_NUMBER = re.compile(r"\[Errno \d+\]")
_FAILURES = ("EIO", "ENOSPC", "EDQUOT", "EFBIG", "ENOMEM", "EMFILE", "ENFILE", "EAGAIN")
"""What a step may give because of a fault; ENOENT is one of them only where nothing was mounted."""


class Outcome(NamedTuple):
    """The *kind* of an outcome, and in a line why it is no better."""

    kind: str
    why: str = ""


class Ended(NamedTuple):
    """How a run has ended; *status* is None if it had to be ended."""

    status: int | None
    out: str
    err: str
    left: Mapping[int, str]


def run(
    words: Sequence[str], mark: str, progress: Callable[[], int] = lambda: 0, **options: Any
) -> Ended:
    """Run a command, all of whose processes have *mark* in their command lines.

    It has to say something every now and then, or *progress* to grow, or it is ended.
    """
    with started(words, **options) as process:
        status, (out, err) = _read(process, progress)
        if status is None:
            end_all(mark)
            process.kill()
    left = wait_for_all(mark)
    if left:
        end_all(mark)
    return Ended(status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), left)


def _read(
    process: subprocess.Popen[bytes], progress: Callable[[], int]
) -> tuple[int | None, list[bytes]]:
    """The exit status, None if nothing more has come, and what was written."""
    assert process.stdout
    assert process.stderr
    written = [b"", b""]
    before = progress()
    with selectors.DefaultSelector() as selector:
        for place, stream in enumerate((process.stdout, process.stderr)):
            selector.register(stream, selectors.EVENT_READ, place)
        while selector.get_map():
            ready = selector.select(HANG_SECONDS)
            if not ready and progress() == before:
                return None, written
            before = progress()
            for key, _ in ready:
                content = os.read(key.fd, 65536)
                written[key.data] += content
                if not content:
                    selector.unregister(key.fileobj)
    try:
        return process.wait(HANG_SECONDS), written
    except subprocess.TimeoutExpired:
        return None, written


def wait_for_all(mark: str) -> dict[int, str]:
    """Wait until no process has *mark*; gives those that stay."""
    deadline = time.monotonic() + _LEFT_SECONDS
    while True:
        left = {n: line for n, line in processes_with(mark).items() if n != os.getpid()}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)


def end_all(mark: str) -> None:
    """Kill every process that has *mark*."""
    for number in processes_with(mark):
        if number != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, 9)


shown: Callable[[Ended], object] | None = None
"""Sees each run that is judged."""


def judge(ended: Ended, native: str, native_status: int = 0) -> Outcome:
    """Compare how a run has ended with the *native* output and status."""
    if shown:
        shown(ended)
    found = _without_right_end(ended)
    if found:
        return found
    if ended.out == native and ended.status == native_status:
        return Outcome("right")
    wrong = _first_wrong(ended.out.splitlines(), native.splitlines())
    if wrong:
        return Outcome("wrong", f"{wrong}; {_last(ended.err)}")
    if not _CLEAN_LINE.search(ended.err):
        return Outcome("wrong", f"status {ended.status} without a word; {_last(ended.out)}")
    return Outcome("clean", _last(ended.err))


def _without_right_end(ended: Ended) -> Outcome | None:
    """What is wrong whatever was written."""
    traceback = _TRACEBACK.search(ended.err)
    if traceback:
        return Outcome("traceback", _line_at(ended.err, traceback.start()))
    if ended.status is None:
        return Outcome("hang", f"after {HANG_SECONDS:.0f} s; {_last(ended.err)}")
    if ended.left:
        return Outcome("left", "; ".join(ended.left.values())[:300])
    if _BY_NUMBER.search(ended.err):
        return Outcome("traceback", _last(ended.err))
    return None


def _first_wrong(found: Sequence[str], native: Sequence[str]) -> str:
    """The first step of a run that gave a wrong answer: not the native one, and no failure."""
    wanted = dict(line.split(": ", 1) for line in native)
    mounted = any(line.startswith("list ") and ": error" not in line for line in found)
    for line in found:
        step, _, outcome = line.partition(": ")
        failures = _FAILURES if mounted else (*_FAILURES, "ENOENT")
        if outcome == wanted.get(step) or outcome in [f"error {name}" for name in failures]:
            continue
        if step.startswith("exec ") and outcome.startswith("exit "):
            continue  # it could be started, but not read what it needs
        return f"{line} (natively {wanted.get(step)})"
    return ""


def _line_at(text: str, start: int) -> str:
    lines = text[start:].splitlines()
    return f"{lines[0]} … {lines[-1]}"[:300]


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "(nothing)"


class Tally:
    """How many runs had which outcome, and the problems by their seeds."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self.problems: list[tuple[int, str, Outcome]] = []
        self.seconds = 0.0

    def add(self, seed: int, fault: str, outcome: Outcome) -> None:
        """Count an outcome of the *fault* that *seed* chose."""
        self.counts[outcome.kind] += 1
        if outcome.kind in PROBLEMS:
            self.problems.append((seed, fault, outcome))

    @property
    def runs(self) -> int:
        """How many there were."""
        return sum(self.counts.values())


def native(job: Path, source: Path, environment: Mapping[str, str], **options: Any) -> str:
    """What the job says of the directory itself."""
    words = ["/usr/bin/python3", "-I", "-S", str(job), str(source)]
    written: bytes = subprocess.check_output(words, env=dict(environment), **options)
    return written.decode()

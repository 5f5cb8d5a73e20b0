"""The processes of a run that are not pyparrot's own: to wait for their end, or to end them all."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Collection, Iterator

from pyparrot.run import fds

_PAUSE = 0.002


def until_all_have_ended(
    listener: int,
    to_frontend: int,
    monitor: int,
    spare: Collection[int] = (),
    seconds: float | None = None,
) -> Iterator[None]:
    """Wait for the end of the last task; gives a turn every so many seconds, and now and then.

    Their calls come by *listener*. If the monitor, of that process number, ends before them, all
    that descend from this process are ended, but those to *spare*. When the frontend has ended,
    standard error is let go.
    """
    watched = os.pidfd_open(monitor)
    poll = select.poll()
    poll.register(listener, 0)
    poll.register(to_frontend, 0)
    poll.register(watched, select.POLLIN)
    timeout = None if seconds is None else seconds * 1000
    while True:
        ended = {descriptor for descriptor, _ in poll.poll(timeout)}
        if listener in ended:
            return
        if watched in ended:
            poll.unregister(watched)
            kill_descendants(spare)
        if to_frontend in ended:
            # A program that reads the command's output must not wait for its daemons.
            poll.unregister(to_frontend)
            fds.redirect_to_null(2)
        yield


def kill_descendants(spare: Collection[int] = (), seconds: float = 10.0) -> None:
    """End all that descend from this process, but those to *spare* (process numbers).

    They may start others meanwhile, so this is repeated until there are none. This process has to
    inherit orphans (``pp_become_subreaper``); it waits for them.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = [number for number in _descendants(os.getpid()) if number not in spare]
        for number in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        _reap(left)
        if not left or time.monotonic() > deadline:
            return
        time.sleep(_PAUSE)


def _reap(numbers: Collection[int]) -> None:
    """Wait for children of our own that have ended: else they seem to be there still."""
    for number in numbers:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(number, os.WNOHANG)


def _descendants(process: int) -> Iterator[int]:
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            parent = _living_child_of(name)
            if parent:
                parents.setdefault(parent, []).append(int(name))
    pending = [process]
    while pending:
        children = parents.get(pending.pop(), [])
        yield from children
        pending += children


def _living_child_of(name: str) -> int:
    """The parent of a process; 0 if it has ended, and only its own parent may still wait for it."""
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    # One that has ended has no children any more.
    return int(words[1]) if words[0] not in (b"Z", b"X") or int(words[1]) == os.getpid() else 0

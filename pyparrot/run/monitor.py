"""The monitor: the command's parent, which inherits its orphans and reports what becomes of it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pyparrot.run.session_memory import SessionMemory


def monitor(
    command: Sequence[str],
    environment: Mapping[str, str],
    to_supervisor: socket.socket,
    to_frontend: int,
    mask: Collection[int],
    memory: SessionMemory,
    engine: str,
) -> NoReturn:
    """Be the parent of the command and of all its orphans, until the last has ended.

    *to_supervisor*, *mask* and *engine* are for the command: see `child.start`. *to_frontend* is
    the pipe that the frontend reads, *memory* what outlives the supervisor.
    """
    from pyparrot.core import lib
    from pyparrot.run import child as child_side
    from pyparrot.run import fds

    status = 0
    try:
        lib.pp_become_subreaper()
        child = os.fork()
        if child == 0:
            cookie = memory.cookie
            child_side.start(command, environment, to_supervisor, mask, cookie, engine)
        to_supervisor.close()
        os.write(to_frontend, b"P%d\n" % child)
        os.setsid()
        fds.redirect_to_null(0, 1, 2)
        fds.close_inherited({to_frontend} | memory.descriptors)
        threading.Thread(target=_watch_frontend, args=(to_frontend, child), daemon=True).start()
        _reap(child, to_frontend)
    except BaseException:
        status = 1
    finally:
        os._exit(status)


def _reap(command: int, to_frontend: int) -> None:
    options = os.WUNTRACED
    while True:
        try:
            child, status = os.waitpid(-1, options)
        except ChildProcessError:
            return
        if child != command:
            continue
        if os.WIFSTOPPED(status):
            _tell(to_frontend, b"S%d\n" % os.WSTOPSIG(status))
        else:
            _tell(to_frontend, b"X%d\n" % status)


def _tell(to_frontend: int, message: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(to_frontend, message)


def _watch_frontend(to_frontend: int, command: int) -> None:
    """Kill the command when the frontend ends before it: to kill that is to kill the command."""
    poll = select.poll()
    poll.register(to_frontend, 0)
    poll.poll()
    with contextlib.suppress(ProcessLookupError):
        os.kill(command, signal.SIGKILL)

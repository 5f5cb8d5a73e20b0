"""The monitor: the command's parent, which inherits its orphans and reports what becomes of it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Sequence
from typing import NoReturn

from pyparrot.run import fds
from pyparrot.run.given import Given, spare_from_oom_killer


def monitor(
    command: Sequence[str],
    variables: Sequence[bytes],
    given: Given,
    to_supervisor: socket.socket,
    to_frontend: int,
    cookie: int,
    engine: str,
) -> NoReturn:
    """Be the parent of the command and of all its orphans, until the last has ended.

    *variables*, *given*, *to_supervisor*, *cookie* and *engine* are for the command: see
    `child.start`. *to_frontend* is the pipe that the frontend reads.
    """
    from pyparrot.core import lib
    from pyparrot.run import child as child_side

    status = 0
    try:
        lib.pp_become_subreaper()
        too_early = signal.sigpending()
        child = os.fork()
        if child == 0:
            child_side.start(command, variables, given, to_supervisor, cookie, engine)
        to_supervisor.close()
        for number in too_early:
            # To the group, which the command was not yet in: the supervisor has witnessed it.
            os.kill(child, number)
        os.write(to_frontend, b"P%d\n" % child)
        # What is sent to the command's group is not for us. In its session we stay: a group whose
        # members' parents are all in other sessions could not be stopped from the terminal.
        os.setpgid(0, 0)
        spare_from_oom_killer()
        fds.redirect_to_null(0, 1, 2)
        fds.close_inherited({to_frontend})
        threading.Thread(target=_watch_frontend, args=(to_frontend, child), daemon=True).start()
        _reap(child, to_frontend)
    except BaseException:
        status = 1
    finally:
        os._exit(status)


def _reap(command: int, to_frontend: int) -> None:
    ended = None
    while True:
        try:
            # Once the command has ended, the first look is whether there is anybody else.
            child, status = os.waitpid(-1, os.WUNTRACED | (os.WNOHANG if ended is not None else 0))
        except ChildProcessError:
            if ended is not None:
                _tell(to_frontend, b"X%d\n" % ended)
            return
        if child == 0 and ended is not None:
            _tell(to_frontend, b"L%d\n" % ended)
            ended = None
        elif child != command:
            continue
        elif os.WIFSTOPPED(status):
            _tell(to_frontend, b"S%d\n" % os.WSTOPSIG(status))
        else:
            ended = status


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

"""A run: a command that sees repositories, from its start to its exit status.

Four processes take part. The *frontend* is what the user started: it passes signals on, and the
exit status. The *supervisor* serves system calls; it has to be an ancestor of all processes that it
serves, since hosts may allow no other process to look at them. The *monitor* is the command's
parent and inherits its orphans: the supervisor holds tasks by ptrace for moments, and a parent that
waits for them would take the notices that are meant for it. The *command* is the fourth.

    frontend ── supervisor ── monitor ── command ── …

The frontend ends with the command, when all is written that the run leaves behind. Supervisor and
monitor stay until the last process has ended that the command has left behind; if there is one, the
frontend does not wait for them.

Frontend and supervisor are in the process group that the frontend was started in, as the command
is; the monitor is in one of its own. So the supervisor gets what is sent to the group, and tells
the frontend, which passes on what was sent to it alone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from pyparrot.run import fds, given
from pyparrot.run.options import Options

ENVIRONMENT_MARK = "PYPARROT_RUN"
"""Set in the command's environment, so that a run inside of a run is noticed."""


def run(command: Sequence[str], options: Options) -> int:
    """Run *command* and give its exit status; a signal that ends it ends this process, too.

    If the run cannot be started here, it says so on standard error.
    """
    from pyparrot.run import frontend

    was_given = given.take()
    if is_inside() and options == Options():
        _join(command, was_given)
    messages, to_frontend = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(messages)
        _become(lambda: _supervise(command, options, to_frontend, was_given), to_frontend)
    os.close(to_frontend)
    fds.redirect_to_null(0, 1)
    fds.close_inherited({messages})
    given.spare_from_oom_killer()
    return frontend.wait(messages, child, options.stats)


def is_inside() -> bool:
    """Whether this process runs in a run already."""
    if ENVIRONMENT_MARK not in os.environ:
        return False
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return any(line.split() == ["Seccomp:", "2"] for line in status)


def _join(command: Sequence[str], was_given: given.Given) -> NoReturn:
    """Run the command inside of the run that there is: it sees the same repositories."""
    from pyparrot.run import child

    child.become(command, was_given.environment, was_given)


def _become(role: Callable[[], None], to_frontend: int) -> NoReturn:
    from pyparrot.errors import understood

    status = 125
    try:
        role()
        status = 0
    except Exception as error:
        failure = understood(error)
        text = str(failure) if failure else f"supervisor: {type(error).__name__}: {error}"
        os.write(to_frontend, b"E" + text.encode("utf-8", "surrogateescape") + b"\n")
        if failure is None:
            sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)


def _supervise(
    command: Sequence[str], options: Options, to_frontend: int, was_given: given.Given
) -> None:
    from pyparrot.run import monitor

    _drop_signals()
    ours, theirs = socket.socketpair()
    cookie = int.from_bytes(os.urandom(8), "little") | 1
    variables = was_given.variables({**options.environment, ENVIRONMENT_MARK: str(os.getpid())})
    child = os.fork()
    if child == 0:
        ours.close()
        monitor.monitor(command, variables, was_given, theirs, to_frontend, cookie, options.engine)
    theirs.close()
    _witness_signals(to_frontend)
    given.spare_from_oom_killer()
    fds.close_inherited({ours.fileno(), to_frontend})
    from pyparrot.run.supervisor import Supervisor

    Supervisor(options, cookie, to_frontend).serve(ours)


def _drop_signals() -> None:
    """Forget which signals have come: the command has not got them, so they are to be passed on."""
    while signal.sigtimedwait(signal.valid_signals(), 0) is not None:
        pass


def _witness_signals(to_frontend: int) -> None:
    """Tell the frontend, for ever, what this process gets: the command gets that, too."""
    from pyparrot.core import lib

    threading.Thread(target=lib.pp_witness_signals, args=(to_frontend,), daemon=True).start()

"""A run: a command that sees repositories, from its start to its exit status.

Five processes take part. The *frontend* is what the user started: it proxies signals and the exit
status. The *supervisor* serves system calls; it has to be an ancestor of all processes that it
serves, since hosts may allow no other process to look at them. The *tracer* makes those calls that
need other arguments. The *monitor* is the command's parent and inherits its orphans: the tracer
holds tasks by ptrace for moments, and a parent that waits for them would take the notices that are
meant for it. The *command* is the fifth.

    frontend ── supervisor ── tracer ── monitor ── command ── …

The frontend ends with the command. The three between stay until the last process has ended that the
command has left behind.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

from pyparrot.run.options import Options

ENVIRONMENT_MARK = "PYPARROT_RUN"
"""Set in the command's environment, so that a run inside of a run is noticed."""


def run(command: Sequence[str], options: Options) -> int:
    """Run *command* and give its exit status; a signal that ends it ends this process, too.

    If the run cannot be started here, it says so on standard error.
    """
    from pyparrot.run import frontend

    if is_inside() and options == Options():
        join(command)
    messages, to_frontend = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    child = os.fork()
    if child == 0:
        os.close(messages)
        _become(lambda: _supervise(command, options, to_frontend, mask), to_frontend)
    os.close(to_frontend)
    return frontend.wait(messages, options.stats)


def is_inside() -> bool:
    """Whether this process runs in a run already."""
    if ENVIRONMENT_MARK not in os.environ:
        return False
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return any(line.split() == ["Seccomp:", "2"] for line in status)


def join(command: Sequence[str]) -> NoReturn:
    """Run the command inside of the run that there is: it sees the same repositories."""
    from pyparrot.run import child

    child.execute(command, dict(os.environ))


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
    command: Sequence[str], options: Options, to_frontend: int, mask: Collection[int]
) -> None:
    from pyparrot.run import fds, monitor, tracer
    from pyparrot.run.session_memory import SessionMemory

    # Signals from the terminal are for the command: what is sent to the group must not end us.
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    ours, theirs = socket.socketpair()
    to_tracer, from_supervisor = socket.socketpair()
    cookie = int.from_bytes(os.urandom(8), "little") | 1
    memory = SessionMemory(cookie, options.shim)
    environment = {**os.environ, **options.environment, ENVIRONMENT_MARK: str(os.getpid())}
    child = os.fork()
    if child == 0:
        ours.close()
        to_tracer.close()
        if os.fork() == 0:
            from_supervisor.close()
            monitor.monitor(command, environment, theirs, to_frontend, mask, memory, options.engine)
        theirs.close()
        tracer.serve(memory.engine, cookie, from_supervisor, to_frontend)
    theirs.close()
    from_supervisor.close()
    memory.open_by(child)
    fds.close_inherited({ours.fileno(), to_tracer.fileno(), to_frontend} | memory.descriptors)
    from pyparrot.run.supervisor import Supervisor

    Supervisor(options, memory, to_frontend, to_tracer).serve(ours)

"""Another supervisor, or another tracer, in the place of one that was killed.

The monitor forks it. All that the one before has told tasks, all calls under way, and what is
mounted, are in memory that the monitor shares with it (`pyparrot.run.session_memory`).
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Callable

from pyparrot.run import fds, witness
from pyparrot.run.roles import Command, Run, become

_YAMA = "/proc/sys/kernel/yama/ptrace_scope"


def hindrance(run: Run) -> str:
    """Why nobody can take over; empty if there is no reason."""
    if not run.memory.journal.is_complete:
        return "too much is mounted"
    if os.geteuid() != 0:
        with contextlib.suppress(OSError), open(_YAMA, encoding="ascii") as file:
            if file.read().strip() != "0":
                return "this host lets only ancestors look at processes (ptrace_scope)"
    return ""


def supervise(run: Run, listener: int, command: Command) -> int:
    """Start another supervisor; gives its process number. Calls come by *listener*."""

    def serve() -> None:
        witness.begin(run.shared.witness)
        from pyparrot.run.supervisor import Supervisor

        monitor = os.getppid()
        run.memory.open_by(monitor)
        supervisor = Supervisor(run, monitor, ())
        supervisor.take_over(listener, command.number)
        command.let_begin()
        supervisor.serve()

    return _fork(run, {listener, command.socket.fileno()}, serve)


def trace(run: Run, listener: int, command: Command) -> int:
    """Start another tracer; gives its process number. See `supervise` for the arguments."""
    from pyparrot.run import tracer

    return _fork(run, {listener}, lambda: tracer.trace(run, listener, os.getppid()))


def _fork(run: Run, kept: set[int], role: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        fds.close_inherited({*kept, run.to_frontend, *run.memory.descriptors})
        become(role, run.to_frontend)
    return child

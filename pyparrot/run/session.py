"""A run: a command that sees repositories, from its start to its exit status.

Five processes take part. The *frontend* is what the user started: it passes signals on, and the
exit status. The *supervisor* serves system calls; it has to be an ancestor of all processes that it
serves, since hosts may allow no other process to look at them. The *tracer* makes those calls that
need other arguments. The *monitor* is the command's parent and inherits its orphans: the tracer
holds tasks by ptrace for moments, and a parent that waits for them would take the notices that are
meant for it. The *command* is the fifth.

    frontend ── supervisor ── tracer ── monitor ── command ── …

The frontend ends with the command, when all is written that the run leaves behind. The three
between stay until the last process has ended that the command has left behind; if there is one, the
frontend does not wait for them. If supervisor or tracer are killed, the monitor starts another one.
If frontend or monitor are killed, all ends.

All but the tracer are in the process group that the frontend was started in, as the command is.
So the supervisor gets what is sent to the group, and the frontend can tell what was sent to it
alone, and passes that on (`witness`).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import NoReturn

from pyparrot.core import ffi, lib
from pyparrot.run import fds, given
from pyparrot.run.options import Options
from pyparrot.run.roles import FrontendMemory, Run, become

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
    given.check_memory()
    messages, to_frontend = os.pipe()
    shared = FrontendMemory(lib.pp_reaper_new(to_frontend), lib.pp_witness_new())
    if ffi.NULL in shared:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    # If all between are killed, it inherits what is left, and ends it.
    lib.pp_become_subreaper()
    child = os.fork()
    if child == 0:
        os.close(messages)
        become(lambda: _supervise(command, options, was_given, shared, to_frontend), to_frontend)
    os.close(to_frontend)
    fds.redirect_to_null(0, 1)
    fds.close_inherited({messages})
    given.spare_from_oom_killer()
    return frontend.wait(messages, child, shared, options.stats)


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


def _supervise(
    command: Sequence[str],
    options: Options,
    was_given: given.Given,
    shared: FrontendMemory,
    to_frontend: int,
) -> None:
    from pyparrot.run import monitor, tracer
    from pyparrot.run.session_memory import SessionMemory

    memory = SessionMemory(int.from_bytes(os.urandom(8), "little") | 1, options.shim)
    run = Run(options, was_given, memory, to_frontend, os.getpid(), shared)
    lib.pp_become_subreaper()
    from_command, to_supervisor = socket.socketpair()
    to_tracer, tracer_side = socket.socketpair()
    to_monitor, monitor_side = socket.socketpair()
    tracer_number = os.fork()
    if tracer_number == 0:
        for ours in (to_tracer, to_monitor):
            ours.close()
        lib.pp_become_subreaper()
        child = os.fork()
        if child == 0:
            tracer_side.close()
            variables = was_given.variables(
                {**options.environment, ENVIRONMENT_MARK: str(run.supervisor)}
            )
            monitor.monitor(command, variables, run, to_supervisor, from_command, monitor_side)
        for others in (from_command, to_supervisor, monitor_side):
            others.close()
        tracer.serve(run, tracer_side, child)
    for theirs in (to_supervisor, tracer_side, monitor_side):
        theirs.close()
    given.spare_from_oom_killer()
    sockets = (from_command, to_tracer, to_monitor)
    fds.close_inherited({*(s.fileno() for s in sockets), to_frontend, *memory.descriptors})
    from pyparrot.run.supervisor import Supervisor

    monitor_number = int(to_monitor.recv(32) or 0)
    memory.open_by(monitor_number)
    supervisor = Supervisor(run, monitor_number, {tracer_number})
    supervisor.begin(from_command, to_tracer, to_monitor)
    supervisor.serve()

"""The tracer's process: it makes calls with other arguments (``csrc/engine/tracer.h``).

All of that is done by threads in C; this module starts them, and ends the process with the run.
"""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING, NoReturn

from pyparrot.core import ffi, lib
from pyparrot.run import fds
from pyparrot.run.given import spare_from_oom_killer
from pyparrot.run.roles import say_died_with_tracer
from pyparrot.run.tasks import until_all_have_ended

if TYPE_CHECKING:
    from pyparrot.core import PpEngineMemory
    from pyparrot.run.roles import Run


def start(memory: PpEngineMemory, listener: int, cookie: int) -> None:
    """Begin to serve what supervisors put into *memory*, in threads of this process.

    What a tracer before this one had begun is finished, or given up with a line that says so.
    `OSError` if there can be no thread.
    """
    killed = ffi.new("int *")
    error = lib.pp_tracer_start(memory, listener, cookie, killed)
    if error:
        raise OSError(-error, os.strerror(-error))
    if killed[0]:
        say_died_with_tracer(killed[0])


def serve(run: Run, from_supervisor: socket.socket, monitor: int) -> NoReturn:
    """Be the tracer of a run, until the last of its processes has ended.

    The supervisor sends what calls come by (`connect`) through *from_supervisor*. *monitor* is the
    monitor's process number; if it ends before the others, they are ended.
    """
    status = 1
    try:
        # What is sent to the command's group is not for us, nor what its session is told.
        os.setsid()
        spare_from_oom_killer()
        _, received, _, _ = socket.recv_fds(from_supervisor, 1, 1)
        if received:
            start(run.memory.engine, received[0], run.memory.cookie)
            from_supervisor.send(b"T")
            from_supervisor.close()
            fds.redirect_to_null(0, 1)
            fds.close_inherited({received[0], run.to_frontend})
            _wait_for_end(run, received[0], monitor)
            status = 0
        else:
            # The supervisor has ended before; the monitor sees to that.
            fds.redirect_to_null(0, 1, 2)
            fds.close_inherited(())
            select.select([os.pidfd_open(monitor)], [], [])
    finally:
        os._exit(status)


def trace(run: Run, listener: int, monitor: int) -> None:
    """Be the tracer in the place of one that was killed. See `serve`."""
    os.setsid()
    start(run.memory.engine, listener, run.memory.cookie)
    _wait_for_end(run, listener, monitor)


def connect(tracer: socket.socket, listener: int) -> None:
    """Have the tracer at the other end serve the calls of *listener*; `OSError` if it can't."""
    socket.send_fds(tracer, [b"L"], [listener])
    if tracer.recv(1) != b"T":
        raise ChildProcessError("the tracer has ended")


def _wait_for_end(run: Run, listener: int, monitor: int) -> None:
    for _ in until_all_have_ended(listener, run.to_frontend, monitor):
        pass
    lib.pp_engine_memory_hold_none(run.memory.engine)

"""The tracer's process: it makes calls with other arguments (``csrc/engine/tracer.h``).

All of that is done by threads in C; this module starts them, and ends the process with the run.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, NoReturn

from pyparrot.core import ffi, lib
from pyparrot.run import fds

if TYPE_CHECKING:
    from pyparrot.core import PpEngineMemory


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
        print(
            f"pyparrot: run: the tracer was killed, and with it {killed[0]} processes that it held",
            file=sys.stderr,
            flush=True,
        )


def serve(
    memory: PpEngineMemory, cookie: int, from_supervisor: socket.socket, to_frontend: int
) -> NoReturn:
    """Be the tracer of a run, until the last of its processes has ended, or the supervisor.

    The supervisor sends the listener (`connect`) through *from_supervisor*. *to_frontend* is the
    pipe that the frontend reads.
    """
    status = 1
    try:
        _, received, _, _ = socket.recv_fds(from_supervisor, 1, 1)
        if received:
            start(memory, received[0], cookie)
            from_supervisor.send(b"T")
            fds.redirect_to_null(0, 1)
            supervisor = from_supervisor.fileno()
            fds.close_inherited({received[0], to_frontend, supervisor})
            _wait_for_end({received[0], supervisor}, to_frontend)
            status = 0
    finally:
        os._exit(status)


def connect(tracer: socket.socket, listener: int) -> None:
    """Have the tracer at the other end serve the calls of *listener*; `OSError` if it can't."""
    socket.send_fds(tracer, [b"L"], [listener])
    if tracer.recv(1) != b"T":
        raise ChildProcessError("the tracer has ended")


def _wait_for_end(others: Collection[int], to_frontend: int) -> None:
    poll = select.poll()
    for descriptor in (*others, to_frontend):
        poll.register(descriptor, 0)
    while True:
        ended = {descriptor for descriptor, _ in poll.poll()}
        if ended.intersection(others):
            return
        if to_frontend in ended:
            # A program that reads the command's output must not wait for its daemons.
            poll.unregister(to_frontend)
            fds.redirect_to_null(2)

"""The child side of a run: the filter, the handshake with the supervisor, and exec."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from pyparrot.errors import printable

COMMAND_NOT_FOUND = 127
COMMAND_NOT_EXECUTABLE = 126


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    to_supervisor: socket.socket,
    mask: Collection[int],
    cookie: int,
    engine: str,
) -> NoReturn:
    """Install the engine's filter, wait until the supervisor serves it, and become the command.

    *mask* is the signal mask that the command is to have; calls with *cookie* pass the filter of
    the *engine* with that name.
    """
    from pyparrot.run import engines

    try:
        engines.load(engine).install(cookie, to_supervisor)
        if to_supervisor.recv(1) != b"G":
            os._exit(COMMAND_NOT_EXECUTABLE)  # the supervisor has said why, and ended
        to_supervisor.close()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python has ignored
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        execute(command, environment)
    finally:
        os._exit(COMMAND_NOT_EXECUTABLE)


def execute(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Become the command, as a shell would start it."""
    try:
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            # The shell runs a script without a first line that names its interpreter.
            _execute_script(command, environment)
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        why = "command not found" if missing and "/" not in command[0] else error.strerror
        print(f"pyparrot: {printable(command[0])}: {why}", file=sys.stderr, flush=True)
        os._exit(COMMAND_NOT_FOUND if missing else COMMAND_NOT_EXECUTABLE)


def _execute_script(command: Sequence[str], environment: Mapping[str, str]) -> None:
    import shutil

    found = shutil.which(command[0], path=environment.get("PATH"))
    with contextlib.suppress(OSError):
        os.execve("/bin/sh", ["sh", found or command[0], *command[1:]], environment)

"""Start the command: its parent, and what it does before it is itself."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from pyparrot.errors import printable
from pyparrot.run import fds

COMMAND_NOT_FOUND = 127
COMMAND_NOT_EXECUTABLE = 126


def monitor(
    command: Sequence[str],
    environment: Mapping[str, str],
    to_supervisor: socket.socket,
    to_front: int,
    mask: Collection[int],
    cookie: int,
    engine: str,
) -> NoReturn:
    """Be the parent of the command and of all its orphans, until the last has ended."""
    from pyparrot.core import lib

    status = 0
    try:
        lib.pp_become_subreaper()
        child = os.fork()
        if child == 0:
            _start(command, environment, to_supervisor, mask, cookie, engine)
        to_supervisor.close()
        os.write(to_front, b"P%d\n" % child)
        os.setsid()
        fds.blind(0, 1, 2)
        fds.close_inherited({to_front})
        threading.Thread(target=_watch_front, args=(to_front, child), daemon=True).start()
        _reap(child, to_front)
    except BaseException:
        status = 1
    finally:
        os._exit(status)


def _reap(command: int, to_front: int) -> None:
    options = os.WUNTRACED
    while True:
        try:
            child, status = os.waitpid(-1, options)
        except ChildProcessError:
            return
        if child != command:
            continue
        if os.WIFSTOPPED(status):
            _tell(to_front, b"S%d\n" % os.WSTOPSIG(status))
        else:
            _tell(to_front, b"X%d\n" % status)


def _tell(to_front: int, message: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(to_front, message)


def _watch_front(to_front: int, command: int) -> None:
    """Whoever kills the front means the command."""
    poll = select.poll()
    poll.register(to_front, 0)
    poll.poll()
    with contextlib.suppress(ProcessLookupError):
        os.kill(command, signal.SIGKILL)


def _start(
    command: Sequence[str],
    environment: Mapping[str, str],
    to_supervisor: socket.socket,
    mask: Collection[int],
    cookie: int,
    engine: str,
) -> NoReturn:
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
            # A script without a first line that says whose it is belongs to the shell.
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

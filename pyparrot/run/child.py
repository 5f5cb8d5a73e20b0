"""The child side of a run: the filter, the handshake with the supervisor, and exec."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from pyparrot.core import ffi, lib
from pyparrot.errors import printable
from pyparrot.run.given import Given

COMMAND_NOT_FOUND = 127
COMMAND_NOT_EXECUTABLE = 126


def start(
    command: Sequence[str],
    variables: Sequence[bytes],
    given: Given,
    to_supervisor: socket.socket,
    cookie: int,
    engine: str,
) -> NoReturn:
    """Install the engine's filter, wait until the supervisor serves it, and become the command.

    *variables* is its environment, *given* what else it is to have; calls with *cookie* pass the
    filter of the *engine* with that name.
    """
    from pyparrot.run import engines

    try:
        engines.load(engine).install(cookie, to_supervisor)
        if to_supervisor.recv(1) != b"G":
            os._exit(COMMAND_NOT_EXECUTABLE)  # the supervisor has said why, and ended
        to_supervisor.close()
        become(command, variables, given)
    finally:
        os._exit(COMMAND_NOT_EXECUTABLE)


def become(command: Sequence[str], variables: Sequence[bytes], given: Given) -> NoReturn:
    """Become the command, as a shell would start it."""
    words = [os.fsencode(word) for word in command]
    given.restore()
    error = _execute_one(words, variables)
    missing = error in (errno.ENOENT, errno.ENOTDIR)
    why = "command not found" if missing and b"/" not in words[0] else os.strerror(error)
    with contextlib.suppress(OSError, AttributeError):  # there may be no standard error
        print(f"pyparrot: {printable(command[0])}: {why}", file=sys.stderr, flush=True)
    os._exit(COMMAND_NOT_FOUND if missing else COMMAND_NOT_EXECUTABLE)


def _execute_one(words: Sequence[bytes], variables: Sequence[bytes]) -> int:
    """Execute the first file that can be; gives why the best one of them can't (an errno)."""
    failed = 0
    for file in _candidates(words[0], variables):
        error = _execute(file, words, variables)
        if error == errno.ENOEXEC:
            # The shell runs a script without a first line that names its interpreter.
            _execute(b"/bin/sh", [b"sh", file, *words[1:]], variables)
        if error not in (errno.ENOENT, errno.ENOTDIR):
            failed = failed or error
        last = error
    return failed or last


def _candidates(name: bytes, variables: Sequence[bytes]) -> Iterator[bytes]:
    """What the first word may mean; there is one at least."""
    if b"/" in name or not name:
        yield name
        return
    paths = [value[5:] for value in variables if value.startswith(b"PATH=")]
    path = paths[0] if paths else os.fsencode(os.defpath)
    for directory in path.split(b":"):
        yield os.path.join(directory, name)


def _execute(file: bytes, words: Sequence[bytes], variables: Sequence[bytes]) -> int:
    kept = [ffi.new("char[]", text) for text in (*words, *variables)]
    arguments = ffi.new("char *[]", [*kept[: len(words)], ffi.NULL])
    environment = ffi.new("char *[]", [*kept[len(words) :], ffi.NULL])
    error: int = lib.pp_execute(file, arguments, environment)
    return error

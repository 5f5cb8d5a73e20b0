"""What the processes of a run have in common: what each is told, and how each begins and ends."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING, Callable, NamedTuple, NoReturn

if TYPE_CHECKING:
    from pyparrot.core import PpReaper, PpWitness
    from pyparrot.run.given import Given
    from pyparrot.run.options import Options
    from pyparrot.run.session_memory import SessionMemory


class FrontendMemory(NamedTuple):
    """Memory that the frontend shares with all that are forked from it."""

    reaper: PpReaper
    """Who inherits orphans."""
    witness: PpWitness
    """The signals that supervisors get: see `pyparrot.run.witness`."""


class Run(NamedTuple):
    """A run, as all of its processes know it."""

    options: Options
    given: Given
    """What is the command's."""
    memory: SessionMemory
    """What outlives a supervisor."""
    to_frontend: int
    """The pipe that the frontend reads: see `pyparrot.run.frontend`."""
    supervisor: int
    """The first supervisor's process number."""
    shared: FrontendMemory


class Command(NamedTuple):
    """The command's process, as the monitor has started it."""

    number: int
    socket: socket.socket
    """It waits for a ``G`` from there before it begins."""

    def let_begin(self) -> None:
        """Let it begin, unless it has."""
        with contextlib.suppress(OSError):
            self.socket.send(b"G", socket.MSG_DONTWAIT)


def tell(to_frontend: int, message: bytes) -> None:
    """Write a message to the frontend, if it has not ended."""
    with contextlib.suppress(BrokenPipeError):
        os.write(to_frontend, message)


def say(text: str) -> None:
    """Write a line to standard error, if there is any."""
    with contextlib.suppress(OSError):
        os.write(2, f"pyparrot: run: {text}\n".encode())


def say_died_with_tracer(count: int) -> None:
    """Say that the tracer was killed, and that as many processes have died with it."""
    held = "a process" if count == 1 else f"{count} processes"
    say(f"the tracer was killed, and with it {held} that it held")


def become(role: Callable[[], None], to_frontend: int) -> NoReturn:
    """Do what this process is for, and end; the frontend hears of a failure."""
    from pyparrot.errors import understood

    status = 125
    try:
        role()
        status = 0
    except Exception as error:
        failure = understood(error)
        text = str(failure) if failure else f"supervisor: {type(error).__name__}: {error}"
        tell(to_frontend, b"E" + text.encode("utf-8", "surrogateescape") + b"\n")
        if failure is None:
            sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)


def hand_on(to_monitor: socket.socket, listener: int) -> None:
    """Send the monitor what calls come by; the supervisor does that before the command begins."""
    socket.send_fds(to_monitor, [b"L"], [listener])

"""What an engine is to the processes of a run.

An engine has two sides. In the process that is about to become the command, `Engine.install` has
the kernel report system calls from then on, and tells the supervisor so through a socket. In the
supervisor, `Engine.attach` takes that over, and an instance serves the calls.

The C side of the same interface is ``csrc/engine/engine.h``.
"""

from __future__ import annotations

import abc
import socket
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pyparrot.core import PpCall, PpEngineMemory, PpNamespace, PpReaper
    from pyparrot.libc.substitution import Shim


class Unavailable(Exception):
    """The engine can't work here: what failed, and what would help."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


class Counters(NamedTuple):
    """What became of the calls that were trapped."""

    calls: int
    ran: int
    answered: int
    opened: int
    changed: int
    asked: int


class Attachment(NamedTuple):
    """The tie to the command's processes that `Engine.attach` has made."""

    task: int
    """The process that becomes the command."""
    descriptor: int
    """Ready (POLLHUP) when the last of the processes has ended."""


class Services(Protocol):
    """What an engine leaves to the supervisor. All of it may be called from any thread."""

    def fetch(self, call: PpCall, need: int) -> None:
        """Get what a call (``struct pp_call *``) needs first; `OSError` if it can't be had."""

    def patch_library(self, descriptor: int) -> None:
        """Make a copy with the shim of the C library that is open there; closes it. Never fails."""

    def patch_linker(self, descriptor: int) -> None:
        """Have dynamic linkers get the shim that are what is open there; closes it. Never fails."""

    def say_unfit(self, task: int, why: str) -> None:
        """Say that a process runs without the shim. Never fails."""


class Session(NamedTuple):
    """What all engines need to know of a run."""

    namespace: PpNamespace
    """The mount table's ``struct pp_namespace *``."""
    cookie: int
    """Calls that carry it in their sixth argument are our own, and are not reported."""
    mark: int
    """When all objects were modified, as their files say (seconds of unix time)."""
    frontend: int = 0
    """The process that the command takes for its parent; 0 if *monitor* is."""
    monitor: int = 0
    """The command's parent, which inherits orphans; they do not see that."""
    reaper: PpReaper | None = None
    """Whom orphans are to take for their parent."""


class Engine(abc.ABC):
    """Serves the system calls of one run, in threads of its own, from `start` on."""

    name: str

    @classmethod
    @abc.abstractmethod
    def install(cls, cookie: int, to_supervisor: socket.socket) -> None:
        """Have the calling process's system calls reported, and those of all that it starts.

        The other end of *to_supervisor* is for `attach`, which also hears of it if this has failed.
        """

    @classmethod
    @abc.abstractmethod
    def attach(cls, from_command: socket.socket) -> Attachment:
        """Take over what `install` has begun, and try all that the engine does.

        Raises `Unavailable` if something of it can't be done here.
        """

    @abc.abstractmethod
    def __init__(
        self,
        attachment: Attachment,
        session: Session,
        services: Services,
        shim: Shim | None,
        memory: PpEngineMemory,
    ) -> None:
        """*shim* is what goes into programs, if anything.

        *memory* outlives this process, and is the tracer's, too.
        """

    @abc.abstractmethod
    def start(self) -> None:
        """Begin to serve: first the calls that an engine before this one has not finished."""

    @abc.abstractmethod
    def counters(self) -> Counters:
        """What has happened in the run so far."""

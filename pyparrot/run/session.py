"""A run: a command that sees repositories, from its start to its exit status.

Four processes take part. The *front* is what the user started: it has the terminal's attention,
passes signals on, and ends as the command ends. The *supervisor* serves system calls; it has to be
an ancestor of all that it serves, since hosts may allow no other process to look at them. The
*monitor* is the command's parent and inherits its orphans: the supervisor holds tasks by ptrace for
moments, and a parent that waits for them would take the notices that are meant for it. The
*command* is the fourth.

    front ── supervisor ── monitor ── command ── …

The front ends with the command. Supervisor and monitor stay until the last process has ended that
the command has left behind.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import Wanted

ENVIRONMENT_MARK = "PYPARROT_RUN"
"""Set for the command, so that a run in a run is noticed."""


class MountOption(NamedTuple):
    """What the user wants to see at *path*: an FQRN, ``cvmfs+http://…``, or a local directory."""

    path: str
    source: str


class Options(NamedTuple):
    """How to run a command. What is None is left to the configuration."""

    mounts: Sequence[MountOption] = ()
    parameters: Mapping[str, str] = {}
    wanted: Wanted | None = None
    cache: str | None = None
    quota: int | None = None
    environment: Mapping[str, str] = {}
    verbosity: int = 0
    log: str | None = None
    stats: bool = False
    follow: bool = False
    shim: bool = True
    touched: str | None = None
    engine: str = "auto"


def run(command: Sequence[str], options: Options) -> int:
    """Run *command* and give its exit status; a signal that ends it ends the caller, too.

    `PyparrotError` if the command could not be started here.
    """
    from pyparrot.run import frontend

    if is_inside() and options == Options():
        join(command)
    messages, to_front = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    child = os.fork()
    if child == 0:
        os.close(messages)
        _become(lambda: _supervise(command, options, to_front, mask), to_front)
    os.close(to_front)
    return frontend.wait(messages, options.stats)


def is_inside() -> bool:
    """Whether this process runs in a run already."""
    if ENVIRONMENT_MARK not in os.environ:
        return False
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return any(line.split() == ["Seccomp:", "2"] for line in status)


def join(command: Sequence[str]) -> NoReturn:
    """Run the command in the run that is there: it sees the same repositories."""
    from pyparrot.run import child

    child.execute(command, dict(os.environ))


def _become(role: Callable[[], None], to_front: int) -> NoReturn:
    from pyparrot.errors import understood

    status = 125
    try:
        role()
        status = 0
    except Exception as error:
        failure = understood(error)
        text = str(failure) if failure else f"supervisor: {type(error).__name__}: {error}"
        os.write(to_front, b"E" + text.encode("utf-8", "surrogateescape") + b"\n")
        if failure is None:
            sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)


def _supervise(
    command: Sequence[str], options: Options, to_front: int, mask: Collection[int]
) -> None:
    from pyparrot.run import child as child_side
    from pyparrot.run import fds

    # Signals from the terminal are the command's. What comes to the group shall not end us.
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    ours, theirs = socket.socketpair()
    cookie = int.from_bytes(os.urandom(8), "little") | 1
    child = os.fork()
    if child == 0:
        ours.close()
        environment = {**os.environ, **options.environment, ENVIRONMENT_MARK: str(os.getppid())}
        child_side.monitor(command, environment, theirs, to_front, mask, cookie, options.engine)
    theirs.close()
    fds.close_inherited({ours.fileno(), to_front})
    from pyparrot.run.supervisor import Supervisor

    Supervisor(options, cookie, to_front).serve(ours)

"""What a run was given by whoever has started it: all of it is the command's, unchanged.

Pyparrot's own processes need some of it to be otherwise: they have to know of their children's
ends, must not be ended by what is sent to the command, and must be able to write. So `take` notes
what was given and changes it, before the first fork, and `Given.restore` undoes that in the process
that is about to become the command.

What Python itself changes when it starts is undone as well. It ignores SIGPIPE and SIGXFSZ, sets
LC_CTYPE in the C locale, and knows no variable that comes twice. And what must not disturb Python
was put aside by the program that starts it (``csrc/launcher``): variables got `_ASIDE` before their
names, and the first variable says which signals were ignored.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pyparrot.core import lib
from pyparrot.errors import PyparrotError

_LAUNCHED = b"PYPARROT_LAUNCHED="
_ASIDE = b"PYPARROT_ASIDE_"

_LIMITS = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_STACK,
)
"""Limits that concern pyparrot's own processes."""

_LEAST_MEMORY = {
    resource.RLIMIT_AS: ("-v", 176 << 20),
    resource.RLIMIT_DATA: ("-d", 64 << 20),
}
"""What a run takes, in bytes, and the letter that ulimit has for the limit."""

_STACK_SIZE = 512 << 10
"""Of threads whose stacks would be smaller by the limit."""

_CHANGED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

_OWN_OOM_SCORE_ADJUSTMENT = -900
"""Of processes without which no other can go on. -1000 would be never, whatever they take."""


class Given(NamedTuple):
    """What the command has to get back."""

    environment: tuple[bytes, ...]
    """``NAME=VALUE``, as it came."""
    ignored: frozenset[int]
    """The signals that are ignored."""
    blocked: frozenset[int]
    limits: Mapping[int, tuple[int, int]]
    """Of the limits that were raised, by their numbers."""

    def variables(self, changes: Mapping[str, str]) -> list[bytes]:
        """The environment, with *changes*: what has a name that is there takes its place."""
        left = {os.fsencode(name): os.fsencode(value) for name, value in changes.items()}
        made = []
        for variable in self.environment:
            name = variable.partition(b"=")[0]
            made.append(name + b"=" + left.pop(name) if name in left else variable)
        return made + [name + b"=" + value for name, value in left.items()]

    def restore(self) -> None:
        """Give this process back what it was given; it is about to become the command."""
        for number, limits in self.limits.items():
            resource.setrlimit(number, limits)
        for number in {signal.SIGCHLD, signal.SIGINT, *_CHANGED_BY_PYTHON}:
            action = signal.SIG_IGN if number in self.ignored else signal.SIG_DFL
            signal.signal(number, action)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)


def take() -> Given:
    """Note what this process was given, and let it be as pyparrot's own processes need it."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    environment, ignored = _environment_and_ignored_signals()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return Given(environment, ignored, frozenset(map(int, blocked)), _raise_limits())


def check_memory() -> None:
    """Fit into limits on memory; `PyparrotError` if one is too low, whatever is done."""
    if 0 <= resource.getrlimit(resource.RLIMIT_STACK)[1] < _STACK_SIZE:
        threading.stack_size(_STACK_SIZE)
    for number, (name, least) in _LEAST_MEMORY.items():
        limit = resource.getrlimit(number)[1]
        if limit != resource.RLIM_INFINITY:
            lib.pp_share_heap()
            if limit < least:
                raise PyparrotError(
                    "run",
                    f"memory is limited to {limit >> 20} MB, and {least >> 20} MB are needed",
                    f"a soft limit is the command's alone: ulimit -S {name}",
                )


def spare_from_oom_killer() -> None:
    """If this is allowed, let other processes be ended first when memory is short.

    Children inherit it: the command's process must have been forked already.
    """
    if os.geteuid() == 0:
        with (
            contextlib.suppress(OSError, ValueError),
            open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file,
        ):
            if int(file.read()) > _OWN_OOM_SCORE_ADJUSTMENT:
                file.write(str(_OWN_OOM_SCORE_ADJUSTMENT))


def _raise_limits() -> dict[int, tuple[int, int]]:
    raised = {}
    for number in _LIMITS:
        soft, hard = resource.getrlimit(number)
        if soft != hard:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(number, (hard, hard))
                raised[number] = (soft, hard)
    return raised


def _environment_and_ignored_signals() -> tuple[tuple[bytes, ...], frozenset[int]]:
    given = _environment()
    if given and given[0].startswith(_LAUNCHED):
        mask = int(given[0][len(_LAUNCHED) :], 16)
        environment = tuple(_named_as_it_was(variable) for variable in given[1:])
        ignored: Iterable[int] = (number for number in range(1, 65) if mask >> (number - 1) & 1)
        _restore_names()
    else:
        environment = given
        # What was with those that Python has changed can't be known.
        ignored = (
            number
            for number in signal.valid_signals()
            if number not in _CHANGED_BY_PYTHON and signal.getsignal(number) == signal.SIG_IGN
        )
    return environment, frozenset(ignored)


def _environment() -> tuple[bytes, ...]:
    """As it was when Python started."""
    try:
        with open("/proc/self/environ", "rb") as file:
            content = file.read()
    except OSError:
        return tuple(name + b"=" + value for name, value in os.environb.items())
    return tuple(content.split(b"\0")[:-1])


def _named_as_it_was(variable: bytes) -> bytes:
    return variable[len(_ASIDE) :] if variable.startswith(_ASIDE) else variable


def _restore_names() -> None:
    """Let our own modules find variables by the names that the user has given them, too."""
    own = os.environb
    for name in [name for name in own if name.startswith(_ASIDE)]:
        own[_named_as_it_was(name)] = own.pop(name)
    own.pop(_LAUNCHED[:-1], None)

"""Copies of programs that name another ELF interpreter, among the views.

``views/NAME.x/STATE/PATH`` stands for what ``views/NAME/PATH`` does, ``views/real.x/STATE/PATH``
for the real file PATH. STATE is a name for all that a copy depends on
(``csrc/core/decide_exec.c``): the interpreter's view, and which file a real program is in which
state. So a program that was built anew has another copy, and what is of no use any more can be told
by its name.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator

from pyparrot.cache.identity import Identity

REAL = "real.x"
"""The directory, among the views, of copies of real programs."""

_SWEEP = 32
"""At each so many states the stale ones are looked for."""

_YOUNG = 60.0
"""Seconds for which a state is left alone: somebody may be about to put a copy there."""


def state_of(identity: Identity) -> str:
    """How STATE begins for a real program."""
    return "".join(f"{number & (1 << 64) - 1:x}-" for number in identity)


def remove_stale(views: str) -> None:
    """Remove copies of real programs that have changed or gone, every now and then.

    *views* is the directory of all views.
    """
    top = os.path.join(views, REAL)
    try:
        states = [name for name in os.listdir(top) if "-" in name]
    except FileNotFoundError:
        return
    if len(states) % _SWEEP == 0:
        for state in stale_states(top, states):
            import shutil  # it takes long to load

            shutil.rmtree(os.path.join(top, state), ignore_errors=True)


def stale_states(top: str, states: list[str]) -> Iterator[str]:
    """Those of the *states* in *top* whose programs are not what they were, or not there."""
    for state in states:
        directory = os.path.join(top, state)
        try:
            age = time.time() - os.lstat(directory).st_ctime
        except FileNotFoundError:
            continue
        if age <= _YOUNG:
            continue
        if not any(_is_fresh(directory, state, copy) for copy in _files(directory)):
            yield state


def _files(directory: str) -> Iterator[str]:
    for place, _, names in os.walk(directory):
        for name in names:
            yield os.path.join(place, name)


def _is_fresh(directory: str, state: str, copy: str) -> bool:
    try:
        status = os.lstat(copy[len(directory) :])
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and state.startswith(state_of(Identity.of(status)))

"""Engines: how system calls reach the decision core, and how its actions are carried out.

An engine is a module here with a class that implements `base.Engine`, and a line in `_ENGINES`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyparrot.run.engines.base import Engine

AUTOMATIC = "auto"
"""The name that stands for the engine that is best here."""

_ENGINES = {"notify": "NotifyEngine"}
"""The class of each engine, in the module of the engine's name; the best one first."""


def names() -> tuple[str, ...]:
    """What ``--engine`` can be."""
    return (AUTOMATIC, *_ENGINES)


def load(name: str) -> type[Engine]:
    """The engine of a *name*, whose module is imported only now. `KeyError` if there is none.

    There is only one engine, so `AUTOMATIC` need not try what works: the engine itself says why it
    can't.
    """
    if name == AUTOMATIC:
        name = next(iter(_ENGINES))
    kind = _ENGINES[name]
    module = importlib.import_module(f"{__name__}.{name}")
    engine: type[Engine] = getattr(module, kind)
    return engine

"""The C core (``csrc/``) as Python sees it: the one module that imports the extension `_core`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyparrot._core import ffi, lib

if TYPE_CHECKING:
    # The C structs, for the type checker alone: ``struct pp_walk *`` is a `PpWalk`.
    from pyparrot._core import *  # noqa: F403

__all__ = ["ffi", "lib"]

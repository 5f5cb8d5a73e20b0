"""The C core (``csrc/``) as Python sees it: the one module that imports the extension `_core`."""

from __future__ import annotations

from pyparrot._core import ffi, lib

__all__ = ["ffi", "lib"]

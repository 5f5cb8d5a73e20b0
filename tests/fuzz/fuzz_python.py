"""Runs a target under atheris: ``python -m fuzz.fuzz_python NAME [libFuzzer options]``."""

from __future__ import annotations

import importlib
import sys
from typing import Any

atheris: Any = importlib.import_module("atheris")  # has no types, and is only where it is needed

with atheris.instrument_imports():
    from fuzz.targets import TARGETS

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()

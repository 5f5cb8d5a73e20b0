"""What csrc/ffi_build.py declares, for the type checker: C is untyped beyond this point."""

from typing import Any

ffi: Any
lib: Any

"""What csrc/ffi_build.py declares, for the type checker."""

from typing import Any

class _Ffi:
    def from_buffer(self, cdecl: str, buffer: Any) -> Any: ...
    @property
    def errno(self) -> int: ...

class _Lib:
    def pp_chunk_cut(
        self, data: Any, length: int, minimum: int, average: int, maximum: int
    ) -> int: ...
    def syncfs(self, fd: int) -> int: ...

ffi: _Ffi
lib: _Lib

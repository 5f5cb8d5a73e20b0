"""Write ``pyparrot/_core.pyi``: the extension as it was built, for the type checker.

Run it after the extension was built anew with other declarations:
``python csrc/python/stub.py``. A unit test fails when the two differ.

Everything here comes from the extension itself, through cffi's public functions. A pointer to a
struct, the struct itself and an array of them are one class, since cffi lets all of them be used
alike; constness is not known to cffi. Names of classes are C's in camel case: ``struct pp_walk`` is
``PpWalk``.
"""

from __future__ import annotations

import os
from typing import Any

from pyparrot._core import ffi, lib

STUB = os.path.join(os.path.dirname(__file__), "../../pyparrot/_core.pyi")

_HEAD = '''\
"""The C core for the type checker. Written by csrc/python/stub.py; do not edit."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, Literal, TypeVar, overload

from typing_extensions import Buffer, Self, TypeAlias

_T = TypeVar("_T")

class Struct:
    """A struct, or a pointer to one, or an array of them."""

    def __getitem__(self, index: int, /) -> Self: ...

class Pointer(Generic[_T]):
    """A pointer to anything but structs."""

    @overload
    def __getitem__(self, index: int, /) -> _T: ...
    @overload
    def __getitem__(self, index: slice, /) -> Array[_T]: ...
    def __setitem__(self, index: int, value: _T, /) -> None: ...
    def __add__(self, number: int, /) -> Pointer[_T]: ...

class Array(Pointer[_T]):
    """An array."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_T]: ...

_Memory: TypeAlias = Pointer[Any] | Struct
_Address: TypeAlias = _Memory | bytes
_Text: TypeAlias = Pointer[bytes] | bytes
_Texts: TypeAlias = Pointer[Pointer[bytes]]
_Bytes: TypeAlias = Pointer[int] | bytes
_Integers: TypeAlias = Pointer[int] | Sequence[int]
'''

_FFI = '''
class _View(Buffer):
    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> bytes: ...
    def __setitem__(self, index: slice, value: bytes, /) -> None: ...

class _Ffi:
    """As much of cffi.FFI as is used. Memory that is not cffi's own is untyped: `cast`."""

    NULL: Any
    errno: int
    error: type[Exception]
{new}
    @overload
    def new(self, cdecl: Literal["size_t *", "uint32_t *"], init: int = ...) -> Pointer[int]: ...
    @overload
    def new(self, cdecl: Literal["char[]"], init: int | bytes = ...) -> Array[bytes]: ...
    @overload
    def new(self, cdecl: Literal["uint64_t[]"], init: Any = ...) -> Array[int]: ...
    @overload
    def new(self, cdecl: Literal["char *[]"], init: Any = ...) -> Array[Pointer[bytes]]: ...
    @overload
    def new(self, cdecl: Literal["const char **"], init: Any = ...) -> Pointer[Pointer[bytes]]: ...
    @overload
    def new(self, cdecl: str, init: Any = ...) -> Any: ...
    @overload
    def from_buffer(self, buffer: Buffer, /, require_writable: bool = ...) -> Array[bytes]: ...
    @overload
    def from_buffer(self, cdecl: str, buffer: Buffer, /, require_writable: bool = ...) -> Any: ...
    def addressof(self, cdata: _Memory, /, *fields: str | int) -> Any: ...
    def buffer(self, cdata: _Memory, size: int = ...) -> _View: ...
    def cast(self, cdecl: str, value: _Memory | int) -> Any: ...
    def gc(self, cdata: _T, destructor: Callable[[_T], object], size: int = ...) -> _T: ...
    def list_types(self) -> tuple[list[str], list[str], list[str]]: ...
    def memmove(self, dest: _Memory | Buffer, src: _Memory | Buffer, n: int) -> None: ...
    def offsetof(self, cdecl: str, /, *fields: str | int) -> int: ...
    def release(self, cdata: _Memory, /) -> None: ...
    def sizeof(self, cdecl: str | _Memory, /) -> int: ...
    def string(self, cdata: Pointer[bytes], maxlen: int = ...) -> bytes: ...
    def typeof(self, cdecl: Any, /) -> Any: ...

ffi: _Ffi
lib: _Lib
'''

_NEW = """\
    @overload
    def new(self, cdecl: Literal["struct {c} *", "struct {c}[]"], init: Any = ...) -> {name}: ..."""


def stub() -> str:
    """The content of the stub."""
    structs = ffi.list_types()[1]
    parts = [_HEAD, *map(_class, structs), "\nclass _Lib:\n", *map(_member, sorted(dir(lib)))]
    known = filter(_is_known, structs)
    overloads = "\n".join(_NEW.format(c=struct, name=_name(struct)) for struct in known)
    return "".join([*parts, _FFI.format(new=overloads)])


def _name(struct: str) -> str:
    return "".join(word.capitalize() for word in struct.split("_"))


def _is_known(struct: str) -> bool:
    """Whether C tells what is in it."""
    try:
        ffi.sizeof(f"struct {struct}")
    except ffi.error:
        return False
    return True


def _class(struct: str) -> str:
    # cffi must not be asked for the fields of a struct that has none.
    fields = ffi.typeof(f"struct {struct}").fields if _is_known(struct) else []
    members = [f"    {name}: {_value(field.type)}\n" for name, field in fields]
    return f"\nclass {_name(struct)}(Struct):\n" + ("".join(members) or "    pass\n")


def _member(name: str) -> str:
    value = getattr(lib, name)
    if isinstance(value, int):
        return f"    {name}: Final[int]\n"
    kind = ffi.typeof(value)
    if kind.kind != "function":
        return f"    {name}: Final[{_value(kind)}]\n"
    arguments = ", ".join(map(_argument, kind.args))
    return f"    {name}: Callable[[{arguments}], {_value(kind.result)}]\n"


def _value(kind: Any) -> str:
    """What Python gets when it reads something of that C type."""
    simple = {"char": "bytes", "void": "None"}
    if kind.cname in simple:
        return simple[kind.cname]
    if kind.kind in {"primitive", "enum"}:
        return "int"
    if kind.kind == "struct":
        return _name(kind.cname.partition(" ")[2])
    if kind.kind == "pointer" and kind.item.kind == "struct":
        return _value(kind.item)
    if kind.kind in {"array", "pointer"} and kind.item.kind not in {"void", "function"}:
        return f"{kind.kind.capitalize()}[{_value(kind.item)}]"
    return "Pointer[Any]"


def _argument(kind: Any) -> str:
    """What Python may pass for it."""
    special = {
        "char *": "_Text",
        "char * *": "_Texts",
        "void *": "_Address",
        "uint8_t *": "_Bytes",
    }
    if kind.cname in special:
        return special[kind.cname]
    if kind.kind == "pointer" and kind.item.kind == "primitive":
        return "_Integers"
    return _value(kind)


if __name__ == "__main__":
    with open(STUB, "w", encoding="utf-8") as file:
        file.write(stub())

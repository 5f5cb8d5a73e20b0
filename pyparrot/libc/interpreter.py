"""Makes copies of ELF programs that name another interpreter (the dynamic linker)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, BinaryIO

from pyparrot.cache.identity import Identity
from pyparrot.libc.elf import INTERPRETER, SEGMENT, file_reader, read_headers

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 1 << 20


class Changed(Exception):
    """The program is not the one any more that was to be copied."""


def copy_with_interpreter(
    source: bytes, target: bytes, interpreter: bytes, identity: Identity | None = None
) -> None:
    """Copy the program *source* to the new file *target*, to be loaded by *interpreter*.

    The new name stands behind the end, and the segment's offset and size in the file point there.
    Where the program finds the name in its memory nothing changes: it finds the name it was built
    with. `Changed` if its *identity* is given, and is another one before or afterwards. `OSError`:
    ENOEXEC if *source* is no program that names an interpreter.
    """
    with open(source, "rb", buffering=0) as opened, open(target, "xb") as output:
        _check(opened, identity)
        if identity is not None:
            identity.settle(opened.fileno())
        content = file_reader(opened.fileno())
        try:
            header, segments = read_headers(content)
            number = [segment.type for segment in segments].index(INTERPRETER)
        except ValueError:
            code = errno.ENOEXEC
            raise OSError(code, os.strerror(code), os.fsdecode(source)) from None
        end = _copy(content, output)
        output.write(interpreter + b"\0")
        changed = segments[number]._replace(offset=end, file_size=len(interpreter) + 1)
        output.seek(header.phoff + number * SEGMENT.size)
        output.write(SEGMENT.pack(*changed))
        output.flush()
        _check(opened, identity)


def _check(opened: BinaryIO, identity: Identity | None) -> None:
    if identity is not None and Identity.of(os.fstat(opened.fileno())) != identity:
        raise Changed


def _copy(content: Callable[[int, int], bytes], output: BinaryIO) -> int:
    end = 0
    while piece := content(end, _PIECE):
        output.write(piece)
        end += len(piece)
    return end

"""Makes copies of ELF programs that name another interpreter (the dynamic linker)."""

from __future__ import annotations

import errno
import os

from pyparrot.libc.elf import INTERPRETER, SEGMENT, file_reader, read_headers


def copy_with_interpreter(source: bytes, target: bytes, interpreter: bytes) -> None:
    """Copy the program *source* to the new file *target*, to be loaded by *interpreter*.

    The new name stands behind the end, and the segment's offset and size in the file point there.
    Where the program finds the name in its memory nothing changes: it finds the name it was built
    with. `OSError`: ENOEXEC if *source* is no program that names an interpreter.
    """
    import shutil  # it takes long to load

    shutil.copyfile(source, target)
    os.chmod(target, 0o600)
    with open(target, "r+b") as file:
        try:
            header, segments = read_headers(file_reader(file.fileno()))
            number = [segment.type for segment in segments].index(INTERPRETER)
        except ValueError:
            code = errno.ENOEXEC
            raise OSError(code, os.strerror(code), os.fsdecode(source)) from None
        end = file.seek(0, os.SEEK_END)
        file.write(interpreter + b"\0")
        changed = segments[number]._replace(offset=end, file_size=len(interpreter) + 1)
        file.seek(header.phoff + number * SEGMENT.size)
        file.write(SEGMENT.pack(*changed))

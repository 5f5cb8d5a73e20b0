"""ELF programs that name another interpreter. Source of the format: the System V ABI, elf(5)."""

from __future__ import annotations

import errno
import os
import struct

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
"""The header of an ELF file of 64 bits (``Elf64_Ehdr``)."""

SEGMENT = struct.Struct("<IIQQQQQQ")
"""A program header (``Elf64_Phdr``)."""

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_INTERPRETER = 3  # PT_INTERP
_MOST_SEGMENTS = 128


def copy_with_interpreter(source: bytes, target: bytes, interpreter: bytes) -> None:
    """Copy the program *source* to the new file *target*, to be loaded by *interpreter*.

    The new name stands behind the end, and the segment's offset and size in the file point there.
    Where the program finds the name in its memory nothing changes: it knows itself as before.
    `OSError` (ENOEXEC) if it is no such program.
    """
    import shutil  # it takes long to load, and others want the structs alone

    shutil.copyfile(source, target)
    os.chmod(target, 0o600)
    with open(target, "r+b") as file:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size or not header.startswith(_MAGIC):
            raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC), os.fsdecode(source))
        fields = HEADER.unpack(header)
        table, size, count = fields[5], fields[9], fields[10]
        if size != SEGMENT.size or count > _MOST_SEGMENTS:
            raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC), os.fsdecode(source))
        for number in range(count):
            position = table + number * size
            file.seek(position)
            segment = file.read(size)
            if len(segment) < size:
                break
            words = list(SEGMENT.unpack(segment))
            if words[0] != _INTERPRETER:
                continue
            words[2] = file.seek(0, os.SEEK_END)
            words[5] = len(interpreter) + 1
            file.write(interpreter + b"\0")
            file.seek(position)
            file.write(SEGMENT.pack(*words))
            return
    raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC), os.fsdecode(source))

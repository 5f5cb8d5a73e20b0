"""Takes passwords out of this process's command line, which every user of the machine can read."""

from __future__ import annotations

import contextlib
import os
import re

_ARG_START, _ARG_END = 47, 48
"""Fields of ``/proc/PID/stat``, from 0 on; after the command's name they are two less."""

_MOST = 1 << 20
_SECRET = re.compile(rb"(?<=://)[^\s\0|;]*(?=@)")
"""What stands before a host, or an ``@`` in a path: that is hidden, too, which does no harm."""


def hide_passwords() -> None:
    """Overwrite what may be passwords in the command line, here and in all children made later.

    It stays as it is where the kernel does not let a process do so.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
        start, end = (int(fields[field - 2]) for field in (_ARG_START, _ARG_END))
        memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            words = os.pread(memory, min(end - start, _MOST), start)
            for secret in _SECRET.finditer(words):
                os.pwrite(memory, b"*" * len(secret[0]), start + secret.start())
        finally:
            os.close(memory)

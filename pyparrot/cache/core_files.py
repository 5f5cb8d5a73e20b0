"""Keeps the kernel's core files out of the directories of views.

A program whose working directory is a view may crash, and where core files have a relative name the
kernel makes one there, which natively a read-only file system refuses. Rights can't prevent it: the
directory is the user's own, and root needs none. But whatever else has the name the kernel removes
first, and a directory it does not: so there is one with that name in each directory of views
(`views`).
"""

from __future__ import annotations

import functools


@functools.cache
def core_name() -> bytes | None:
    """The name of all core files in a working directory; None if they go elsewhere, or differ."""
    try:
        with open("/proc/sys/kernel/core_pattern", "rb") as file:
            pattern = file.read().strip()
        with open("/proc/sys/kernel/core_uses_pid", "rb") as file:
            has_number = file.read().strip() != b"0"
    except OSError:
        return None
    is_constant = pattern[:1] not in (b"", b"|", b"@") and not set(pattern) & set(b"/%")
    return pattern if is_constant and not has_number and pattern not in (b".", b"..") else None

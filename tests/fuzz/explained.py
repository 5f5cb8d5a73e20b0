"""Differences that the fuzzer of system calls finds and that are known.

A call, what it gives natively, what in a run (as patterns), and why. Those of `DEFECTS` should not
be there. After one of them a seed's other calls are not compared, unless all that differs is the
error.
"""

from __future__ import annotations

_ORDER = "of two errors the kernel tells the one that it meets first"

DIFFERENT = (
    (r"(rename|link)at", "E.*", "E.*", _ORDER),
    (r"execveat \d+ ", "ENOENT|0x200 said 0 0", ".* said .*", "a script behind O_CLOEXEC runs"),
    (r" execve", "ETXTBSY|0x1a00 said 0 0", ".*", "a script may be open for writing"),
    (r"rmdirat .*/at(/a|/a/inner|/b/nested/deep)?/*\"", "EACCES", "EBUSY", _ORDER),
    (r"renameat", "0", "EBUSY", "a mount point, to itself"),
    (r"list \d+ \d+", "0 15 names .*", "0 15 names .*", "the directory of the mount point is hidden"),
)

DEFECTS = (
    (r"fifo|socket|access|/fd/", "EACCES", ".*", "special files are not checked for writing"),
    (r"readlink.* 0$", "EINVAL", "E.*", "the size is looked at first"),
    (r"utimensat -100 \(nil\)", "EFAULT", "EBADF", "NULL stands for a descriptor only"),
)

EXPLAINED = DIFFERENT + DEFECTS

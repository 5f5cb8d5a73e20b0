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
)

DEFECTS = (
    (r"fifo|socket|access|/fd/", "EACCES", ".*", "special files are not checked for writing"),
    (r"readlink.* 0$", "EINVAL", "E.*", "the size is looked at first"),
    (r"open.*/\.\.?/?\"", "EEXIST", "EISDIR", "dots behind a link in /proc, with O_EXCL"),
    (
        r" more>",
        "ENOTDIR|0x1400 .*",
        "ENOENT|0x200 .*",
        "a real link at the head of a path of 4 kB",
    ),
    (r" execve.*/fd/", "ELOOP|0x2800 .*", ".* said .*", "AT_SYMLINK_NOFOLLOW counts there, too"),
    (
        r"utimensat -?\d+ \(nil\)",
        "EFAULT|EINVAL",
        "EBADF|EROFS",
        "NULL stands for a descriptor only",
    ),
)

EXPLAINED = DIFFERENT + DEFECTS

"""Differences that the fuzzer of system calls finds and that are known: a call, what it gives
natively, what in a run (as patterns), and why. Those of `DEFECTS` should not be there.

After one of them a seed's other calls are not compared, unless all that differs is the error.
"""

from __future__ import annotations

_ORDER = "of two errors the kernel tells the one that it meets first"
_FROM_EXEC = r"(0x[0-9a-f]+ said .*)"  # of a forked child: its status is the error

DIFFERENT = (
    (r"(rename|link)at", "E.*", "E.*", _ORDER),
    (r"execveat \d+ ", f"ENOENT|{_FROM_EXEC}", ".* said .*", "a script behind O_CLOEXEC runs"),
    (r" execve", "ETXTBSY|0x1a00.*", ".*", "a script may be open for writing"),
    (r"rmdirat .*/at(/a|/a/inner|/b/nested/deep)?/*\"", "EACCES", "EBUSY", _ORDER),
    (r"renameat", "0", "EBUSY", "a mount point, to itself"),
)

DEFECTS = (
    (r"\(nil\)", "EFAULT|EINVAL|0xe00.*", ".*", "NULL is taken for the descriptor itself"),
    (r"/\.\"", "ENOTDIR|0x1400.*", ".*", "a link to a real file, and a dot behind it"),
    (r"fifo|socket|access|/fd/", "EACCES", ".*", "special files are not checked for writing"),
    (r"fstatfs -100", "EBADF", ".*", "AT_FDCWD is no descriptor"),
    (r"f(set|get|list|remove)xattr -100", ".*", ".*", "AT_FDCWD is one, since Linux 6.13"),
    (r" execve", "EACCES|0xd00 .*", "EISDIR|0x1500 .*", "a link to a real directory"),
    (r" execve", "ENOEXEC|.* said .*", "EACCES|0xd00 .*", "a link to what can't be read"),
    (r"open.* 0x2[0-9a-f]{5}", ".*", "ENOENT", "O_PATH makes O_CREAT and O_EXCL void"),
    (r"fstatat .* 0x[2-7][0-9a-f]{3}$", ".*", ".*", "AT_STATX_... are flags of fstatat, too"),
    (r"(rmdir|unlink|rename)(at|at2)? -?\d+ \"/\"", "E.*", "E.*", "/ is taken for a name in it"),
    (r"/\.\.", ".*", "ENOENT|0x200 .*", "a link to a real directory below /, and .. behind it"),
    (r"open.*/\.\.?/?\"", "EEXIST", "EISDIR", "dots, with O_EXCL"),
    (r" more>", ".*", "ENAMETOOLONG|ENOENT|0x2400 .*|0x200 .*", "a link in a path of 4 kB"),
    (r"/fd/", "ENOTDIR", "ENOENT", "a file's descriptor as a directory"),
)

EXPLAINED = DIFFERENT + DEFECTS

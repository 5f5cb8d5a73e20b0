"""The kernel's calls and constants by their names, for x86-64; Python knows only some of them."""

from __future__ import annotations

import fcntl
import os
import runpy
import socket
from collections.abc import Iterator
from pathlib import Path

_GENERATOR = Path(__file__).parents[2] / "csrc" / "generate.py"

_OTHER_CALLS = """
0 read fd buf
1 write fd text
3 close fd
8 lseek fd int int
17 pread64 fd buf int
32 dup fd
33 dup2 fd fd
41 socket int int int
50 listen fd int
72 fcntl fd int int
73 flock fd int
74 fsync fd
77 ftruncate fd int
95 umask int
187 readahead fd int int
221 fadvise64 fd int int int
285 fallocate fd int int int
294 inotify_init1 int
300 fanotify_init int int
436 close_range int int int
"""
"""What cases need besides the calls of csrc/syscalls.tbl: number, name, kinds of arguments."""

_KINDS = {
    **dict.fromkeys(("fd", "fd2", "instance"), "fd"),
    **dict.fromkeys(("path", "path2", "name", "in:target"), "path"),
    **dict.fromkeys(("int", "flags", "value", "argv", "envp", "pointer"), "int"),
    **{word: word[4:] for word in ("out:stat", "out:statx", "out:statfs", "out:handle")},
    "mount_id": "handle",
    "times": "times",
}
_KINDS_WITH_SIZE = {
    "out:bytes": "buf",
    "out:dirents": "raw",
    "out:names": "names",
    "in:how": "how",
    "in:address": "address",
    "in:xattr_args": "xattr_args",
    "bytes": "text",
}
"""For what the table says of an argument (and of the one behind it, its size): see `program`."""


def _kinds(arguments: tuple[str, ...]) -> Iterator[str]:
    for word, following in zip(arguments, (*arguments[1:], "")):
        if word in _KINDS:
            yield _KINDS[word]
        elif word != "size":
            assert following == "size", word
            yield _KINDS_WITH_SIZE[word]


def _signatures() -> Iterator[tuple[str, tuple[int, list[str]]]]:
    for line in _OTHER_CALLS.strip().splitlines():
        number, name, *kinds = line.split()
        yield name, (int(number), kinds)
    for call in TABLE:
        if "x86_64" in call.numbers:
            yield call.name, (call.numbers["x86_64"], list(_kinds(call.arguments)))


TABLE = runpy.run_path(str(_GENERATOR))["read_table"]()
"""The rows of csrc/syscalls.tbl."""

DECIDED = [c.name for c in TABLE if c.handling == "decide" and "x86_64" in c.numbers]
"""The calls that the decision core decides: each has to be tried."""

YOUNG = [c.name for c in TABLE if c.numbers.get("x86_64", 0) > 450]
"""Calls that not every kernel has on which the tests run."""

SIGNATURES = dict(_signatures())
"""The number of each call, and the kinds of its arguments."""

CONSTANTS = {
    **{name: value for name, value in vars(os).items() if name.startswith("O_")},
    **{name: value for name, value in vars(fcntl).items() if name[:2] in ("F_", "FD", "LO")},
    "F_OK": os.F_OK,
    "R_OK": os.R_OK,
    "W_OK": os.W_OK,
    "X_OK": os.X_OK,
    "SEEK_SET": os.SEEK_SET,
    "SEEK_CUR": os.SEEK_CUR,
    "SEEK_END": os.SEEK_END,
    "SEEK_DATA": os.SEEK_DATA,
    "SEEK_HOLE": os.SEEK_HOLE,
    "AF_UNIX": int(socket.AF_UNIX),
    "SOCK_STREAM": int(socket.SOCK_STREAM),
    "SOCK_DGRAM": int(socket.SOCK_DGRAM),
    "O_LARGEFILE": 0o100000,
    "O_TMPFILE": 0o20200000,
    "TMPFILE_BIT": 0o20000000,
    "FD_CLOEXEC": 1,
    "AT_FDCWD": -100,
    "AT_SYMLINK_NOFOLLOW": 0x100,
    "AT_REMOVEDIR": 0x200,
    "AT_EACCESS": 0x200,
    "AT_SYMLINK_FOLLOW": 0x400,
    "AT_NO_AUTOMOUNT": 0x800,
    "AT_EMPTY_PATH": 0x1000,
    "AT_STATX_FORCE_SYNC": 0x2000,
    "AT_STATX_DONT_SYNC": 0x4000,
    "STATX_TYPE": 1,
    "STATX_MTIME": 0x40,
    "STATX_CTIME": 0x80,
    "STATX_SIZE": 0x200,
    "STATX_BASIC_STATS": 0x7FF,
    "STATX_ALL": 0xFFF,
    "STATX_RESERVED": 0x80000000,
    "RESOLVE_NO_XDEV": 1,
    "RESOLVE_NO_MAGICLINKS": 2,
    "RESOLVE_NO_SYMLINKS": 4,
    "RESOLVE_BENEATH": 8,
    "RESOLVE_IN_ROOT": 16,
    "RESOLVE_CACHED": 32,
    "RENAME_NOREPLACE": 1,
    "RENAME_EXCHANGE": 2,
    "XATTR_CREATE": 1,
    "XATTR_REPLACE": 2,
    "IN_ALL_EVENTS": 0xFFF,
    "IN_ONLYDIR": 0x01000000,
    "IN_DONT_FOLLOW": 0x02000000,
    "S_IFREG": 0o100000,
    "S_IFIFO": 0o010000,
    "S_IFSOCK": 0o140000,
    "S_IFDIR": 0o040000,
    "S_IFCHR": 0o020000,
    "PROT_READ": 1,
    "PROT_WRITE": 2,
    "PROT_EXEC": 4,
    "MAP_SHARED": 1,
    "MAP_PRIVATE": 2,
    **{f"SYS_{name}": SIGNATURES[name][0] for name in ("getdents", "getdents64")},
    "NULL": 0,
}

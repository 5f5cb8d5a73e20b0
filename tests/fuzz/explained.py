"""Differences that the fuzzer of system calls finds and that are known.

An explanation names the calls, their arguments, and pairs of outcomes: what the call gives natively
and what it gives in a run. All have to match. Those of `DEFECTS` should not be there. After one of
them a seed's other calls are not compared, unless all that differs is the error.

A line is ``NUMBER [fork|vfork] [libc] CALL ARGUMENTS = OUTCOME``. Of a program that was executed
the outcome is the status that it ended with and what it said, ``0 said 5 1c2d3e4f``.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_LINE = re.compile(r"\d+ (?:v?fork )?(?:libc )?(\w+) (.*) = (.*)", re.DOTALL)
# Mount points, and ways to write their paths, of the world that `calls.Setting` prepares.
_MOUNT_POINT = r"(\"/|\"(.*/)?at(/a|/a/inner|/b|/b/nested/deep)?[/.]*|\"\.)\""
_SPECIAL_FILE = r"(fifo|fifolink|socket|/fd/\d+)\""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC
_SAID = r"0(x[0-9a-f]+)? said \d+ [0-9a-f]+"
_ENOENT, _EACCES, _ETXTBSY, _ELOOP = (
    rf"{name}|{number << 8:#x} said 0 0"
    for name, number in (
        ("ENOENT", 2),
        ("EACCES", 13),
        ("ETXTBSY", 26),
        ("ELOOP", 40),
    )
)


class Explained(NamedTuple):
    """Calls that may give something else in a run, if arguments and outcomes match."""

    calls: str
    """The names of the calls, separated by blanks."""
    arguments: str
    """What is found in the arguments: a regular expression."""
    outcomes: tuple[tuple[str, str], ...]
    """Natively, and in a run: regular expressions for the whole outcome."""
    why: str
    flags: int = 0
    """If not 0: one of these is set in the flags, the last number in hexadecimal."""

    def covers(self, call: str, arguments: str, native: str, run: str) -> bool:
        """Whether this explains that *call* gives *native* here and *run* there."""
        return (
            call in self.calls.split()
            and re.search(self.arguments, arguments) is not None
            and (not self.flags or _flags(arguments) & self.flags != 0)
            and any(
                re.fullmatch(wanted, native) and re.fullmatch(found, run)
                for wanted, found in self.outcomes
            )
        )


def _flags(arguments: str) -> int:
    numbers = re.findall(r" (0x[0-9a-f]+)(?= |$)", arguments)
    return int(numbers[-1], 16) if numbers else 0


# What each of the two paths of a call may be wrong with.
_NATIVE_ORDER = "EACCES|EBADF|EEXIST|EFAULT|ELOOP|ENAMETOOLONG|ENOENT|ENOTDIR|EXDEV"
_RUN_ORDER = "EACCES|EEXIST|ELOOP|ENOENT|ENOTDIR|EROFS|EXDEV"
_ORDER = "of two errors the kernel tells the one that it meets first"
_OPENING = "open openat openat2 creat"

DIFFERENT = (
    Explained("linkat renameat renameat2", r"", ((_NATIVE_ORDER, _RUN_ORDER),), _ORDER),
    Explained(
        "renameat renameat2",
        _MOUNT_POINT,
        (("EACCES|EEXIST|ENOENT|ENOTDIR|EXDEV", "EBUSY"),),
        _ORDER,
    ),
    Explained("rmdirat", _MOUNT_POINT, (("EACCES", "EBUSY"),), _ORDER),
    Explained("unlinkat", _MOUNT_POINT, (("EACCES", "EISDIR"),), _ORDER),
    Explained("renameat renameat2", _MOUNT_POINT, (("0", "EBUSY"),), "a mount point, to itself"),
    Explained(
        "execveat",
        r"^\d+ \"([^/].*)?\" ",
        ((_ENOENT, _SAID),),
        "a script behind O_CLOEXEC runs",
    ),
    Explained("execve", r"", ((_ETXTBSY, _SAID),), "a script may be open for writing"),
)

DEFECTS = (
    Explained(
        "access faccessat faccessat2",
        rf"{_SPECIAL_FILE} [2367]( |$)",
        (("EACCES", "0"),),
        "special files are not checked for writing",
    ),
    Explained(
        _OPENING,
        rf"{_SPECIAL_FILE} 0x",
        (("EACCES", r"EINVAL|ENXIO|\d+ flags .*"),),
        "special files are not checked for writing",
        flags=_WRITING,
    ),
    Explained(
        "creat",
        rf"{_SPECIAL_FILE}$",
        (("EACCES", r"0|EINVAL|ENXIO"),),
        "special files are not checked for writing",
    ),
    Explained(
        "readlink readlinkat",
        r" 0$",
        (("EINVAL", "EACCES|EBADF|EFAULT|ELOOP|ENAMETOOLONG|ENOENT|ENOTDIR"),),
        "the size is looked at first",
    ),
    Explained(
        _OPENING,
        r"/\.\.?/?\" ",
        (("EEXIST", "EISDIR"),),
        "dots behind a link in /proc, with O_EXCL",
        flags=os.O_EXCL,
    ),
    Explained(
        "access chdir execve execveat faccessat faccessat2 lstat newfstatat open openat openat2"
        " opendir readlink readlinkat realpath stat statfs statx fstatat",
        r"<3[67]\d\d more>",
        (("EISDIR|ELOOP|ENOTDIR|0x1400 said 0 0", _ENOENT),),
        "a real link at the head of a path of 4 kB",
    ),
    Explained(
        "execveat",
        r"/fd/\d+\" ",
        ((_ELOOP, _SAID),),
        "AT_SYMLINK_NOFOLLOW counts there, too",
        flags=0x100,
    ),
    Explained(
        "utimensat",
        r"^-?\d+ \(nil\)",
        (("EFAULT|EINVAL", "EBADF|EROFS"),),
        "NULL stands for a descriptor only",
    ),
)

EXPLAINED = DIFFERENT + DEFECTS


def explanation(native: str, run: str) -> Explained | None:
    """What explains that a call's line is *native* natively and *run* in a run, if anything."""
    here, there = _LINE.fullmatch(native), _LINE.fullmatch(run)
    if here is None or there is None or here.group(1, 2) != there.group(1, 2):
        return None
    for each in EXPLAINED:
        if each.covers(here[1], here[2], here[3], there[3]):
            return each
    return None

"""The language of the cases: a line of text becomes system calls, and their results become text.

A case is a line such as ``d=open %A/dir O_RDONLY; fstat $d; openat $d file``: steps, each a system
call made as it is, with no C library between. Arguments, by what `kernel.SIGNATURES`
says of each call:

``fd``     a number, ``$name`` of an earlier step's result, or ``.`` for AT_FDCWD
``path``   a word, in which ``\\xff`` is a byte and ``%A`` one of the places of the world; ``''`` is
           the empty path; ``NULL``, ``BAD`` and ``ODD`` are pointers to nowhere; ``OPEN:word`` has
           no NUL where memory ends; ``PAD:4095:word`` has so many bytes, by slashes and dots
``int``    numbers (as in C) and names of constants, joined by ``|``; 0 where the words have ended
``buf``    a size: memory for a result, and how much there is
``xattr_args``  a size, too: the memory for the result is named by a struct in memory
results    (``stat``, ``statx``, …) need no word; ``&BAD`` gives a pointer to nowhere instead,
           ``&RO`` memory that can't be written; a ``buf`` can have it, too: ``100&RO``

``{x*300}`` anywhere is 300 times ``x``. Words of ``!`` steps, which are more than a call (see
steps.c), tell their kind themselves; there ``@name`` is a bare word.

Behind ``->`` stands what the last step has to give, natively as under pyparrot: for calls that
would change something. These, and groups whose name ends with ``(mounted)``, are tried natively
only where read-only copies can be mounted.
Behind ``=>`` stands what it has to give under pyparrot alone, where that is deliberately not what
it gives natively, and why.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Callable, NamedTuple

from kernel import CONSTANTS, SIGNATURES

RECENT = 1_000_100_000
"""Seconds: what is younger was not made by the tests before they began."""

_POINTERS = {"NULL": 0, "BAD": 1, "ODD": -(1 << 63)}
_SIZES = {"stat": 144, "statx": 256, "statfs": 120, "handle": 8}


class Case(NamedTuple):
    """A line of the table. *expected* and *reason* are what stands behind ``->`` or ``=>``."""

    group: str
    text: str
    steps: str
    expected: str | None
    reason: str | None

    @property
    def needs_mounts(self) -> bool:
        """Whether it can be tried natively only on file systems that are mounted, and read-only."""
        return self.reason is None and (self.expected is not None or "(mounted)" in self.group)

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.group}: {self.text}"


def read_cases(file: Path) -> Iterator[Case]:
    """The cases of a file: one in each line, in groups whose names stand in brackets."""
    group = file.stem
    for line in file.read_text(encoding="ascii").splitlines():
        if line.startswith("["):
            group = line.strip("[]")
        elif line and not line.startswith("#"):
            yield _case(group, line)


def _case(group: str, line: str) -> Case:
    expected = reason = None
    steps, differs, rest = line.partition(" => ")
    if differs:
        expected, _, reason = rest.partition(" because ")
    else:
        steps, _, rest = line.partition(" -> ")
        expected = rest or None
    steps = re.sub(r"\{(.+?)\*(\d+)\}", lambda match: match[1] * int(match[2]), steps)
    return Case(group, line, steps, expected, reason)


# To the helper


class Program:
    """Cases, made ready for the helper; *places* are what stands for ``%NAME`` in them."""

    def __init__(self, cases: Iterable[Case], places: Mapping[str, bytes]) -> None:
        self._places = places
        self._calls: list[list[str]] = []
        self.cases = list(cases)
        self.script = "".join(self._case(case) + "\n" for case in self.cases)

    def _case(self, case: Case) -> str:
        calls, steps = [], []
        variables: dict[str, int] = {}
        for text in case.steps.split(";"):
            name, _, call = text.strip().rpartition("=") if _assigns(text) else ("", "", text)
            words = call.split()
            index = variables.setdefault(name, len(variables)) if name else -1
            try:
                compiled = list(self._step(words, variables))
            except (KeyError, ValueError, IndexError) as error:
                raise ValueError(f"{case.name}: {text.strip()}: {error!r}") from error
            is_old = words[0] == "!list" and words[-1] == "SYS_getdents"
            calls.append("!list-old" if is_old else words[0])
            steps.append(f"{index} {' '.join(compiled)}")
        self._calls.append(calls)
        return ";".join(steps)

    def _step(self, words: list[str], variables: Mapping[str, int]) -> Iterator[str]:
        call, rest = words[0], words[1:]
        if call.startswith("!"):
            yield call
            for word in rest:
                yield self._special_word(word, variables)
            return
        number, kinds = SIGNATURES[call]
        yield str(number)
        for kind in kinds:
            if kind in ("stat", "statx", "statfs", "handle"):
                is_given = bool(rest) and rest[0].startswith("&")
                yield _result(f"o{_SIZES[kind]}", rest.pop(0) if is_given else "")
            elif kind == "int":
                yield f"n{_number(rest.pop(0)) if rest else 0}"
            else:
                yield from self._argument(kind, rest.pop(0), variables)
        if rest:
            raise ValueError(f"too many words: {rest}")

    def _argument(self, kind: str, word: str, variables: Mapping[str, int]) -> Iterator[str]:
        if kind == "fd":
            yield _descriptor(word, variables)
        elif kind == "path":
            yield self._path(word)
        elif kind in ("buf", "raw", "names"):
            size, ampersand, pointer = word.partition("&")
            yield _result(f"b{size}", ampersand + pointer)
            yield f"n{size}"
        elif kind == "xattr_args":
            size, ampersand, pointer = word.partition("&")
            yield _result(f"x{size}", ampersand + pointer)
            yield "n16"
        elif kind == "text":
            content = self.expand(word)
            yield "s" + content.hex()
            yield f"n{len(content)}"
        elif kind == "address":
            content = struct.pack("=H", 1) + self.expand(word) + b"\0"
            yield "s" + content.hex()
            yield f"n{len(content)}"
        elif kind == "times":
            yield "n0" if word == "NULL" else "s" + struct.pack("=4q", *[int(word), 0] * 2).hex()
        elif kind == "how":
            numbers = [_number(part) for part in word.split(",")]
            yield "s" + struct.pack("=3Q", *numbers, *[0] * (3 - len(numbers))).hex()
            yield "n24"
        else:
            raise KeyError(kind)

    def _special_word(self, word: str, variables: Mapping[str, int]) -> str:
        """An argument of what is more than a call, and has no signature."""
        if word.startswith("$") or word == ".":
            return _descriptor(word, variables)
        if word.startswith("@"):
            return word[1:]
        if word.split("|", maxsplit=1)[0] in CONSTANTS or re.fullmatch(r"-?\d+", word):
            return f"n{_number(word)}"
        return self._path(word)

    def _path(self, word: str) -> str:
        if word in _POINTERS:
            return f"n{_POINTERS[word]}"
        if word.startswith("OPEN:"):
            return "u" + self.expand(word[5:]).hex()
        return "s" + self.expand(word).hex()

    def expand(self, word: str) -> bytes:
        """The bytes of a word."""
        if word == "''":
            return b""
        padded = re.fullmatch(r"PAD:(\d+):(.*)", word)
        if padded:
            content = self.expand(padded[2])
            missing = int(padded[1]) - len(content)
            if content.startswith(b"/"):
                return b"/" * missing + content
            return b"./" * (missing // 2) + b"/" * (missing % 2) + content
        content = re.sub(
            rb"\\x([0-9a-f]{2})",
            lambda match: bytes.fromhex(match[1].decode()),
            word.encode("latin-1"),
        )
        return re.sub(rb"%([A-Z])", lambda match: self._places[match[1].decode()], content)

    # And back

    def outcomes(self, output: str) -> dict[str, list[str]]:
        """What each case's steps gave, by the case's name."""
        found = {}
        for line in output.splitlines():
            number, *results = line.split(" ")
            case, calls = self.cases[int(number)], self._calls[int(number)]
            texts = []
            if "signal" in results:
                at = results.index("signal")
                texts, results = [" ".join(results[at:])], results[:at]
            named = [call for call in calls if call not in ("!fork", "!thread")]
            outcomes = [_outcome(*pair) for pair in zip(named, results)]
            found[case.name] = outcomes + texts
        return found


def _assigns(text: str) -> bool:
    return re.match(r"\s*[a-z]+=", text) is not None


def _number(word: str) -> int:
    value = 0
    for part in word.split("|"):
        octal = re.fullmatch(r"0[0-7]+", part)
        value |= CONSTANTS[part] if part in CONSTANTS else int(part, 8 if octal else 0)
    return value


def _descriptor(word: str, variables: Mapping[str, int]) -> str:
    if word.startswith("$"):
        return f"v{variables[word[1:]]}"
    return "n-100" if word == "." else f"n{int(word, 0)}"


def _result(usual: str, word: str) -> str:
    if not word:
        return usual
    return f"r{usual[1:]}" if word == "&RO" else f"n{_POINTERS[word[1:]]}"


def _outcome(call: str, result: str) -> str:
    value, *blobs = result.split(":")
    number = int(value)
    if number < 0:
        return f"{call} {errno.errorcode.get(-number, value)}"
    kinds = [] if call.startswith("!") else SIGNATURES[call][1]
    kind = next((k for k in kinds if k in _DECODERS), call)
    decode = _DECODERS.get(kind, _show)
    return " ".join([call, value, *(decode(bytes.fromhex(blob)) for blob in blobs)])


def _show(data: bytes) -> str:
    return repr(data)


# What of each result can be equal: not numbers of devices and inodes, blocks, and times of access


class _Status(NamedTuple):
    nlink: int
    mode: int
    uid: int
    gid: int
    device: int
    size: int
    mtime: int
    mtime_ns: int

    def __str__(self) -> str:
        is_directory = stat.S_ISDIR(self.mode)
        is_new = self.mtime > RECENT
        links = "any" if is_directory and is_new else self.nlink
        owner = "any" if is_new else f"{self.uid}:{self.gid}"  # a namespace hides all others'
        size = "any" if is_directory else self.size
        time = "new" if is_new else f"{self.mtime}.{self.mtime_ns:09}"
        return f"mode={self.mode:o} nlink={links} {owner} rdev={self.device} size={size} {time}"


def _stat(data: bytes) -> str:
    _, _, nlink, mode, uid, gid, device, size, *_, mtime, mtime_ns = struct.unpack_from(
        "=3Q3I4xQq2q2qqq", data
    )
    return str(_Status(nlink, mode, uid, gid, device, size, mtime, mtime_ns))


def _statx(data: bytes) -> str:
    mask, _, _, nlink, uid, gid, mode, _, size = struct.unpack_from("=IIQIIIHxxQQ", data)
    mtime, mtime_ns = struct.unpack_from("=qI", data, 112)
    device = os.makedev(*struct.unpack_from("=II", data, 128))
    status = _Status(nlink, mode, uid, gid, device, size, mtime, mtime_ns)
    return f"mask={mask & CONSTANTS['STATX_BASIC_STATS']:o} {status}"


def _statfs(data: bytes) -> str:
    numbers = struct.unpack_from("=11q", data)
    return f"namelen={numbers[8]} readonly={numbers[10] & 1}"


def _entries(data: bytes, head: int) -> str:
    found = []
    while data:
        _, _, size = struct.unpack_from("=QqH", data)
        kind = data[18] if head == 19 else data[size - 1]
        found.append(f"{kind:o} {os.fsdecode(data[head:size].split(bytes(1))[0])!r}")
        data = data[size:]
    return ", ".join(sorted(found))


def _names(data: bytes) -> str:
    return repr(sorted(data.split(b"\0")))


_DECODERS: dict[str, Callable[[bytes], str]] = {
    "stat": _stat,
    "statx": _statx,
    "statfs": _statfs,
    "!list": lambda data: _entries(data, 19),
    "!list-old": lambda data: _entries(data, 18),
    "raw": lambda data: "some",
    "getdents64": lambda data: "some",
    "names": _names,
    "handle": lambda data: "any",
}

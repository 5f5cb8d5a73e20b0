"""How ``pyparrot ls`` shows names: columns, and long lines as GNU ls has them."""

from __future__ import annotations

import argparse
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.cli import _output
from pyparrot.cli._entry_facts import group_name, user_name

if TYPE_CHECKING:
    from pyparrot.tree.base import Tree
    from pyparrot.tree.entries import Node

_HALF_A_YEAR = 31556952 // 2
"""Seconds; older files are shown with their year, as GNU ls does it."""


class ListedEntry(NamedTuple):
    """A name to be shown: as what (*shown* is the whole path), and what is known of it."""

    name: bytes
    shown: bytes
    path: bytes
    node: Node
    repository: Tree


class Style(NamedTuple):
    """How entries look; *columns* is the terminal's width, 0 for one a line."""

    long: bool
    inode: bool
    human: bool
    numeric: bool
    columns: int

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Style:
        """The style that the options ask for."""
        long = arguments.long or arguments.numeric
        columns = 0
        if _output.to_terminal() and not long and not arguments.single:
            import shutil

            columns = shutil.get_terminal_size().columns
        return cls(long, arguments.inode, arguments.human, arguments.numeric, columns)

    def size(self, count: int) -> str:
        """A size in bytes."""
        return _human(count) if self.human else str(count)

    def total(self, entries: Iterable[ListedEntry]) -> str:
        """What the entries take on a disk, in kB as GNU ls has it."""
        count = sum(e.repository.stat_of(e.node).st_blocks for e in entries) * 512
        return _human(count) if self.human else str(-(-count // 1024))

    def lines(self, entries: Sequence[ListedEntry]) -> list[bytes]:
        """The lines that show *entries*."""
        if self.long:
            return self._long_lines(entries)
        names = [_output.shown_name(entry.name) for entry in entries]
        if self.inode:
            numbers = _right([str(entry.node.inode) for entry in entries])
            names = [number.encode() + b" " + name for number, name in zip(numbers, names)]
        return _columns(names, self.columns) if self.columns else names

    def _long_lines(self, entries: Sequence[ListedEntry]) -> list[bytes]:
        nodes = [entry.node for entry in entries]
        fields = [
            [stat.filemode(node.mode) for node in nodes],
            _right([str(node.nlink) for node in nodes]),
            _left([self._owner(node.uid, user_name) for node in nodes]),
            _left([self._owner(node.gid, group_name) for node in nodes]),
            _right([self._size_field(entry) for entry in entries]),
            [_time(node.mtime) for node in nodes],
        ]
        if self.inode:
            fields.insert(0, _right([str(node.inode) for node in nodes]))
        return [
            " ".join(known).encode() + b" " + self._name_field(entry)
            for entry, *known in zip(entries, *fields)
        ]

    def _owner(self, number: int, name_of: Callable[[int], str | None]) -> str:
        return (None if self.numeric else name_of(number)) or str(number)

    def _size_field(self, entry: ListedEntry) -> str:
        status = entry.repository.stat_of(entry.node)
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            return f"{os.major(status.st_rdev)}, {os.minor(status.st_rdev)}"
        return self.size(status.st_size)

    def _name_field(self, entry: ListedEntry) -> bytes:
        name = _output.shown_name(entry.name)
        if stat.S_ISLNK(entry.node.mode):
            name += b" -> " + _output.shown_name(entry.repository.target(entry.node))
        return name


def _human(count: int) -> str:
    """As GNU ls -h: powers of 1024, rounded up, one decimal below 10."""
    if count < 1024:
        return str(count)
    scale = 1
    for unit in "KMGTPE":
        scale *= 1024
        tenths = -(-count * 10 // scale)
        if tenths < 100:
            return f"{tenths // 10}.{tenths % 10}{unit}"
        whole = -(-count // scale)
        if whole < 1024 or unit == "E":
            break
    return f"{whole}{unit}"


def _time(nanoseconds: int) -> str:
    seconds = nanoseconds // 1_000_000_000
    recent = 0 <= time.time() - seconds < _HALF_A_YEAR
    return time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", time.localtime(seconds))


def _right(texts: Sequence[str]) -> list[str]:
    width = max(map(len, texts), default=0)
    return [text.rjust(width) for text in texts]


def _left(texts: Sequence[str]) -> list[str]:
    width = max(map(len, texts), default=0)
    return [text.ljust(width) for text in texts]


def _columns(names: Sequence[bytes], width: int) -> list[bytes]:
    """*names* in as many columns as fit, read downwards."""
    widths = [_width(name) for name in names]
    for rows in range(1, len(names) + 1):
        columns = [max(widths[start : start + rows]) + 2 for start in range(0, len(names), rows)]
        if sum(columns) - 2 <= width or rows == len(names):
            break
    else:
        return []
    lines = []
    for row in range(rows):
        cells = range(row, len(names), rows)
        padded = (names[n] + b" " * (columns[n // rows] - widths[n]) for n in cells)
        lines.append(b"".join(padded).rstrip(b" "))
    return lines


def _width(name: bytes) -> int:
    """The number of cells that a name takes on a terminal."""
    import unicodedata

    text = name.decode("utf-8", "replace")
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    combining = sum(unicodedata.combining(c) > 0 for c in text)
    return len(text) + wide - combining

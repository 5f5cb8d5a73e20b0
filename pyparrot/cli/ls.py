"""``pyparrot ls``: list directories of a repository."""

from __future__ import annotations

import argparse
import functools
import os
import stat
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pyparrot.cli import _repository_options
from pyparrot.errors import PyparrotError

if TYPE_CHECKING:
    from pyparrot.tree.base import Tree
    from pyparrot.tree.entries import Node

_EPILOG = f"""\
Names are sorted by their bytes, unless -t or -S says otherwise. Target and size of a variant
symlink are those in this environment.

{_repository_options.OPTIONS_EPILOG}
examples:
  pyparrot ls /cvmfs/sw.example.org
  pyparrot ls -ltr /cvmfs/sw.example.org/releases
  pyparrot ls -lR --tag v1 /cvmfs/sw.example.org/releases
  pyparrot ls --server http://127.0.0.1:8000/cvmfs/@fqrn@ --key sw.pub /cvmfs/sw.example.org
"""

_HALF_A_YEAR = 31556952 // 2
"""Seconds; older files are shown with their year, as GNU ls does it."""

_FLAGS = {
    "-l": ("long", "one a line, with mode, links, owner, group, size and time"),
    "-a": ("all", "names that begin with a dot, too"),
    "-A": ("almost_all", "as -a, without . and .."),
    "-R": ("recursive", "all that is below, too"),
    "-d": ("directory", "directories themselves, not what they hold"),
    "-1": ("single", "one a line"),
    "-i": ("inode", "inode numbers, too"),
    "-h": ("human", "sizes as 1.2K, 3.4M, 5G"),
    "-n": ("numeric", "as -l, with numbers for owner and group"),
    "-t": ("by_time", "newest first"),
    "-S": ("by_size", "largest first"),
    "-r": ("reverse", "in reverse order"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    parser.conflict_handler = "resolve"  # ls has an -h of its own; --help stays
    output = parser.add_argument_group("output")
    for flag, (name, text) in _FLAGS.items():
        output.add_argument(flag, dest=name, action="store_true", help=text)
    output.add_argument("--json", action="store_true", help="as JSON, with all that is known")
    _repository_options.add_paths(parser, nargs="*")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.paths:
        raise PyparrotError("ls", "which directory?", "pyparrot ls /cvmfs/FQRN")
    with _repository_options.Repositories(arguments) as repositories:
        listing = _Listing(arguments, repositories)
        listing.run(repositories.targets())
        return repositories.status


class _Entry(NamedTuple):
    """A name to be shown: as what (*shown* is the whole path), and what is known of it."""

    name: bytes
    shown: bytes
    path: bytes
    node: Node
    repository: Tree


class _Listing:
    def __init__(
        self, arguments: argparse.Namespace, repositories: _repository_options.Repositories
    ) -> None:
        self._arguments = arguments
        self._repositories = repositories
        self._json: list[dict[str, Any]] = []
        self._style = _Style.of(arguments)
        self._begun = False

    def run(self, targets: Sequence[_repository_options.Target]) -> None:
        """List all *targets*: first what is no directory, then what directories hold."""
        found = [entry for entry in map(self._entry, targets) if entry is not None]
        found = self._in_order(found)
        directories = [] if self._arguments.directory else list(filter(_is_directory, found))
        others = [entry for entry in found if entry not in directories]
        self._show(others)
        self._begun = bool(others)
        titled = len(targets) > 1 or self._arguments.recursive
        for directory in directories:
            self._list(directory, titled)
        if self._arguments.json:
            _repository_options.write_json(self._json)

    def _entry(self, target: _repository_options.Target) -> _Entry | None:
        shown, repository, path = target

        def look_up() -> _Entry:
            found = repository.lookup(path, follow_symlinks=False)
            if stat.S_ISLNK(found.node.mode) and self._follows:
                try:
                    led = repository.lookup(path)
                except OSError:
                    led = found  # it leads nowhere or outside: the link itself is shown
                if stat.S_ISDIR(led.node.mode):
                    found = led
            return _Entry(shown, shown, found.path, found.node, repository)

        return self._repositories.attempt(shown, look_up)

    @property
    def _follows(self) -> bool:
        """Whether a link to a directory on the command line stands for that directory."""
        chosen = self._arguments
        return not (chosen.long or chosen.numeric or chosen.directory)

    def _in_order(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """*entries* in the order that is asked for; the same by that, they go by their names."""

        def key(entry: _Entry) -> tuple[int, bytes]:
            first = 0
            if self._arguments.by_time:
                first = -entry.node.mtime
            elif self._arguments.by_size:
                first = -entry.repository.stat_of(entry.node).st_size
            return first, entry.name

        return sorted(entries, key=key, reverse=self._arguments.reverse)

    def _list(self, top: _Entry, titled: bool) -> None:
        pending = [top]
        while pending:
            directory = pending.pop()
            held = self._repositories.attempt(
                directory.shown, functools.partial(self._held, directory)
            )
            if held is None:
                continue
            if titled and not self._arguments.json:
                blank = b"\n" if self._begun else b""
                _repository_options.write(
                    blank + _repository_options.shown_name(directory.shown) + b":\n"
                )
            self._begun = True
            if self._style.long and not self._arguments.json:
                _repository_options.write(b"total %s\n" % self._style.total(held).encode())
            self._show(held)
            if self._arguments.recursive:
                below = (entry for entry in held if entry.name not in (b".", b".."))
                pending += reversed(list(filter(_is_directory, below)))

    def _held(self, directory: _Entry) -> list[_Entry]:
        """What is shown of a directory's names."""
        repository, prefix = directory.repository, directory.shown.rstrip(b"/") + b"/"
        held = []
        if self._arguments.all and not self._arguments.json:
            above = directory.path.rpartition(b"/")[0]
            for name, path in ((b".", directory.path), (b"..", above)):
                node = repository.lookup(path or "/").node
                held.append(_Entry(name, prefix + name, path, node, repository))
        for path, node in repository.scandir(directory.path):
            if self._dots or not node.name.startswith(b"."):
                held.append(_Entry(node.name, prefix + node.name, path, node, repository))
        return self._in_order(held)

    @property
    def _dots(self) -> bool:
        return bool(self._arguments.all or self._arguments.almost_all)

    def _show(self, entries: Sequence[_Entry]) -> None:
        if self._arguments.json:
            self._json += (
                _repository_options.facts_of(entry.repository, entry.shown, entry.node)
                for entry in entries
            )
            return
        _repository_options.write(b"".join(line + b"\n" for line in self._style.lines(entries)))


def _is_directory(entry: _Entry) -> bool:
    return stat.S_ISDIR(entry.node.mode)


class _Style(NamedTuple):
    """How entries look; *columns* is the terminal's width, 0 for one a line."""

    long: bool
    inode: bool
    human: bool
    numeric: bool
    columns: int

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> _Style:
        """The style that the options ask for."""
        long = arguments.long or arguments.numeric
        columns = 0
        if _repository_options.to_terminal() and not long and not arguments.single:
            import shutil

            columns = shutil.get_terminal_size().columns
        return cls(long, arguments.inode, arguments.human, arguments.numeric, columns)

    def size(self, count: int) -> str:
        """A size in bytes."""
        return _human(count) if self.human else str(count)

    def total(self, entries: Iterable[_Entry]) -> str:
        """What the entries take on a disk, in kB as GNU ls has it."""
        count = sum(e.repository.stat_of(e.node).st_blocks for e in entries) * 512
        return _human(count) if self.human else str(-(-count // 1024))

    def lines(self, entries: Sequence[_Entry]) -> list[bytes]:
        """The lines that show *entries*."""
        if self.long:
            return self._long_lines(entries)
        names = [_repository_options.shown_name(entry.name) for entry in entries]
        if self.inode:
            numbers = _right([str(entry.node.inode) for entry in entries])
            names = [number.encode() + b" " + name for number, name in zip(numbers, names)]
        return _columns(names, self.columns) if self.columns else names

    def _long_lines(self, entries: Sequence[_Entry]) -> list[bytes]:
        nodes = [entry.node for entry in entries]
        fields = [
            [stat.filemode(node.mode) for node in nodes],
            _right([str(node.nlink) for node in nodes]),
            _left([_user(node.uid, self.numeric) for node in nodes]),
            _left([_group(node.gid, self.numeric) for node in nodes]),
            _right([self._size_field(entry) for entry in entries]),
            [_time(node.mtime) for node in nodes],
        ]
        if self.inode:
            fields.insert(0, _right([str(node.inode) for node in nodes]))
        return [
            " ".join(known).encode() + b" " + self._name_field(entry)
            for entry, *known in zip(entries, *fields)
        ]

    def _size_field(self, entry: _Entry) -> str:
        status = entry.repository.stat_of(entry.node)
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            return f"{os.major(status.st_rdev)}, {os.minor(status.st_rdev)}"
        return self.size(status.st_size)

    def _name_field(self, entry: _Entry) -> bytes:
        name = _repository_options.shown_name(entry.name)
        if stat.S_ISLNK(entry.node.mode):
            name += b" -> " + _repository_options.shown_name(entry.repository.target(entry.node))
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


@functools.cache
def _user(number: int, numeric: bool) -> str:
    import pwd

    try:
        return str(number) if numeric else pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@functools.cache
def _group(number: int, numeric: bool) -> str:
    import grp

    try:
        return str(number) if numeric else grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


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

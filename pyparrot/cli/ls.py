"""``pyparrot ls``: list directories of a repository."""

from __future__ import annotations

import argparse
import functools
import stat
from collections.abc import Sequence
from typing import Any

from pyparrot.cli import _entry_facts, _output, _repositories, _repository_options
from pyparrot.cli._listing import ListedEntry, Style
from pyparrot.errors import PyparrotError

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
    with _repositories.Repositories(arguments) as repositories:
        listing = _Listing(arguments, repositories)
        listing.run(repositories.path_arguments())
        return repositories.status


class _Listing:
    def __init__(
        self, arguments: argparse.Namespace, repositories: _repositories.Repositories
    ) -> None:
        self._arguments = arguments
        self._repositories = repositories
        self._json: list[dict[str, Any]] = []
        self._style = Style.of(arguments)
        self._begun = False

    def run(self, targets: Sequence[_repositories.PathArgument]) -> None:
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
            _output.write_json(self._json)

    def _entry(self, target: _repositories.PathArgument) -> ListedEntry | None:
        shown, repository, path = target

        def look_up() -> ListedEntry:
            found = repository.lookup(path, follow_symlinks=False)
            if stat.S_ISLNK(found.node.mode) and self._follows:
                try:
                    led = repository.lookup(path)
                except OSError:
                    led = found  # it leads nowhere or outside: the link itself is shown
                if stat.S_ISDIR(led.node.mode):
                    found = led
            return ListedEntry(shown, shown, found.path, found.node, repository)

        return self._repositories.attempt(shown, look_up)

    @property
    def _follows(self) -> bool:
        """Whether a link to a directory on the command line stands for that directory."""
        chosen = self._arguments
        return not (chosen.long or chosen.numeric or chosen.directory)

    def _in_order(self, entries: Sequence[ListedEntry]) -> list[ListedEntry]:
        """*entries* in the order that is asked for; the same by that, they go by their names."""

        def key(entry: ListedEntry) -> tuple[int, bytes]:
            first = 0
            if self._arguments.by_time:
                first = -entry.node.mtime
            elif self._arguments.by_size:
                first = -entry.repository.stat_of(entry.node).st_size
            return first, entry.name

        return sorted(entries, key=key, reverse=self._arguments.reverse)

    def _list(self, top: ListedEntry, titled: bool) -> None:
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
                _output.write(blank + _output.shown_name(directory.shown) + b":\n")
            self._begun = True
            if self._style.long and not self._arguments.json:
                _output.write(b"total %s\n" % self._style.total(held).encode())
            self._show(held)
            if self._arguments.recursive:
                below = (entry for entry in held if entry.name not in (b".", b".."))
                pending += reversed(list(filter(_is_directory, below)))

    def _held(self, directory: ListedEntry) -> list[ListedEntry]:
        """What is shown of a directory's names."""
        repository, prefix = directory.repository, directory.shown.rstrip(b"/") + b"/"
        held = []
        if self._arguments.all and not self._arguments.json:
            above = directory.path.rpartition(b"/")[0]
            for name, path in ((b".", directory.path), (b"..", above)):
                node = repository.lookup(path or "/").node
                held.append(ListedEntry(name, prefix + name, path, node, repository))
        for path, node in repository.scandir(directory.path):
            if self._dots or not node.name.startswith(b"."):
                held.append(ListedEntry(node.name, prefix + node.name, path, node, repository))
        return self._in_order(held)

    @property
    def _dots(self) -> bool:
        return bool(self._arguments.all or self._arguments.almost_all)

    def _show(self, entries: Sequence[ListedEntry]) -> None:
        if self._arguments.json:
            self._json += (
                _entry_facts.facts_of(entry.repository, entry.shown, entry.node)
                for entry in entries
            )
            return
        _output.write(b"".join(line + b"\n" for line in self._style.lines(entries)))


def _is_directory(entry: ListedEntry) -> bool:
    return stat.S_ISDIR(entry.node.mode)

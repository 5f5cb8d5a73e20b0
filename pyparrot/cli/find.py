"""``pyparrot find``: search a repository for names."""

from __future__ import annotations

import argparse
import fnmatch
import functools
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.cli import _entry_facts, _output, _repositories, _repository_options

if TYPE_CHECKING:
    from pyparrot.tree.base import Listed, Tree
    from pyparrot.tree.entries import Node

_EPILOG = f"""\
All tests that are given must hold. No symlink is followed.

{_repository_options.OPTIONS_EPILOG}
examples:
  pyparrot find /cvmfs/sw.example.org/releases -maxdepth 1 -type d
  pyparrot find /cvmfs/sw.example.org -name '*.so*' -type f -size +10M
  pyparrot find /cvmfs/sw.example.org -type f -print0 | xargs -0 pyparrot stat
"""

_TYPES: dict[str, Callable[[int], bool]] = {
    "f": stat.S_ISREG,
    "d": stat.S_ISDIR,
    "l": stat.S_ISLNK,
    "b": stat.S_ISBLK,
    "c": stat.S_ISCHR,
    "p": stat.S_ISFIFO,
    "s": stat.S_ISSOCK,
}
_UNITS = {"": 512, "b": 512, "c": 1, "w": 2, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_Test = Callable[["_Hit"], bool]


class _Hit(NamedTuple):
    shown: bytes
    node: Node
    size: int
    depth: int


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    # argparse takes "-10M" for an option; only what it has for a negative number is a value.
    parser._negative_number_matcher = re.compile(r"-[0-9]+[cwbkMG]?$")
    tests = parser.add_argument_group("tests, spelled as find does")

    def add(name: str, **options: object) -> None:
        tests.add_argument(f"-{name}", f"--{name}", **options)  # type: ignore[arg-type]

    add("name", metavar="PATTERN", action="append", help="the last part of the path is like this")
    add("iname", metavar="PATTERN", action="append", help="the same, in upper or lower case")
    add("path", metavar="PATTERN", action="append", help="the whole path is like this")
    add("type", metavar="LETTERS", type=_types, help="one of f, d, l, b, c, p, s; or f,l")
    add("size", metavar="[+-]N[cwbkMG]", type=_size, action="append", help="more, less or so much")
    add("mindepth", metavar="N", type=_depth, default=0, help="nothing above this level")
    add("maxdepth", metavar="N", type=_depth, help="nothing below this level")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("-print0", "--print0", action="store_true", help="NUL after each name")
    output.add_argument("--json", action="store_true", help="as JSON, with all that is known")
    _repository_options.add_paths(parser)
    parser.set_defaults(run=_run)


def _types(text: str) -> list[Callable[[int], bool]]:
    letters = text.split(",")
    if not all(letter in _TYPES for letter in letters):
        raise argparse.ArgumentTypeError(f"not of {','.join(_TYPES)}: {text}")
    return [_TYPES[letter] for letter in letters]


def _depth(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"not a number: {text}")
    return int(text)


def _size(text: str) -> _Test:
    match = re.fullmatch(r"([+-]?)([0-9]{1,18})([cwbkMG]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"not a size: {text}")
    sign, unit, wanted = match[1], _UNITS[match[3]], int(match[2])

    def test(hit: _Hit) -> bool:
        units = -(-hit.size // unit)  # find rounds up, too
        return units > wanted if sign == "+" else units < wanted if sign else units == wanted

    return test


def _tests(arguments: argparse.Namespace) -> list[_Test]:
    def like(pattern: str, part: Callable[[_Hit], bytes], flags: int = 0) -> _Test:
        # As text, so that ? is a character; each byte that is not UTF-8 counts as one.
        matches = re.compile(fnmatch.translate(pattern), flags).match
        return lambda hit: matches(os.fsdecode(part(hit))) is not None

    found: list[_Test] = [like(pattern, _base) for pattern in arguments.name or ()]
    found += [like(pattern, _base, re.IGNORECASE) for pattern in arguments.iname or ()]
    found += [like(pattern, lambda hit: hit.shown) for pattern in arguments.path or ()]
    if arguments.type:
        found.append(lambda hit: any(test(hit.node.mode) for test in arguments.type))
    found += arguments.size or ()
    found.append(lambda hit: hit.depth >= arguments.mindepth)
    return found


def _base(hit: _Hit) -> bytes:
    return hit.shown.rstrip(b"/").rpartition(b"/")[2]


def _run(arguments: argparse.Namespace) -> int:
    tests = _tests(arguments)
    described: list[dict[str, object]] = []
    end = b"\0" if arguments.print0 else b"\n"
    with _repositories.Repositories(arguments) as repositories:
        for target in repositories.path_arguments():
            for hit in _walk(repositories, target, arguments.maxdepth):
                if not all(test(hit) for test in tests):
                    continue
                if arguments.json:
                    described.append(_entry_facts.facts_of(target.repository, hit.shown, hit.node))
                else:
                    shown = hit.shown if arguments.print0 else _output.shown_name(hit.shown)
                    _output.write(shown + end)
        if arguments.json:
            _output.write_json(described)
        return repositories.status


def _walk(
    repositories: _repositories.Repositories,
    target: _repositories.PathArgument,
    deepest: int | None,
) -> Iterator[_Hit]:
    """What is at and below a path, a directory before what it holds; failures are told."""
    shown, repository, path = target
    top = repositories.attempt(shown, lambda: repository.lookup(path, follow_symlinks=False))
    if top is None:
        return
    pending = [(shown, top.path, top.node, 0)]
    while pending:
        shown, path, node, depth = pending.pop()
        yield _Hit(shown, node, repository.stat_of(node).st_size, depth)
        if not stat.S_ISDIR(node.mode) or depth == deepest:
            continue
        held = repositories.attempt(shown, functools.partial(_held, repository, path))
        prefix = shown.rstrip(b"/") + b"/"
        for child in reversed(held or ()):
            pending.append((prefix + child.node.name, child.path, child.node, depth + 1))


def _held(repository: Tree, path: bytes) -> list[Listed]:
    return list(repository.scandir(path))

"""What the commands that read repositories share: options, paths, failures, facts about names."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from pyparrot.errors import PyparrotError, from_os_error, printable

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository
    from pyparrot.sources.cvmfs.revisions import Wanted
    from pyparrot.tree.base import Tree
    from pyparrot.tree.entries import Node

EXIT_SOME_FAILED = 1
"""Exit status when some of the paths could not be read; the others were."""

OPTIONS_EPILOG = """\
Without options that say where to read from, the configuration counts: pyparrot config show FQRN.

Exit status: 0 for success, 1 if some path could not be read, 125 if pyparrot itself failed.
"""

_PATH = re.compile(rb"/+cvmfs/+([^/]+)(/.*)?", re.DOTALL)
_DATE = "%Y-%m-%dT%H:%M:%SZ"
_Result = TypeVar("_Result")


# The command line


def add_paths(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """Add the paths that a command reads, and the options of `add_options`."""
    parser.add_argument("paths", metavar="PATH", nargs=nargs, help="/cvmfs/FQRN/...")
    add_options(parser)
    text = "ask the server which revision is the newest, even if its TTL has not passed"
    parser.add_argument("--refresh", action="store_true", help=text)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a repository comes from, and which revision of it."""
    source = parser.add_argument_group("where to read from")
    add = source.add_argument
    add("--server", metavar="URL", help="the server's URL; @fqrn@ stands for the name")
    add("--key", metavar="FILE", help="the repository's public master key")
    add("--proxy", metavar="LIST", help="proxies as in CVMFS_HTTP_PROXY, or DIRECT")
    add_cache_option(parser)
    add_parameters(parser)
    add_revision(parser)


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the cache's directory."""
    parser.add_argument("--cache", metavar="DIR", help="the cache's directory")


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Add the option that sets any parameter."""
    parser.add_argument(
        "-o",
        metavar="NAME=VALUE",
        dest="options",
        action="append",
        default=[],
        help="set a parameter; can be given many times",
    )


def add_revision(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a revision."""
    group = parser.add_argument_group("which revision (the newest)")
    add = group.add_mutually_exclusive_group().add_argument
    add("--tag", metavar="NAME", help="the one that is tagged so")
    add("--revision", metavar="N", type=_number, help="by its number; it must be tagged")
    add("--root-hash", metavar="HASH", help="by its root catalog's hash; nothing is to be signed")
    add("--date", metavar="TIME", help="the newest tagged one at that time: 2026-01-31T12:00:00Z")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"not a number: {text}")
    return int(text)


def wanted_revision(arguments: argparse.Namespace) -> Wanted | None:
    """The revision that the options name; None leaves it to the configuration."""
    chosen = (arguments.tag, arguments.revision, arguments.root_hash, arguments.date)
    if all(value is None for value in chosen):
        return None
    from pyparrot.sources.cvmfs.hashes import ContentHash
    from pyparrot.sources.cvmfs.revisions import Wanted

    root_hash = date = None
    if arguments.root_hash is not None:
        try:
            root_hash = ContentHash.parse(arguments.root_hash)
        except ValueError as error:
            raise PyparrotError("--root-hash", str(error)) from None
    if arguments.date is not None:
        date = _unix_time(arguments.date)
    return Wanted(arguments.tag, date, arguments.revision, root_hash)


def _unix_time(text: str) -> int:
    from datetime import datetime, timezone

    for form in (_DATE, "%Y-%m-%d"):
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=timezone.utc).timestamp())
        except ValueError:
            continue
    raise PyparrotError("--date", f"not a time: {text}", "such as 2026-01-31T12:00:00Z")


def split(path: bytes) -> tuple[str, bytes]:
    """The repository's name and the path within it, of a path that begins with /cvmfs."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise PyparrotError(path, "not a path in a repository", "/cvmfs/FQRN/...")
    return os.fsdecode(match[1]), match[2] or b"/"


def open_one(
    arguments: argparse.Namespace, fqrn: str, cache: str | None = None
) -> RemoteRepository:
    """Open a repository as the options want it; *cache* counts instead of ``--cache``."""
    from pyparrot.config import parse_options
    from pyparrot.repository import open_repository

    try:
        repository = open_repository(
            fqrn,
            server=arguments.server,
            key=arguments.key,
            proxy=arguments.proxy,
            cache=cache or arguments.cache,
            wanted=wanted_revision(arguments),
            refresh=arguments.refresh,
            options=parse_options(arguments.options),
        )
    except OSError as error:
        if error.filename is not None:
            raise
        raise describe(os.fsencode(fqrn), error) from None  # some object can't be had
    for warning in repository.warnings:
        warn(warning)
    return repository


def warn(text: str) -> None:
    """Print a warning."""
    print(f"pyparrot: warning: {printable(text)}", file=sys.stderr)


class Target(NamedTuple):
    """A path of the command line: as it was given, in which repository, and where in it."""

    shown: bytes
    repository: RemoteRepository
    path: bytes


class Repositories:
    """The repositories that a command reads, each opened once.

    *status* is the command's exit status: it knows of the paths that failed.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.status = 0
        self._arguments = arguments
        self._opened: dict[str, RemoteRepository] = {}

    def __enter__(self) -> Repositories:
        return self

    def __exit__(self, *exception: object) -> None:
        for repository in self._opened.values():
            repository.close()

    def target(self, path: str) -> Target:
        """What a path of the command line stands for; `PyparrotError` if it can't be opened."""
        shown = os.fsencode(path)
        fqrn, inside = split(shown)
        if fqrn not in self._opened:
            self._opened[fqrn] = open_one(self._arguments, fqrn)
        return Target(shown, self._opened[fqrn], inside)

    def targets(self) -> list[Target]:
        """All paths of the command line."""
        return [self.target(path) for path in self._arguments.paths]

    def attempt(self, shown: bytes, function: Callable[[], _Result]) -> _Result | None:
        """The result of *function*, which must not print; None if the path failed."""
        try:
            return function()
        except OSError as error:
            self.complain(shown, error)
            return None

    def complain(self, shown: bytes, error: OSError) -> None:
        """Say in one line that a path failed, and why."""
        self.status = EXIT_SOME_FAILED
        print(f"pyparrot: {describe(shown, error)}", file=sys.stderr)


def describe(shown: bytes, error: OSError) -> PyparrotError:
    """What happened to a path."""
    from pyparrot.tree.base import OutsideError

    failure = from_os_error(error)
    why = failure.why
    if isinstance(error, OutsideError):
        why += f", to {printable(error.target)}"
    return PyparrotError(shown, why, failure.hint)


# Output


def output() -> BinaryIO:
    """Standard output for bytes; `PyparrotError` if there is none."""
    if sys.stdout is None:
        raise PyparrotError("standard output", "it is closed")
    return sys.stdout.buffer


def write(data: bytes) -> None:
    """Write to standard output: names are bytes, whatever they encode."""
    output().write(data)


def to_terminal() -> bool:
    """Whether somebody reads standard output on a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def shown_name(name: bytes) -> bytes:
    """A name as it is written: raw, but nothing that a terminal would obey."""
    if not to_terminal():
        return name
    return "".join(c if c.isprintable() else "?" for c in os.fsdecode(name)).encode()


def write_json(value: object) -> None:
    """Write JSON; surrogates stand for the bytes that are not UTF-8."""
    import json

    print(json.dumps(value, indent=2))


def time_text(seconds: float) -> str:
    """A time, for people."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def write_facts(facts: Mapping[str, object]) -> None:
    """Write facts, a line each, in two columns."""
    width = max(map(len, facts), default=0) + 2
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):{width}}{printable(str(value))}".rstrip())


# What is known of a name

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFBLK: "blockdev",
    stat.S_IFCHR: "chardev",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
"""What JSON calls the types of files."""


def named(path: bytes) -> dict[str, str]:
    """A path for JSON; those that are not UTF-8 in hexadecimal, too."""
    text = path.decode("utf-8", "surrogateescape")
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return {"path": text, "path_hex": path.hex()}
    return {"path": text}


def facts_of(repository: Tree, shown: bytes, node: Node) -> dict[str, Any]:
    """What the catalog says of a name, for JSON."""
    status = repository.stat_of(node)
    facts: dict[str, Any] = {
        **named(shown),
        "type": TYPES.get(stat.S_IFMT(node.mode), "unknown"),
        "mode": f"{stat.S_IMODE(node.mode):04o}",
        "uid": node.uid,
        "gid": node.gid,
        "size": status.st_size,
        "mtime": node.mtime // 1_000_000_000,
        "mtime_ns": node.mtime,
        "nlink": node.nlink,
        "ino": node.inode,
    }
    if stat.S_ISLNK(node.mode):
        facts["target"] = os.fsdecode(repository.target(node))
    elif stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
        facts["rdev"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    elif stat.S_ISREG(node.mode):
        facts.update(_content_facts(repository, node))
    return facts


def _content_facts(repository: Tree, node: Node) -> dict[str, Any]:
    from pyparrot.sources.capabilities import Describes

    return repository.describe_content(node) if isinstance(repository, Describes) else {}

"""The options that commands which read repositories share: adding them, and what they mean."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pyparrot.errors import PyparrotError

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.revisions import Wanted

OPTIONS_EPILOG = """\
Without options that say where to read from, the configuration does: pyparrot config show FQRN.

Exit status: 0 for success, 1 if some path could not be read, 125 if pyparrot itself failed.
"""

_DATE = "%Y-%m-%dT%H:%M:%SZ"


def add_paths(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """Add the paths that a command reads, and the options of `add_options`."""
    parser.add_argument("paths", metavar="PATH", nargs=nargs, help="/cvmfs/FQRN/...")
    add_options(parser)
    text = "ask the server which revision is the newest, even if its TTL has not passed"
    parser.add_argument("--refresh", action="store_true", help=text)


def add_fqrn(parser: argparse.ArgumentParser) -> None:
    """Add the name of the repository that a command is about."""
    parser.add_argument("fqrn", metavar="FQRN", help="the repository's full name")


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


def given_parameters(arguments: argparse.Namespace) -> dict[str, str]:
    """The parameters that the options set.

    ``--server``, ``--key`` and ``--proxy`` override ``-o``. The paths of keys are made absolute, so
    that they stay the same after a change of the working directory.
    """
    parameters = {}
    if arguments.options:  # else reading the configuration can wait until it is needed
        from pyparrot.config import parse_options

        parameters = parse_options(arguments.options)
    named = {
        "CVMFS_SERVER_URL": arguments.server,
        "CVMFS_PUBLIC_KEY": arguments.key and _absolute(arguments.key),
        "CVMFS_HTTP_PROXY": arguments.proxy,
    }
    parameters.update((name, value) for name, value in named.items() if value is not None)
    return parameters


def _absolute(files: str) -> str:
    return ":".join(os.path.abspath(file) for file in files.split(":") if file)


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

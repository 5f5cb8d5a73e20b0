"""``publish sync`` and ``ingest``: a new revision from a directory or a tar file."""

from __future__ import annotations

import argparse
import os
import sys
from typing import IO, TYPE_CHECKING

from pyparrot.cli._output import size_text
from pyparrot.errors import PyparrotError

if TYPE_CHECKING:
    from pyparrot.publish.input import Owner
    from pyparrot.publish.sync import Options, Published


def _configure_publication(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--owner", metavar="UID[:GID]", help="whom everything shall belong to (number or name)")
    add("--tag", metavar="NAME", help="name the new revision")
    add("-m", "--message", metavar="TEXT", default="", help="the tag's description")
    add("-q", "--quiet", action="store_true", help="no progress and no summary")


def configure_sync(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish sync``."""
    parser.epilog = """\
A file whose size, times, mode and owner are as published is taken to be unchanged, and not read.
A directory with a file .cvmfscatalog gets a catalog of its own, and so do those that match a rule
in .cvmfsdirtab at the top; large trees are split by themselves.

examples:
  pyparrot publish sync sw.example.org ./software
  pyparrot publish sync sw.example.org ./software --dry-run
  pyparrot publish sync sw.example.org ./software --owner 0:0 --tag v1 -m "first release"
"""
    parser.add_argument("source", metavar="SOURCE_DIR", help="the directory to publish")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would change")
    parser.add_argument("--checksum", action="store_true", help="read every file")
    _configure_publication(parser)


def run_sync(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish sync``."""
    from pyparrot.progress import Progress
    from pyparrot.publish.sync import sync

    with Progress("publishing", "names", arguments.quiet) as progress:
        options = _options(arguments)._replace(
            distrust=arguments.checksum, dry_run=arguments.dry_run
        )
        outcome = sync(arguments.fqrn, os.fsencode(arguments.source), options, progress)
    if not arguments.quiet:
        _summarize(arguments.fqrn, outcome, arguments.dry_run)
    return 0


def configure_ingest(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish ingest``."""
    parser.epilog = """\
The tar file (also .gz, .bz2 or .xz) is laid over what is published, as extracting it there would.

examples:
  pyparrot publish ingest sw.example.org release.tar.gz --into /releases/2.0
  docker export c1 | pyparrot publish ingest sw.example.org - --into /images/c1 --delete /images/c1
"""
    add = parser.add_argument
    add("archive", metavar="TARFILE", help="the tar file, - for standard input")
    add("--into", metavar="PATH", default="/", help="where in the repository (/)")
    add(
        "--delete",
        metavar="PATH",
        action="append",
        default=[],
        help="remove this from the repository before; may be repeated",
    )
    _configure_publication(parser)


def run_ingest(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish ingest``."""
    from pyparrot.progress import Progress
    from pyparrot.publish.sync import ingest

    name = arguments.archive
    with _archive(name) as stream, Progress("publishing", "names", arguments.quiet) as progress:
        outcome = ingest(
            arguments.fqrn,
            stream,
            "standard input" if name == "-" else name,
            os.fsencode(arguments.into),
            [os.fsencode(path) for path in arguments.delete],
            _options(arguments),
            progress,
        )
    if not arguments.quiet:
        _summarize(arguments.fqrn, outcome, False)
    return 0


def _archive(name: str) -> IO[bytes]:
    if name != "-":
        return open(name, "rb")
    if sys.stdin is None:
        raise PyparrotError("standard input", "it is closed")
    return sys.stdin.buffer


def _options(arguments: argparse.Namespace) -> Options:
    from pyparrot.publish.sync import Options

    return Options(owner=_owner(arguments.owner), tag=arguments.tag, message=arguments.message)


def _owner(text: str | None) -> Owner:
    from pyparrot.publish.input import Owner

    if text is None:
        return Owner()
    user, colon, group = text.partition(":")
    uid = _identity(user, "user") if user else None
    gid = _identity(group, "group") if colon and group else None
    return Owner(uid, gid)


def _identity(text: str, kind: str) -> int:
    import grp
    import pwd

    if text.isdecimal() and int(text) < 1 << 32:
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid if kind == "user" else grp.getgrnam(text).gr_gid
    except KeyError:
        raise PyparrotError("--owner", f"no such {kind}: {text}") from None


def _summarize(fqrn: str, outcome: Published, dry_run: bool) -> None:
    changes = outcome.changes
    counts = f"{changes.added} added, {changes.changed} changed, {changes.removed} removed"
    if dry_run:
        print(f"{fqrn}: would be {counts}")
    elif not outcome.published:
        print(f"{fqrn}: nothing has changed, revision {outcome.manifest.revision} stays")
    else:
        print(
            f"{fqrn}: revision {outcome.manifest.revision}: {counts};"
            f" {outcome.new_objects} new objects, {size_text(outcome.new_bytes)}"
        )

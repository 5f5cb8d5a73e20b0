"""``publish ingest``: lay the content of a tar file over what is published."""

from __future__ import annotations

import argparse
import os
import sys
from typing import IO

from pyparrot.cli._repository_options import add_fqrn
from pyparrot.cli.publish._options import add_publication, print_summary, publication_options
from pyparrot.errors import PyparrotError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish ingest``."""
    add_fqrn(parser)
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
    add_publication(parser)
    parser.set_defaults(action_run=run)


def run(arguments: argparse.Namespace) -> int:
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
            publication_options(arguments),
            progress,
        )
    if not arguments.quiet:
        print_summary(arguments.fqrn, outcome, False)
    return 0


def _archive(name: str) -> IO[bytes]:
    if name != "-":
        return open(name, "rb")
    if sys.stdin is None:
        raise PyparrotError("standard input", "it is closed")
    return sys.stdin.buffer

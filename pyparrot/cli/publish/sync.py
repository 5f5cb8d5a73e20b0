"""``publish sync``: make the repository equal to a directory."""

from __future__ import annotations

import argparse
import os

from pyparrot.cli._repository_options import add_fqrn
from pyparrot.cli.publish._options import add_publication, print_summary, publication_options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish sync``."""
    add_fqrn(parser)
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
    add_publication(parser)
    parser.set_defaults(action_run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish sync``."""
    from pyparrot.progress import Progress
    from pyparrot.publish.sync import sync

    with Progress("publishing", "names", arguments.quiet) as progress:
        options = publication_options(arguments)._replace(
            distrust=arguments.checksum, dry_run=arguments.dry_run
        )
        outcome = sync(arguments.fqrn, os.fsencode(arguments.source), options, progress)
    if not arguments.quiet:
        print_summary(arguments.fqrn, outcome, arguments.dry_run)
    return 0

"""``publish gc``: remove what no revision needs any more."""

from __future__ import annotations

import argparse

from pyparrot.cli._output import size_text
from pyparrot.cli._repository_options import add_fqrn
from pyparrot.cli.publish._options import number


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish gc``."""
    add_fqrn(parser)
    parser.epilog = """\
Kept are the current revision, the tagged ones (trunk-previous is a tag, too), and recent ones.

examples:
  pyparrot publish gc sw.example.org                    keep what is younger than three days
  pyparrot publish gc sw.example.org --keep-days 0      keep no untagged revision but the current
  pyparrot publish gc sw.example.org --dry-run
"""
    add = parser.add_argument
    add("--keep-days", metavar="N", type=number, default=3, help="how young is recent (3)")
    add("--keep-revisions", metavar="N", type=number, default=0, help="and the newest N")
    add("-n", "--dry-run", action="store_true", help="only say what would be removed")
    add("-q", "--quiet", action="store_true", help="no progress and no summary")
    parser.set_defaults(action_run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish gc``."""
    from pyparrot.progress import Progress
    from pyparrot.publish.gc import collect

    with Progress("collecting garbage", "objects", arguments.quiet) as progress:
        outcome = collect(
            arguments.fqrn,
            keep_days=arguments.keep_days,
            keep_revisions=arguments.keep_revisions,
            dry_run=arguments.dry_run,
            progress=progress,
        )
    if not arguments.quiet:
        done = "would remove" if arguments.dry_run else "removed"
        print(
            f"{arguments.fqrn}: kept {outcome.revisions} revisions and {outcome.kept} objects,"
            f" {done} {outcome.removed} objects, {size_text(outcome.removed_bytes)}"
        )
    return 0

"""``publish check``: verify all catalogs, objects and counters."""

from __future__ import annotations

import argparse

from pyparrot.cli._output import report_faults, size_text
from pyparrot.cli._repository_options import add_fqrn


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish check``."""
    add_fqrn(parser)
    parser.epilog = """\
Exit status: 0 if all is well, 1 if something is wrong (a line for each fault on standard output).

example:
  pyparrot publish check sw.example.org
"""
    parser.add_argument("-q", "--quiet", action="store_true", help="only faults, no progress")
    parser.add_argument(
        "--current", action="store_true", help="only the current revision, not the tagged ones"
    )
    parser.set_defaults(action_run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish check``."""
    from pyparrot.progress import Progress
    from pyparrot.publish.check import check

    with Progress("checking", "objects", arguments.quiet) as progress:
        report = check(arguments.fqrn, arguments.current, progress)
    summary = (
        f"{arguments.fqrn}: {report.revisions} revisions, {report.catalogs} catalogs,"
        f" {report.objects} objects, {size_text(report.bytes)}: {len(report.faults)} faults"
    )
    return report_faults(report.faults, None if arguments.quiet else summary)

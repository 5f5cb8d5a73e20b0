"""``publish resign``, ``check``, ``gc`` and ``info``: looking after a repository."""

from __future__ import annotations

import argparse

from pyparrot.cli._output import size_text
from pyparrot.cli.publish._options import days, number
from pyparrot.errors import printable


def configure_resign(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish resign``."""
    parser.epilog = """\
examples:
  pyparrot publish resign sw.example.org --days 90
  pyparrot publish resign sw.example.org --new-certificate
"""
    add = parser.add_argument
    add("--days", metavar="N", type=days, default=30, help="how long it is valid (30)")
    add("--new-certificate", action="store_true", help="make a new certificate for the same key")
    add("--certificate-days", metavar="N", type=days, default=3650, help="(3650)")


def run_resign(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish resign``."""
    from pyparrot.publish import create

    renewed = arguments.certificate_days if arguments.new_certificate else None
    create.resign(arguments.fqrn, arguments.days, renewed)
    print(f"{arguments.fqrn}: the whitelist is valid for {arguments.days} days")
    return 0


def configure_check(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish check``."""
    parser.epilog = """\
Exit status: 0 if all is well, 1 if something is wrong (a line for each fault on standard output).

example:
  pyparrot publish check sw.example.org
"""
    parser.add_argument("-q", "--quiet", action="store_true", help="only faults, no progress")
    parser.add_argument(
        "--current", action="store_true", help="only the current revision, not the tagged ones"
    )


def run_check(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish check``."""
    from pyparrot.progress import Progress
    from pyparrot.publish.check import check

    with Progress("checking", "objects", arguments.quiet) as progress:
        report = check(arguments.fqrn, arguments.current, progress)
    for fault in report.faults:
        print(printable(fault))
    if not arguments.quiet:
        print(
            f"{arguments.fqrn}: {report.revisions} revisions, {report.catalogs} catalogs,"
            f" {report.objects} objects, {size_text(report.bytes)}: {len(report.faults)} faults"
        )
    return 1 if report.faults else 0


def configure_gc(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish gc``."""
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


def run_gc(arguments: argparse.Namespace) -> int:
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


def configure_info(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish info``."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def run_info(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish info``."""
    import json

    from pyparrot.publish.info import describe

    facts = describe(arguments.fqrn)
    if arguments.json:
        print(json.dumps(facts))
        return 0
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):{width}}{printable(str(value))}")
    return 0

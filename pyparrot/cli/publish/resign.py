"""``publish resign``: sign the whitelist anew."""

from __future__ import annotations

import argparse

from pyparrot.cli._repository_options import add_fqrn
from pyparrot.cli.publish._options import days


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish resign``."""
    add_fqrn(parser)
    parser.epilog = """\
examples:
  pyparrot publish resign sw.example.org --days 90
  pyparrot publish resign sw.example.org --new-certificate
"""
    add = parser.add_argument
    add("--days", metavar="N", type=days, default=30, help="how long it is valid (30)")
    add("--new-certificate", action="store_true", help="make a new certificate for the same key")
    add("--certificate-days", metavar="N", type=days, default=3650, help="(3650)")
    parser.set_defaults(action_run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish resign``."""
    from pyparrot.publish import create

    renewed = arguments.certificate_days if arguments.new_certificate else None
    create.resign(arguments.fqrn, arguments.days, renewed)
    print(f"{arguments.fqrn}: the whitelist is valid for {arguments.days} days")
    return 0

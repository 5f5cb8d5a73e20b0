"""``publish info``: show the repository's state."""

from __future__ import annotations

import argparse

from pyparrot.cli._output import write_facts
from pyparrot.cli._repository_options import add_fqrn


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish info``."""
    add_fqrn(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(action_run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish info``."""
    import json

    from pyparrot.publish.info import describe

    facts = describe(arguments.fqrn)
    if arguments.json:
        print(json.dumps(facts))
        return 0
    write_facts(facts)
    return 0

"""``publish rollback``: go back to an earlier revision."""

from __future__ import annotations

import argparse

from pyparrot.cli._repository_options import add_fqrn


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish rollback``."""
    add_fqrn(parser)
    parser.epilog = """\
The content of the tagged revision becomes a new revision. Tags of revisions after the tagged one
are removed, as CernVM-FS does it.

examples:
  pyparrot publish rollback sw.example.org          undo the last publication
  pyparrot publish rollback sw.example.org v1
"""
    parser.add_argument(
        "tag", metavar="TAG", nargs="?", default="trunk-previous", help="(trunk-previous)"
    )
    parser.set_defaults(action_run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish rollback``."""
    from pyparrot.publish import tags

    manifest, target, removed = tags.rollback(arguments.fqrn, arguments.tag)
    print(f"{arguments.fqrn}: revision {manifest.revision} is what revision {target.revision} was")
    if removed:
        print("removed tags: " + ", ".join(tag.name for tag in removed))
    return 0

"""``publish tag`` and ``rollback``: names for revisions, and the way back to one."""

from __future__ import annotations

import argparse

from pyparrot.cli.publish._options import number
from pyparrot.errors import printable


def configure_tag(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish tag``."""
    parser.epilog = """\
examples:
  pyparrot publish tag add sw.example.org v1 -m "first release"
  pyparrot publish tag list sw.example.org
  pyparrot publish tag remove sw.example.org v1
"""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    adding = actions.add_parser("add", help="name a revision")
    adding.add_argument("fqrn", metavar="FQRN", help="the repository's full name")
    adding.add_argument("name", metavar="NAME", help="the tag's name")
    adding.add_argument("-m", "--message", metavar="TEXT", default="", help="its description")
    adding.add_argument(
        "--revision", metavar="N", type=number, help="name this revision, not the current one"
    )
    adding.set_defaults(tag_run=_tag_add)
    listing = actions.add_parser("list", help="show the tags, newest first")
    listing.add_argument("fqrn", metavar="FQRN", help="the repository's full name")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(tag_run=_tag_list)
    removing = actions.add_parser("remove", help="remove tags")
    removing.add_argument("fqrn", metavar="FQRN", help="the repository's full name")
    removing.add_argument("names", metavar="NAME", nargs="+", help="the tags to remove")
    removing.set_defaults(tag_run=_tag_remove)


def run_tag(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish tag``."""
    status: int = arguments.tag_run(arguments)
    return status


def _tag_add(arguments: argparse.Namespace) -> int:
    from pyparrot.publish import tags

    tag = tags.add(arguments.fqrn, arguments.name, arguments.message, arguments.revision)
    print(f"{arguments.fqrn}: {tag.name} is revision {tag.revision}")
    return 0


def _tag_list(arguments: argparse.Namespace) -> int:
    import json
    import time

    from pyparrot.publish.repository import StoredRepository

    repository = StoredRepository.open(arguments.fqrn)
    tags = repository.tags(repository.manifest)[::-1]
    if arguments.json:
        print(json.dumps([{**tag._asdict(), "catalog": str(tag.catalog)} for tag in tags]))
        return 0
    for tag in tags:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(tag.timestamp))
        line = f"{tag.revision:6}  {when}  {tag.name:20}  {printable(tag.description)}"
        print(line.rstrip())
    return 0


def _tag_remove(arguments: argparse.Namespace) -> int:
    from pyparrot.publish import tags

    tags.remove(arguments.fqrn, arguments.names)
    return 0


def configure_rollback(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish rollback``."""
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


def run_rollback(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish rollback``."""
    from pyparrot.publish import tags

    manifest, target, removed = tags.rollback(arguments.fqrn, arguments.tag)
    print(f"{arguments.fqrn}: revision {manifest.revision} is what revision {target.revision} was")
    if removed:
        print("removed tags: " + ", ".join(tag.name for tag in removed))
    return 0

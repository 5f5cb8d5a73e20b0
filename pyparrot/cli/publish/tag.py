"""``publish tag``: names for revisions."""

from __future__ import annotations

import argparse

from pyparrot.cli._repository_options import add_fqrn
from pyparrot.cli.publish._options import number
from pyparrot.errors import printable


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish tag``."""
    parser.epilog = """\
examples:
  pyparrot publish tag add sw.example.org v1 -m "first release"
  pyparrot publish tag list sw.example.org
  pyparrot publish tag remove sw.example.org v1
"""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    adding = actions.add_parser("add", help="name a revision")
    add_fqrn(adding)
    adding.add_argument("name", metavar="NAME", help="the tag's name")
    adding.add_argument("-m", "--message", metavar="TEXT", default="", help="its description")
    adding.add_argument(
        "--revision", metavar="N", type=number, help="name this revision, not the current one"
    )
    adding.set_defaults(action_run=_add)
    listing = actions.add_parser("list", help="show the tags, newest first")
    add_fqrn(listing)
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(action_run=_list)
    removing = actions.add_parser("remove", help="remove tags")
    add_fqrn(removing)
    removing.add_argument("names", metavar="NAME", nargs="+", help="the tags to remove")
    removing.set_defaults(action_run=_remove)


def _add(arguments: argparse.Namespace) -> int:
    from pyparrot.publish import tags

    tag = tags.add(arguments.fqrn, arguments.name, arguments.message, arguments.revision)
    print(f"{arguments.fqrn}: {tag.name} is revision {tag.revision}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    import json
    import time

    from pyparrot.publish.tags import newest_first

    tags = newest_first(arguments.fqrn)
    if arguments.json:
        print(json.dumps([{**tag._asdict(), "catalog": str(tag.catalog)} for tag in tags]))
        return 0
    for tag in tags:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(tag.timestamp))
        line = f"{tag.revision:6}  {when}  {tag.name:20}  {printable(tag.description)}"
        print(line.rstrip())
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from pyparrot.publish import tags

    tags.remove(arguments.fqrn, arguments.names)
    return 0

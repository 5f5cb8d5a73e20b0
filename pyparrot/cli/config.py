"""``pyparrot config``: show how access to repositories is configured."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pyparrot.cli import sentence
from pyparrot.cli._output import warn, write_json
from pyparrot.cli._repository_options import add_fqrn, add_parameters
from pyparrot.errors import printable, redacted, redacted_list

if TYPE_CHECKING:
    from pyparrot.config import Configuration

_EPILOG = """\
Values come from, the later the stronger: what is built in, the files of /etc/cvmfs, those of
~/.config/pyparrot ($XDG_CONFIG_HOME/pyparrot), CVMFS_... variables of the environment, options.
See docs/configuration.md.

examples:
  pyparrot config show sft.cern.ch
  pyparrot config show sft.cern.ch -o CVMFS_HTTP_PROXY=http://squid.example.org:3128
  pyparrot config show sft.cern.ch --json | jq -r .values.CVMFS_SERVER_URL.value
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    summary = "print each value for a repository, and where it comes from"
    show = actions.add_parser("show", help=summary, description=sentence(summary))
    show.epilog = _EPILOG
    add_fqrn(show)
    add_parameters(show)
    show.add_argument("--json", action="store_true", help="print JSON, for programs")
    show.set_defaults(run=_show)


def _show(arguments: argparse.Namespace) -> int:
    from pyparrot.config import load, parse_options

    configuration = load(arguments.fqrn, parse_options(arguments.options))
    if arguments.json:
        _print_json(configuration)
    else:
        _print_text(configuration)
    return 0


def _print_text(configuration: Configuration) -> None:
    from pyparrot.config import config_directory

    for problem in configuration.problems:
        warn(str(problem))
    for name, text in configuration.items():
        origin = printable(configuration.origin(name))
        print(f"{name}={printable(_shown(name, text))}    # from {origin}")
    keys = configuration.key_files()
    for key in keys:
        print(f"# master key: {printable(key)}")
    if not keys:
        where = os.path.join(config_directory(), "keys", f"{configuration.fqrn}.pub")
        warn(f"{configuration.fqrn}: no master key is known (put it into {where})")


def _print_json(configuration: Configuration) -> None:
    shown = {
        "fqrn": configuration.fqrn,
        "values": {
            name: {"value": _shown(name, text), "origin": configuration.origin(name)}
            for name, text in configuration.items()
        },
        "keys": configuration.key_files(),
        "problems": [
            {**problem._asdict(), "text": redacted(problem.text)}
            for problem in configuration.problems
        ],
    }
    write_json(shown)


def _shown(name: str, text: str) -> str:
    """The value of a parameter without the passwords in it."""
    is_list_of_urls = any(word in name for word in ("PROXY", "SERVER", "URL"))
    return redacted_list(text) if is_list_of_urls else redacted(text)

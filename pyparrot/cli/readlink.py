"""``pyparrot readlink``: print where symlinks lead."""

from __future__ import annotations

import argparse
import errno
import os

from pyparrot.cli import _entry_facts, _output, _repositories, _repository_options

_EPILOG = f"""\
The variables of a variant symlink, $(NAME), are replaced from the environment.

{_repository_options.OPTIONS_EPILOG}
examples:
  pyparrot readlink /cvmfs/sw.example.org/current
  X=$(pyparrot readlink -n /cvmfs/sw.example.org/current)
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    end = parser.add_mutually_exclusive_group()
    end.add_argument("-n", "--no-newline", action="store_true", help="no newline after the last")
    end.add_argument("-z", "--zero", action="store_true", help="NUL after each, not a newline")
    parser.add_argument("--json", action="store_true", help="as JSON")
    _repository_options.add_paths(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    found: list[tuple[bytes, bytes]] = []
    with _repositories.Repositories(arguments) as repositories:
        for shown, repository, path in repositories.path_arguments():
            try:
                found.append((shown, os.fsencode(repository.readlink(path))))
            except OSError as error:
                if error.errno == errno.EINVAL:
                    error = OSError(errno.EINVAL, "not a symlink")
                repositories.complain(shown, error)
        if arguments.json:
            _output.write_json([_described(*link) for link in found])
        else:
            separator = b"\0" if arguments.zero else b"\n"
            end = b"" if arguments.no_newline or not found else separator
            _output.write(separator.join(target for _, target in found) + end)
        return repositories.status


def _described(shown: bytes, target: bytes) -> dict[str, str]:
    return {**_entry_facts.named(shown), "target": os.fsdecode(target)}

"""``pyparrot run``: run a command that sees repositories."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyparrot.errors import PyparrotError

if TYPE_CHECKING:
    from pyparrot.run.options import MountOption

EPILOG = """\
examples:
  pyparrot run -- ls /cvmfs/sft.cern.ch
  pyparrot run -- bash -c 'source /cvmfs/sft.cern.ch/setup.sh && root -b'
  pyparrot run --mount /cvmfs/sw.example.org=cvmfs+http://127.0.0.1:8000/cvmfs/sw.example.org \\
      --key sw.example.org.pub -- /cvmfs/sw.example.org/bin/hello
  pyparrot run -M /opt/tools=./tools -- /opt/tools/bin/check

Every /cvmfs/FQRN that is configured (pyparrot config show FQRN) is mounted when it is first
touched. Exit status: the command's own; 127 if it is not there, 126 if it can't be run, 125 if
pyparrot itself has failed. This is no sandbox: a program that wants to get round it can.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Fill in the parser of the command."""
    from pyparrot.cli import _repository_options
    from pyparrot.run import engines

    parser.epilog = EPILOG
    add = parser.add_argument
    add("-M", "--mount", metavar="/PATH=SOURCE", action="append", default=[],
        help="show SOURCE at /PATH: an FQRN, cvmfs+http://SERVER/cvmfs/FQRN, or a local"
        " directory (read-only); can be given many times")  # fmt: skip
    add("-m", "--mount-file", metavar="FILE", action="append", default=[],
        help="a file of such mounts: /PATH SOURCE on each line")  # fmt: skip
    _repository_options.add_options(parser)
    add("--quota", metavar="MB", type=int, help="the cache's size; 0: no limit")
    add("--env", metavar="NAME=VALUE", action="append", default=[],
        help="set a variable for the command; can be given many times")  # fmt: skip
    add("--engine", choices=engines.names(), default=engines.AUTOMATIC,
        help="how system calls are caught (auto: whatever works here)")  # fmt: skip
    add("--shim", choices=("auto", "off"), default="auto",
        help="answer calls inside of programs, by their C library (auto: if possible)")  # fmt: skip
    add("--follow", action="store_true", help="go on to new revisions while the command runs")
    add(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="say what is mounted; twice: all that is made ready",
    )
    add("--log", metavar="FILE", help="write messages to FILE instead of standard error")
    add("--stats", action="store_true", help="at the end, say what was done and fetched")
    add("--touched", metavar="FILE",
        help="at the end, write what was used to FILE: a path on each line, in the order of its"
        " first use (of what lies in the repositories; only with the shim)")  # fmt: skip
    add("words", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from pyparrot.cache.directory import quota_bytes
    from pyparrot.cli import _repository_options
    from pyparrot.run.options import Options
    from pyparrot.run.session import run as run_session

    command = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if not command:
        raise PyparrotError("run", "no command", "pyparrot run -- COMMAND [ARGUMENT...]")
    mounts = [line for file in arguments.mount_file for line in _read_mounts(file)]
    mounts += [_mount(word, *word.partition("=")[::2]) for word in arguments.mount]
    options = Options(
        mounts=tuple(mounts),
        parameters=_repository_options.given_parameters(arguments),
        wanted=_repository_options.wanted_revision(arguments),
        cache=arguments.cache,
        quota=None if arguments.quota is None else quota_bytes(arguments.quota),
        environment=_variables(arguments.env),
        verbosity=arguments.verbose,
        log=arguments.log,
        stats=arguments.stats,
        follow=arguments.follow,
        shim=arguments.shim != "off",
        touched=arguments.touched and os.path.abspath(arguments.touched),
        engine=arguments.engine,
    )
    return run_session(command, options)


def _mount(shown: str, path: str, source: str) -> MountOption:
    from pyparrot.run.options import MountOption

    if not path.startswith("/") or not source:
        raise PyparrotError(shown, "not /PATH=SOURCE", "such as /cvmfs/x.example.org=x.example.org")
    return MountOption(path, source)


def _read_mounts(file: str) -> Iterator[MountOption]:
    with open(file, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            words = line.split()
            if words and not words[0].startswith("#"):
                if len(words) != 2:
                    raise PyparrotError(f"{file}:{number}", "not a mount", "/PATH SOURCE")
                yield _mount(f"{file}:{number}", *words)


def _variables(words: list[str]) -> dict[str, str]:
    variables = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise PyparrotError("--env", f"not NAME=VALUE: {word}")
        variables[name] = value
    return variables

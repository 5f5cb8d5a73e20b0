"""The command line: parse, call, print. One module a command; no logic lives here.

Only the module of the command that is run gets imported, because every job pays for start-up.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from pyparrot import __version__
from pyparrot.errors import EXIT_FAILURE, PyparrotError, understood

COMMANDS = {
    "run": "run a command that sees repositories",
    "ls": "list directories of a repository",
    "cat": "write the content of files to standard output",
    "stat": "show all that is known of a name",
    "find": "search a repository for names",
    "readlink": "print where symlinks lead",
    "repo": "show and check a repository, from its servers",
    "cache": "fetch, pin, list, verify and clear what is in the local cache",
    "publish": "make a repository and keep it up to date",
    "serve": "serve a directory of repositories over HTTP, for development",
    "config": "show how access to repositories is configured",
    "completion": "print a completion script for your shell",
}
"""Every command and its one-line help; ``pyparrot.cli.NAME`` has its `configure`."""

SIGINT_STATUS = 130
SIGPIPE_STATUS = 141

_EPILOG = """\
examples:
  pyparrot ls -l /cvmfs/sw.example.org/releases
  pyparrot cache fetch /cvmfs/sw.example.org/releases/2.0
  pyparrot publish init sw.example.org --storage /srv/cvmfs
  pyparrot publish sync sw.example.org ./software
  pyparrot serve /srv/cvmfs

Each command has its own help: pyparrot COMMAND --help.
Exit status: 0 for success, 125 when pyparrot itself failed.
"""


class _OptionFormatter(argparse.RawDescriptionHelpFormatter):
    """What argparse checks each option with.

    It does not ask for the width of the terminal: that takes `shutil`, which loads slowly.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line and whose examples keep their line ends."""

    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", _OptionFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)  # type: ignore[arg-type]

    def format_help(self) -> str:
        """The help text, as wide as the terminal."""
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        return super().format_help()

    def format_usage(self) -> str:
        """The line that says how the command is used, as wide as the terminal."""
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        return super().format_usage()

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and exit."""
        what = self.prog.partition(" ")[2] or "command line"
        raise PyparrotError(what, message, f"{self.prog} --help")


def new_parser(configured: Sequence[str]) -> Parser:
    """The parser of the whole command line, with the commands in *configured* filled in."""
    parser = Parser(
        prog="pyparrot",
        description="Use CernVM-FS software repositories without root, FUSE or kernel modules.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"pyparrot {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=sentence(summary))
        if name in configured:
            importlib.import_module(f"pyparrot.cli.{name}").configure(command)
    return parser


def sentence(summary: str) -> str:
    """A one-line help as a sentence of its own."""
    return summary[0].upper() + summary[1:] + "."


def _parse(words: Sequence[str]) -> argparse.Namespace:
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise PyparrotError(words[0], "no such command", "pyparrot --help lists them all")
    parsed, rest = new_parser(words[:1]).parse_known_args(words)
    if hasattr(parsed, "paths") and not any(word.startswith("-") for word in rest):
        parsed.paths += rest  # argparse takes no more of them once an option has come between
        rest = []
    if rest:
        name = " ".join(filter(None, (parsed.command, getattr(parsed, "action", None))))
        what, command = name or "command line", f"pyparrot {name}".rstrip()
        raise PyparrotError(what, f"not understood: {' '.join(rest)}", f"{command} --help")
    return parsed


def _run(words: Sequence[str]) -> int:
    try:
        parsed = _parse(words)
    except SystemExit as ended:  # argparse has printed a help text, or the version
        return int(ended.code or 0)
    if parsed.command is None:
        new_parser(()).print_help()
        return EXIT_FAILURE
    status: int = parsed.run(parsed)
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _occupy_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal can't show is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    if arguments is None and any("://" in word and "@" in word for word in words):
        from pyparrot.cli._command_line import hide_passwords

        hide_passwords()
    try:
        status = _run(words)
        if sys.stdout is not None:  # None: it was closed before we started
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        _forget_output()
        return SIGPIPE_STATUS
    except KeyboardInterrupt:
        return SIGINT_STATUS
    except Exception as error:
        failure = understood(error)
        if failure is None:
            raise
        if isinstance(error, OSError):
            _forget_output()
        print(f"pyparrot: {failure}", file=sys.stderr)
        return failure.status


def _occupy_standard_streams() -> None:
    """Let no file that is opened from here on get the number of a standard stream that is closed.

    For the next program they are closed again.
    """
    descriptor = 0
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    if sys.stderr is None:  # print() would take standard output instead
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for all time


def _forget_output() -> None:
    """Drop what standard output could not take, so that Python does not try again at its end."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)

"""``pyparrot completion``: scripts for the shells' own completion."""

from __future__ import annotations

import argparse

_SHELLS = ("bash", "zsh", "tcsh")

_EPILOG = """\
examples:
  eval "$(pyparrot completion bash)"                                   now, in this shell
  pyparrot completion bash > ~/.local/share/bash-completion/completions/pyparrot
  pyparrot completion zsh > ~/.zfunc/_pyparrot                         with ~/.zfunc in fpath
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=_SHELLS, help="the shell that is to complete")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import shtab

    from pyparrot.cli import COMMANDS, new_parser

    print(shtab.complete(new_parser(tuple(COMMANDS)), shell=arguments.shell))
    return 0

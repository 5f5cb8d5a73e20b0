"""``pyparrot publish``: make repositories and keep them up to date."""

from __future__ import annotations

import argparse
import importlib
import signal
import threading
from typing import NoReturn

from pyparrot.cli import sentence

_EPILOG = """\
examples:
  pyparrot publish init sw.example.org --storage /srv/cvmfs
  pyparrot publish sync sw.example.org ./software --tag v1
  pyparrot publish ingest sw.example.org release.tar.gz --into /releases/2.0
  pyparrot publish check sw.example.org

files (below $XDG_CONFIG_HOME/pyparrot, by default ~/.config/pyparrot):
  repositories.d/FQRN/server.conf   how the repository is published
  keys/FQRN.masterkey               signs the whitelist; keep it safe, off the server if you can
  keys/FQRN.pub                     its public half: what clients need
  keys/FQRN.key, keys/FQRN.crt      sign every revision
"""

_ACTIONS = {
    "init": "make a new repository",
    "sync": "make the repository equal to a directory",
    "ingest": "add the content of a tar file",
    "tag": "name revisions",
    "rollback": "go back to an earlier revision",
    "resign": "sign the whitelist anew",
    "check": "verify all catalogs, objects and counters",
    "gc": "remove what no revision needs any more",
    "info": "show the repository's state",
}
"""Every action and its one-line help.

``pyparrot.cli.publish.NAME`` has its `configure`, which sets the default *action_run*.
"""

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, summary in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        importlib.import_module(f"pyparrot.cli.publish.{name}").configure(action)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Run the action. Signals that ask to end it do so as Ctrl-C does: nothing is left behind."""

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    # One that is ignored (nohup) stays so; and only the main thread can have handlers.
    numbers = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    for number in numbers:
        signal.signal(number, end)
    try:
        status: int = arguments.action_run(arguments)
        return status
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)

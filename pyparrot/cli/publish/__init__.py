"""``pyparrot publish``: make repositories and keep them up to date."""

from __future__ import annotations

import argparse
import signal
import threading
from typing import Callable, NoReturn

from pyparrot.cli import sentence
from pyparrot.cli.publish import check, init, sync, tag

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

_Configure = Callable[[argparse.ArgumentParser], None]
_Run = Callable[[argparse.Namespace], int]

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, summary, fill, run in _ACTIONS:
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        if name != "tag":
            action.add_argument("fqrn", metavar="FQRN", help="the repository's full name")
        fill(action)
        action.set_defaults(run=_tidily(run))


def _tidily(run: _Run) -> _Run:
    """Have signals that ask to end it end an action as Ctrl-C does: nothing is left lying about."""

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    def run_tidily(arguments: argparse.Namespace) -> int:
        # One that is ignored (nohup) stays so; and only the main thread can have handlers.
        numbers = [n for n in _ENDING if signal.getsignal(n) is signal.SIG_DFL]
        if threading.current_thread() is not threading.main_thread():
            numbers = []
        for number in numbers:
            signal.signal(number, end)
        try:
            return run(arguments)
        finally:
            for number in numbers:
                signal.signal(number, signal.SIG_DFL)

    return run_tidily


_ACTIONS: tuple[tuple[str, str, _Configure, _Run], ...] = (
    ("init", "make a new repository", init.configure_init, init.run_init),
    (
        "sync",
        "make the repository equal to a directory",
        sync.configure_sync,
        sync.run_sync,
    ),
    ("ingest", "add the content of a tar file", sync.configure_ingest, sync.run_ingest),
    ("tag", "name revisions", tag.configure_tag, tag.run_tag),
    ("rollback", "go back to an earlier revision", tag.configure_rollback, tag.run_rollback),
    ("resign", "sign the whitelist anew", check.configure_resign, check.run_resign),
    (
        "check",
        "verify all catalogs, objects and counters",
        check.configure_check,
        check.run_check,
    ),
    ("gc", "remove what no revision needs any more", check.configure_gc, check.run_gc),
    ("info", "show the repository's state", check.configure_info, check.run_info),
)

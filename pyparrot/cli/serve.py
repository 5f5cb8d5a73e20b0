"""``pyparrot serve``: serve a directory of repositories over HTTP, for development."""

from __future__ import annotations

import argparse

_EPILOG = """\
DIR holds repositories, each in a directory of its name, or is itself the root of one. All that
lies in DIR and can be read becomes public: keep no private keys there. The repositories' URLs are
printed once they can be asked for. Ctrl-C or SIGTERM ends the server.

examples:
  pyparrot serve /srv/cvmfs                                http://127.0.0.1:8000/cvmfs/NAME
  pyparrot serve /srv/cvmfs/sw.example.org --port 0        one repository, at any free port
  pyparrot serve /srv/cvmfs --bind 0.0.0.0 --quiet         for the whole network, silently

For production see docs/hosting.md.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("directory", metavar="DIR", help="the directory with the repositories")
    parser.add_argument(
        "--bind", metavar="ADDRESS", default="127.0.0.1", help="listen here (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="listen here, 0 for any free (default: %(default)s)"
    )
    parser.add_argument(
        "--prefix",
        default="/cvmfs",
        help="what a URL has before the name, / for nothing (default: %(default)s)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="do not log requests to stderr")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import signal

    from pyparrot import serve
    from pyparrot.cli import SIGINT_STATUS

    log = {} if arguments.quiet else {"log": serve.log_to_stderr}
    server = serve.Server(
        arguments.directory, arguments.bind, arguments.port, arguments.prefix, **log
    )
    return 0 if serve.run(server) == signal.SIGTERM else SIGINT_STATUS

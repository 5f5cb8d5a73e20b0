"""``pyparrot cat``: write the content of files to standard output."""

from __future__ import annotations

import argparse
import functools
import shutil

from pyparrot.cli import _output, _repositories, _repository_options

_EPILOG = f"""\
{_repository_options.OPTIONS_EPILOG}
examples:
  pyparrot cat /cvmfs/sw.example.org/README
  pyparrot cat --tag v1 /cvmfs/sw.example.org/README
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    _repository_options.add_paths(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    with _repositories.Repositories(arguments) as repositories:
        for shown, repository, path in repositories.path_arguments():
            file = repositories.attempt(shown, functools.partial(repository.open, path))
            if file is not None:
                # Beyond this point a failure is one of standard output, not of the path.
                with file:
                    shutil.copyfileobj(file, _output.output(), 1 << 18)
        return repositories.status

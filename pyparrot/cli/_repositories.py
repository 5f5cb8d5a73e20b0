"""Repositories that a command reads: opening them, and paths that can't be read."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pyparrot.cli._output import warn
from pyparrot.cli._repository_options import given_parameters, wanted_revision
from pyparrot.errors import PyparrotError, from_os_error, printable

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository

EXIT_SOME_FAILED = 1
"""Exit status when some of the paths could not be read; the others were."""

_PATH = re.compile(rb"/+cvmfs/+([^/]+)(/.*)?", re.DOTALL)
_Result = TypeVar("_Result")


def split(path: bytes) -> tuple[str, bytes]:
    """The repository's name and the path within it, of a path that begins with /cvmfs."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise PyparrotError(path, "not a path in a repository", "/cvmfs/FQRN/...")
    return os.fsdecode(match[1]), match[2] or b"/"


def open_one(
    arguments: argparse.Namespace, fqrn: str, cache: str | None = None
) -> RemoteRepository:
    """Open a repository as the options want it; *cache* is used instead of ``--cache``."""
    from pyparrot.repository import open_repository

    try:
        repository = open_repository(
            fqrn,
            cache=cache or arguments.cache,
            wanted=wanted_revision(arguments),
            refresh=arguments.refresh,
            options=given_parameters(arguments),
        )
    except OSError as error:
        if error.filename is not None:
            raise
        raise describe(os.fsencode(fqrn), error) from None  # some object can't be had
    for warning in repository.warnings:
        warn(warning)
    return repository


class PathArgument(NamedTuple):
    """A path of the command line: as it was given, in which repository, and where in it."""

    shown: bytes
    repository: RemoteRepository
    path: bytes


class Repositories:
    """The repositories that a command reads, each opened once.

    *status* is the command's exit status: `EXIT_SOME_FAILED` once a path has failed.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.status = 0
        self._arguments = arguments
        self._opened: dict[str, RemoteRepository] = {}

    def __enter__(self) -> Repositories:
        return self

    def __exit__(self, *exception: object) -> None:
        for repository in self._opened.values():
            repository.close()

    def path_argument(self, path: str) -> PathArgument:
        """What a path of the command line stands for; `PyparrotError` if it can't be opened."""
        shown = os.fsencode(path)
        fqrn, inside = split(shown)
        if fqrn not in self._opened:
            self._opened[fqrn] = open_one(self._arguments, fqrn)
        return PathArgument(shown, self._opened[fqrn], inside)

    def path_arguments(self) -> list[PathArgument]:
        """All paths of the command line."""
        return [self.path_argument(path) for path in self._arguments.paths]

    def attempt(self, shown: bytes, function: Callable[[], _Result]) -> _Result | None:
        """The result of *function*, which must not print; None if the path failed."""
        try:
            return function()
        except OSError as error:
            self.complain(shown, error)
            return None

    def complain(self, shown: bytes, error: OSError) -> None:
        """Say in one line that a path failed, and why."""
        self.status = EXIT_SOME_FAILED
        print(f"pyparrot: {describe(shown, error)}", file=sys.stderr)


def describe(shown: bytes, error: OSError) -> PyparrotError:
    """What happened to a path."""
    from pyparrot.tree.base import OutsideError

    failure = from_os_error(error)
    why = failure.why
    if isinstance(error, OutsideError):
        why += f", to {printable(error.target)}"
    return PyparrotError(shown, why, failure.hint)

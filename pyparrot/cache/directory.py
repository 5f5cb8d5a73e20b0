"""The cache's directory: where it is, how large it may become, whether it can be used."""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from pyparrot.cache.owned import (
    CLEARING,
    claim_directory,
    make_directory,
    read,
    remove,
    why_not,
)
from pyparrot.errors import PyparrotError

VERSION = "1"

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors that go away when there is more room on the disk."""

UNWRITABLE = (errno.EROFS, errno.EACCES)
"""The errors of a cache that can't be written to, though it may be read."""

CHOOSE = "choose one with --cache"

_DEFAULT_MEGABYTES = 4000
_LONGEST_VERSION = 64
_MEGABYTE = 20
_DIRECTORIES = ("objects", "manifests", "origins", "ledger", "pins", "txn")
_ENTRIES = {*_DIRECTORIES, "views", "lock", "version"}


class _Parameters(Protocol):
    """The part of a configuration that is used here."""

    def number(self, name: str, default: int) -> int:
        """The value of a parameter that is a whole number."""


def quota_bytes(megabytes: int | None = None) -> int:
    """A cache's size in bytes, from one in MB; 0 is no limit.

    As in CernVM-FS, a size that is not positive is no limit; None is the size by default.
    """
    return max(0, _DEFAULT_MEGABYTES if megabytes is None else megabytes) << _MEGABYTE


def configured_quota(parameters: _Parameters) -> int:
    """The cache's size in bytes that CVMFS_QUOTA_LIMIT asks for; 0 is no limit."""
    return quota_bytes(parameters.number("CVMFS_QUOTA_LIMIT", _DEFAULT_MEGABYTES))


DEFAULT_QUOTA = quota_bytes()
"""Bytes, as CVMFS_QUOTA_LIMIT is by default."""


def choose_directory(given: str | None, configured: str | None) -> str:
    """Where the cache is: as it is *given* on the command line, *configured* (CVMFS_CACHE_DIR), or
    in the user's directory of caches."""
    return given or configured or default_directory()


def default_directory() -> str:
    """Where the cache is unless it is configured otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "pyparrot")


def prepare(directory: str) -> bool:
    """Make what is missing of a cache's directory, and check the rest; gives whether it is new.

    A new one has no version yet. What lies in the place of one of its directories and is none is
    removed. `PyparrotError` if it is another user's, others may write to it or to one of its
    directories, it is not a cache or one of another version; `OSError` if the disk is full.
    """
    _make(directory)
    try:
        status = os.stat(directory)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        problem = why_not(status)
        if problem:
            hint = CHOOSE if status.st_uid != os.geteuid() else CLEARING
            raise PyparrotError(directory, f"no cache can be here: {problem}", hint)
        version = _version(directory)
        for name in (*_DIRECTORIES, "views"):
            claim_directory(os.path.join(directory, name))
    except OSError as error:
        if error.errno in FULL:
            raise
        raise _unusable(error.filename or directory, str(error.strerror)) from None
    return not version


def empty_if_exposed(directory: str) -> bool:
    """Remove all that is in a cache which others may write to, or have put something into.

    Gives whether that was so. `PyparrotError` if it is no cache of ours; `OSError` if something
    can't be removed.
    """
    if not os.path.isdir(directory):
        return False
    status = os.stat(directory)
    if status.st_uid != os.geteuid():
        raise _unusable(directory, why_not(status))
    names = os.listdir(directory)
    paths = [os.path.join(directory, name) for name in names]
    if not why_not(status) and not any(why_not(os.lstat(path)) for path in paths):
        return False
    if not _ENTRIES.issuperset(names):
        raise PyparrotError(directory, "not a cache, and not empty", CHOOSE)
    os.chmod(directory, 0o700)  # before anything is looked at: nothing can come back
    for name in os.listdir(directory):
        remove(os.path.join(directory, name))
    return True


def _make(directory: str) -> None:
    try:
        make_directory(directory, parents=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise _unusable(directory, str(error.strerror)) from None


def _version(directory: str) -> str:
    """The version that is written down; empty if there is none, or what there is is damaged."""
    content = read(os.path.join(directory, "version"), _LONGEST_VERSION) or b""
    version = content.decode("ascii", "replace").strip()
    if version == VERSION:
        return version
    if version.isdigit() and version.isascii():
        raise PyparrotError(directory, f"a cache of another version ({version})", CHOOSE)
    # A cache that is just being made, or whose maker was killed, has no version yet.
    if not _ENTRIES.issuperset(os.listdir(directory)):
        raise PyparrotError(directory, "not a cache, and not empty", CHOOSE)
    return ""


def _unusable(directory: str, why: str) -> PyparrotError:
    return PyparrotError(directory, f"no cache can be here: {why}", CHOOSE)

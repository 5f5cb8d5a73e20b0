"""The cache's directory: where it is, how large it may become, whether it can be used."""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from pyparrot.errors import PyparrotError

VERSION = "1"

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors that go away when there is more room on the disk."""

_DEFAULT_MEGABYTES = 4000
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
    """Where the cache is unless it is configured otherwise.

    `PyparrotError` if there is no such place: a user whom the machine does not know has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # which does not count, as the specification of XDG says
        home = os.environ.get("HOME", "")
        if not os.path.isabs(home):
            home = _home_of_user()
        if not os.path.isabs(home):
            raise PyparrotError("cache", "there is no home directory", "choose a place: --cache")
        base = os.path.join(home, ".cache")
    return os.path.join(base, "pyparrot")


def _home_of_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def prepare(directory: str) -> bool:
    """Make what is missing of a cache's directory, and check the rest; gives whether it is new.

    A new one has no version yet. `PyparrotError` if it is another user's, others may write to it,
    it is not a cache or one of another version; `OSError` if the disk is full.
    """
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        why = f"no cache can be here: {error.strerror}"
        raise _unusable(directory, why) from None
    status = os.stat(directory)
    if status.st_uid != os.geteuid():
        raise _unusable(directory, "this cache belongs to another user")
    if stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise PyparrotError(directory, "others may write to this cache", f"chmod go-w {directory}")
    version = _version(directory)
    if version not in ("", VERSION):
        raise _unusable(directory, f"a cache of another version ({version})")
    for name in _DIRECTORIES:
        os.makedirs(os.path.join(directory, name), mode=0o700, exist_ok=True)
    return not version


def _version(directory: str) -> str:
    """The version that is written down; empty if there is none yet."""
    try:
        with open(os.path.join(directory, "version"), encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        # A cache that is just being made, or whose maker was killed, has no version yet.
        if not _ENTRIES.issuperset(os.listdir(directory)):
            raise _unusable(directory, "not a cache, and not empty") from None
        return ""


def _unusable(directory: str, why: str) -> PyparrotError:
    return PyparrotError(directory, why, "choose one with --cache")

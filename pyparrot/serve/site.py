"""Which URL path names which file of a directory of repositories, and what HTTP says of it."""

from __future__ import annotations

import contextlib
import email.utils
import errno
import io
import os
import re
import stat
import urllib.parse
from collections.abc import Sequence
from email.message import Message
from typing import NamedTuple

from pyparrot.errors import PyparrotError, from_os_error
from pyparrot.sources.cvmfs import manifest
from pyparrot.sources.cvmfs.signed_text import SignedText

OBJECT_LIFETIME = 3 * 24 * 60 * 60
"""Seconds that a cache may keep an object: its name is its hash, so it never changes."""

ROOT_FILE_LIFETIME = 61
"""Seconds that a cache may keep anything else; squid keeps nothing that lives for 60 or less."""

_MANIFEST = manifest.FILE_NAME.encode()
_MANIFEST_READ_LIMIT = 128 * 1024
_TRANSACTIONS = [b"data", b"txn"]
_AUTHORITY = re.compile(r"\Ahttp://[^/?]*", re.IGNORECASE)
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})", re.IGNORECASE)


class Document(NamedTuple):
    """A file that is open for sending, and what HTTP says about it."""

    file: io.FileIO
    size: int
    mtime_ns: int
    lifetime: int

    @property
    def etag(self) -> str:
        """The strong validator; equal on all hosts that keep the file's time."""
        return f'"{self.size:x}-{self.mtime_ns:x}"'

    @property
    def modified(self) -> str:
        """The time of the last change, as HTTP writes it."""
        return email.utils.formatdate(self.mtime_ns // 10**9, usegmt=True)


class Site:
    """A directory of repositories, or a single one, below a URL prefix.

    `PyparrotError` if the directory can't be read, or is a repository whose manifest is none.
    """

    def __init__(self, directory: str | bytes | os.PathLike[str], prefix: str) -> None:
        self._base = os.path.join(os.path.realpath(os.fsencode(directory)), b"")
        self._prefix = [name for name in os.fsencode(prefix).split(b"/") if name]
        self._only: bytes | None = None
        try:
            os.listdir(directory)
            with contextlib.suppress(FileNotFoundError), self.open([_MANIFEST]).file as file:
                self._only = _name_in(file.read(_MANIFEST_READ_LIMIT))
        except OSError as error:
            raise from_os_error(error) from None
        except ValueError as error:
            raise PyparrotError(self._base + _MANIFEST, f"not a manifest: {error}") from None

    def url_path(self, *names: bytes) -> str:
        """The URL path of *names* below the prefix."""
        return "".join("/" + urllib.parse.quote(name) for name in (*self._prefix, *names))

    def repositories(self) -> list[bytes]:
        """The names of the repositories that are there now, sorted."""
        names = os.listdir(self._base) if self._only is None else [self._only]
        return [name for name in sorted(names) if self._has([name, _MANIFEST])]

    def listing(self) -> str:
        """The repositories' URL paths, a line each."""
        return "".join(self.url_path(name) + "\n" for name in self.repositories())

    def _has(self, names: Sequence[bytes]) -> bool:
        with contextlib.suppress(OSError), self.open(names).file:
            return True
        return False

    def names(self, target: str) -> list[bytes]:
        """The names below the prefix in a request's *target*; `FileNotFoundError` if it is odd."""
        path, _, _ = _AUTHORITY.sub("", target).partition("?")
        decoded = urllib.parse.unquote_to_bytes(path.encode("latin-1"))
        names = [name for name in decoded.split(b"/") if name]
        prefix, below = names[: len(self._prefix)], names[len(self._prefix) :]
        if b"\0" in decoded or b"." in names or b".." in names or prefix != self._prefix:
            raise _not_found()
        if below and decoded.endswith(b"/"):
            below.append(b"")  # open() then says itself that a file is no directory
        return below

    def open(self, names: Sequence[bytes]) -> Document:
        """Open the file that *names* lead to; `OSError` if there is none that is public."""
        repository, *inner = names
        if self._only not in (None, repository):
            raise _not_found()
        path = self._base + b"/".join(names if self._only is None else inner)
        file = io.FileIO(path, opener=_open_at_once)
        try:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not self._is_public(file, inner):
                raise _not_found()
        except OSError:
            file.close()
            raise
        lifetime = OBJECT_LIFETIME if inner[:1] == [b"data"] else ROOT_FILE_LIFETIME
        return Document(file, status.st_size, status.st_mtime_ns, lifetime)

    def _is_public(self, file: io.FileIO, inner: Sequence[bytes]) -> bool:
        # Asked of the open file and not of its path: no symbolic link can change in between.
        real = os.readlink(b"/proc/self/fd/%d" % file.fileno())
        if not real.startswith(self._base):
            return False
        real_names = real[len(self._base) :].split(b"/")
        real_inner = real_names[1:] if self._only is None else real_names
        return _TRANSACTIONS not in (inner[:2], real_inner[:2])


def _name_in(raw_manifest: bytes) -> bytes:
    return manifest.Manifest.parse(SignedText.parse(raw_manifest).text).fqrn.encode()


def _not_found() -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _open_at_once(path: str | bytes, flags: int) -> int:
    """Open without waiting for a fifo's writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


def byte_range(header: str, size: int) -> range | None:
    """The bytes of a file of *size* that a Range header asks for; empty if it has none of them.

    `None` is the whole file: several ranges are not supported, and nonsense is to be ignored.
    """
    match = _RANGE.fullmatch(header.strip())
    first, last = match.groups() if match else ("", "")
    if first and last and int(last) < int(first):
        return None
    if first:
        return range(int(first), min(int(last) + 1, size) if last else size)
    if not last or (size == 0 and int(last) > 0):  # the whole of an empty file can't be a 206
        return None
    return range(max(size - int(last), 0), size)


def unchanged(headers: Message, document: Document) -> bool:
    """Whether the client has *document* already, by the conditions in its *headers*."""
    tags = headers.get("If-None-Match")
    if tags is None:
        # Equal and not "not later", as in nginx: a file can be replaced by an older one.
        return headers.get("If-Modified-Since") == document.modified
    return tags.strip() == "*" or document.etag in re.findall(r'"[^"]*"', tags)

"""A repository's files on local disk: objects, and the few mutable files at its root.

Nothing that has a name is ever incomplete: content is written under a temporary name in
``data/txn`` and renamed. One writer at a time holds the lock; what a writer that died left behind
is cleared away by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator
from typing import Callable

from pyparrot.errors import PyparrotError, naming
from pyparrot.sources.cvmfs.compression import Compression, inflate
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind

CATALOG_LIMIT = 4 << 30
"""The largest catalog, history or metainfo that is unpacked, in bytes."""


class Storage:
    """The directory of one repository, as web servers show it."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.data = os.path.join(root, "data")
        self.temporary = os.path.join(self.data, "txn")
        self._serial = itertools.count()
        self.locked = False
        """Whether this process is the only writer now."""

    def create(self) -> None:
        """Make the directories."""
        os.makedirs(self.temporary, exist_ok=True)
        for first in range(256):
            os.makedirs(os.path.join(self.data, f"{first:02x}"), exist_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer, or raise; the lock ends with its process, however that ends."""
        file = os.path.join(self.temporary, "lock")
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            raise PyparrotError(
                self.root, "no repository there", "was the storage moved or deleted?"
            ) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
                raise PyparrotError(
                    self.root,
                    f"another publication is under way (process {holder or 'unknown'})",
                    "wait until it has ended",
                ) from None
            with naming(file):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            self._clear_temporary()
            self.locked = True
            try:
                yield
            finally:
                self.locked = False
                with contextlib.suppress(OSError):  # the next one clears, too
                    self._clear_temporary()
        finally:
            os.close(descriptor)

    def _clear_temporary(self) -> None:
        with os.scandir(self.temporary) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                elif entry.name != "lock":
                    os.unlink(entry.path)

    def temporary_file(self) -> str:
        """A name for a new file, on the same file system as the objects; for the writer only."""
        return os.path.join(self.temporary, f"{os.getpid()}.{next(self._serial)}")

    # Objects

    def path(self, name: ContentHash, kind: Kind) -> str:
        """Where an object lies or would lie."""
        return os.path.join(self.root, name.path(kind))

    def has(self, name: ContentHash, kind: Kind, size: int) -> bool:
        """Whether the object is there in its full size."""
        try:
            return os.stat(self.path(name, kind)).st_size == size
        except FileNotFoundError:
            return False

    def put(self, name: ContentHash, kind: Kind, packed: bytes) -> int:
        """Store an object; gives the bytes that were new on disk."""
        # A machine that lost power may have left the object's name without all of its content.
        if self.has(name, kind, len(packed)):
            return 0
        self._write(self.path(name, kind), packed)
        return len(packed)

    def adopt(self, file: str, name: ContentHash, kind: Kind) -> int:
        """Store an object from a temporary file, which is gone afterwards."""
        size = os.stat(file).st_size
        if self.has(name, kind, size):
            os.unlink(file)
            return 0
        os.rename(file, self.path(name, kind))
        return size

    def read(self, name: ContentHash, kind: Kind) -> bytes:
        """The unpacked content of a catalog, history, certificate or metainfo object.

        `PyparrotError` if it is missing or not what its name says.
        """
        return self.read_body(name, kind, Compression.ZLIB)

    def read_body(self, name: ContentHash, kind: Kind, compression: Compression) -> bytes:
        """The content of an object that is stored with *compression*; raises as `read` does."""
        path = self.path(name, kind)
        try:
            with open(path, "rb") as file:
                packed = file.read()
        except FileNotFoundError:
            raise PyparrotError(path, "the repository lacks this object") from None
        if name.algorithm.of(packed) != name:
            raise PyparrotError(path, "corrupt: its content does not have the hash in its name")
        try:
            return inflate(packed, CATALOG_LIMIT) if compression is Compression.ZLIB else packed
        except ValueError as error:
            raise PyparrotError(path, f"corrupt: {error}") from None

    def objects(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Every object, as its name (``abcd…[-algorithm][kind]``) and directory entry."""
        for first in range(256):
            prefix = f"{first:02x}"
            with (
                contextlib.suppress(FileNotFoundError),
                os.scandir(os.path.join(self.data, prefix)) as entries,
            ):
                for entry in entries:
                    yield prefix + entry.name, entry

    # Files at the root

    def read_file(self, name: str) -> bytes:
        """A file at the repository's root; `FileNotFoundError` if there is none."""
        with open(os.path.join(self.root, name), "rb") as file:
            return file.read()

    def replace_file(self, name: str, content: bytes) -> None:
        """Replace a file at the root, durably and at once."""
        self._write(os.path.join(self.root, name), content, _sync_file)
        directory = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def sync(self) -> None:
        """Wait until everything written so far would survive a loss of power."""
        from pyparrot.core import ffi, lib

        directory = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if lib.syncfs(directory) != 0:
                raise OSError(ffi.errno, os.strerror(ffi.errno), self.root)
        finally:
            os.close(directory)

    def _write(
        self, path: str, content: bytes, finish: Callable[[int], None] = lambda descriptor: None
    ) -> None:
        temporary = self.temporary_file()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o644)
        try:
            with naming(path):
                try:
                    _write_all(descriptor, content)
                    finish(descriptor)
                finally:
                    os.close(descriptor)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def _write_all(descriptor: int, content: bytes) -> None:
    written = os.write(descriptor, content)
    while written < len(content):  # a write may end early, at 2 GiB or when the disk fills
        written += os.write(descriptor, memoryview(content)[written:])


def _sync_file(descriptor: int) -> None:
    os.fsync(descriptor)

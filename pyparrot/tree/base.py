"""What a repository is to everybody else: a read-only tree whose content can be had as files.

A format (CernVM-FS, later others) gives two things: catalogs as index files when the walk needs
them, and bodies as local files. Everything that users know from `os` is made of these here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple, TypeVar, Union

from pyparrot.sources.cvmfs import xattrs
from pyparrot.tree.index import BadCatalogError, Index, Node
from pyparrot.tree.snapshot import Found, Missing, NeedCatalog, Outside, Snapshot

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

_Self = TypeVar("_Self", bound="Repository")

BLOCK_SIZE = 512
_MOST_FETCHES = 20


class OutsideError(OSError):
    """A path that a symlink or ``..`` leads out of the repository; *target* is where it leads."""

    def __init__(self, path: bytes, target: bytes) -> None:
        super().__init__(errno.EXDEV, "leads out of the repository", os.fsdecode(path))
        self.target = target


class Listed(NamedTuple):
    """A name in a directory, by its path from the repository's root."""

    path: bytes
    node: Node


class Repository(ABC):
    """A repository at one revision. Paths start at its root, with or without a slash.

    Failures are `OSError` with the errno that the kernel would give (and EIO with the reason when
    something can't be fetched).
    """

    name: str
    snapshot: Snapshot
    device = 0
    identity: bytes
    """What tells this repository at this revision from all others."""

    @abstractmethod
    def catalog(self, need: NeedCatalog) -> Index:
        """The index of a nested catalog, fetched if it is not there."""

    @abstractmethod
    def body(self, node: Node, path: bytes) -> str:
        """A local file with the content of the regular file *node*, fetched if it is not there."""

    def use(self, node: Node) -> None:  # noqa: B027 - most have nothing to count
        """Count the content of a file as used now: what is used least is evicted first."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is open."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Looking up

    def lookup(self, path: Path, *, follow_symlinks: bool = True) -> Found:
        """What *path* names."""
        raw = os.fsencode(path)
        while True:
            with _damage_is_an_io_error(raw):
                outcome = self.snapshot.walk(raw, follow=follow_symlinks)
            if isinstance(outcome, Found):
                return outcome
            if isinstance(outcome, Missing):
                raise _failure(outcome.error, raw)
            if isinstance(outcome, Outside):
                raise OutsideError(raw, outcome.path)
            self.snapshot.mount(self.catalog(outcome))

    def _directory(self, path: Path) -> Found:
        found = self.lookup(path)
        if not stat.S_ISDIR(found.node.mode):
            raise _failure(errno.ENOTDIR, path)
        while True:
            with _damage_is_an_io_error(found.path):
                entered = self.snapshot.enter(found)
            if isinstance(entered, Found):
                return entered
            self.snapshot.mount(self.catalog(entered))

    def stat(self, path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        """As `os.stat`."""
        found = self.lookup(path, follow_symlinks=follow_symlinks)
        return self.stat_of(found.node)

    def stat_of(self, node: Node) -> os.stat_result:
        """What `os.stat` would say of *node*."""
        is_device = stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode)
        size = 0 if is_device else node.size
        if stat.S_ISLNK(node.mode):
            size = len(self.target(node))
        seconds, nanoseconds = divmod(node.mtime, 1_000_000_000)
        real = node.mtime / 1e9
        return os.stat_result(
            (
                *(node.mode, node.inode, self.device, node.nlink, node.uid, node.gid, size),
                *(seconds,) * 3,
                *(real,) * 3,
                *(seconds * 1_000_000_000 + nanoseconds,) * 3,
                *(4096, 1 + size // BLOCK_SIZE, node.size if is_device else 0),
            )
        )

    def listdir(self, path: Path = "/") -> list[str]:
        """As `os.listdir`, in the order of the names' bytes."""
        return [os.fsdecode(listed.node.name) for listed in self.scandir(path)]

    def scandir(self, path: Path = "/") -> Iterator[Listed]:
        """What a directory holds."""
        found = self._directory(path)
        with _damage_is_an_io_error(found.path):
            for node in found.catalog.children(found.record):
                yield Listed(found.path + b"/" + node.name, node)

    def walk(self, top: Path = "/") -> Iterator[Listed]:
        """*top* and everything below it, directories before what they hold; no link is followed."""
        found = self.lookup(top, follow_symlinks=False)
        pending = [Listed(found.path, found.node)]
        while pending:
            listed = pending.pop()
            yield listed
            if stat.S_ISDIR(listed.node.mode):
                pending += reversed(list(self.scandir(listed.path)))

    def readlink(self, path: Path) -> str:
        """As `os.readlink`, with the variables of a variant symlink replaced."""
        node = self.lookup(path, follow_symlinks=False).node
        if not stat.S_ISLNK(node.mode):
            raise _failure(errno.EINVAL, path)
        return os.fsdecode(self.target(node))

    def target(self, node: Node) -> bytes:
        """A symlink's target as programs see it."""
        return self.snapshot.expand(node)

    def xattrs(self, path: Path, *, follow_symlinks: bool = True) -> dict[str, bytes]:
        """The extended attributes that were published."""
        node = self.lookup(path, follow_symlinks=follow_symlinks).node
        try:
            attributes = xattrs.unpack(node.xattrs) if node.xattrs else {}
        except ValueError as error:
            raise OSError(errno.EIO, f"bad attributes: {error}", _shown(path)) from None
        return {os.fsdecode(name): value for name, value in attributes.items()}

    # Content

    def fetch(self, path: Path) -> str:
        """A local file with a file's content; it must not be changed, and may go when closed."""
        found = self.lookup(path)
        if stat.S_ISDIR(found.node.mode):
            raise _failure(errno.EISDIR, path)
        if not stat.S_ISREG(found.node.mode):
            raise _failure(errno.ENXIO, path)
        return self.body(found.node, found.path)

    def open(self, path: Path) -> BinaryIO:
        """A file, open for reading its bytes."""
        for _ in range(_MOST_FETCHES):
            file = self.fetch(path)
            with contextlib.suppress(FileNotFoundError):  # evicted in this very moment
                return open(file, "rb")
        raise OSError(errno.EIO, "gone whenever it has been fetched", _shown(path))

    def regular_files(self, tops: Iterable[Path]) -> Iterator[Listed]:
        """All regular files at and below *tops*; a link at a top itself is followed."""
        for top in tops:
            found = self.lookup(top)
            for listed in self.walk(found.path):
                if stat.S_ISREG(listed.node.mode):
                    yield listed


def _shown(path: Path) -> str:
    return os.fsdecode(os.fsencode(path))


def _failure(code: int, path: Path) -> OSError:
    return OSError(code, os.strerror(code), _shown(path))


@contextlib.contextmanager
def _damage_is_an_io_error(path: bytes) -> Iterator[None]:
    try:
        yield
    except BadCatalogError as error:
        raise OSError(errno.EIO, str(error), os.fsdecode(path)) from None

"""A read-only tree whose content can be had as files: what every kind of source gives.

A source gives two things: index files when the path walk needs them, and bodies as local files.
Everything that users know from `os` is made of these here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, TypeVar, Union

from pyparrot.tree.damage import is_damage, open_regular, reason
from pyparrot.tree.entries import Node, unpack_attributes
from pyparrot.tree.index import BadIndexError, Index
from pyparrot.tree.snapshot import Found, Missing, NeedIndex, Outside, Snapshot

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

_Self = TypeVar("_Self", bound="Tree")

BLOCK_SIZE = 512
_MOST_FETCHES = 20


class OutsideError(OSError):
    """A path that a symlink or ``..`` leads out of the tree; *target* is where it leads."""

    def __init__(self, path: bytes, target: bytes) -> None:
        super().__init__(errno.EXDEV, "leads out of the repository", os.fsdecode(path))
        self.target = target


class Listed(NamedTuple):
    """A name in a directory, by its path from the tree's root."""

    path: bytes
    node: Node


class Tree(ABC):
    """A tree at one revision. Paths start at its root, with or without a slash.

    Failures are `OSError` with the errno that the kernel would give (and EIO with the reason when
    something can't be fetched). What a tree can do besides is in `pyparrot.sources.capabilities`.
    """

    name: str
    """What it is called, such as a repository's full name."""

    snapshot: Snapshot
    device = 0
    """st_dev of everything in it."""

    identity: bytes
    """What tells this tree at this revision from all others."""

    is_passing = False
    """Whether it is what one run sees, and no other: its views are of no use afterwards."""

    warnings: Sequence[str] = ()
    """What was not as it should be when it was opened, a line each."""

    @abstractmethod
    def fetch_index(self, need: NeedIndex) -> Index:
        """A nested index, fetched or made if it is not there."""

    @abstractmethod
    def body(self, node: Node, path: bytes) -> str:
        """A local file with the content of the regular file *node*, fetched if it is not there."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is open."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # What was right once, and is not any more

    def discard(self, file: str) -> None:
        """Throw away *file*, which `body` gave and which is damaged: the next time it is another
        one. `OSError` if that can't be."""
        del file  # not every source keeps files

    def renew(self) -> bool:
        """Make the indexes anew, as one of them is damaged; False if there are no others."""
        return False

    # Looking up

    def lookup(self, path: Path, *, follow_symlinks: bool = True) -> Found:
        """What *path* names."""
        raw = os.fsencode(path)
        while True:
            try:
                result = self.snapshot.walk(raw, follow=follow_symlinks)
            except BadIndexError as error:
                self._renew_or_fail(raw, error)
                continue
            if isinstance(result, Found):
                return result
            if isinstance(result, Missing):
                raise _failure(result.error, raw)
            if isinstance(result, Outside):
                raise OutsideError(raw, result.path)
            self.snapshot.mount(self.fetch_index(result))

    def _directory(self, path: Path) -> Found:
        while True:
            found = self.lookup(path)
            if not stat.S_ISDIR(found.node.mode):
                raise _failure(errno.ENOTDIR, path)
            try:
                return self._entered(found)
            except BadIndexError as error:
                self._renew_or_fail(found.path, error)

    def _entered(self, found: Found) -> Found:
        while True:
            entered = self.snapshot.enter(found)
            if isinstance(entered, Found):
                return entered
            self.snapshot.mount(self.fetch_index(entered))

    def _renew_or_fail(self, path: bytes, error: BadIndexError) -> None:
        if not self.renew():
            raise OSError(errno.EIO, str(error), os.fsdecode(path)) from None

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
        found, nodes = self._held(path)
        for node in nodes:
            yield Listed(found.path + b"/" + node.name, node)

    def _held(self, path: Path) -> tuple[Found, list[Node]]:
        while True:
            found = self._directory(path)
            try:
                return found, list(found.holder.children(found.record))
            except BadIndexError as error:
                self._renew_or_fail(found.path, error)

    def walk(self, top: Path = "/") -> Iterator[Listed]:
        """*top* and everything below it, as `os.walk` goes: directories before what they hold.

        No link is followed. (The path walk, which resolves one path, is `Snapshot.walk`.)
        """
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
        """The extended attributes that are stored; not the source's magic ones."""
        node = self.lookup(path, follow_symlinks=follow_symlinks).node
        try:
            attributes = unpack_attributes(node.attributes)
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
        damage = ""
        for _ in range(_MOST_FETCHES):
            file = self.fetch(path)
            try:
                return open_regular(file)
            except FileNotFoundError:
                continue  # evicted just now
            except OSError as error:
                if damage or not is_damage(error):
                    raise
                damage = reason(error)
            self.discard(file)
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
def damage_is_an_io_error(path: bytes) -> Iterator[None]:
    """Turns `BadIndexError` into `OSError`: EIO about *path*, with the reason."""
    try:
        yield
    except BadIndexError as error:
        raise OSError(errno.EIO, str(error), os.fsdecode(path)) from None

"""Publishes what a tar file holds, on top of what is published already.

The tar file may be a stream, so it is read once, in its own order: bodies are stored at once, and
entries go to a catalog of their own, the stage. `ArchiveSource` then shows the published tree
with the stage laid over it, as extracting the tar file there would.
"""

from __future__ import annotations

import os
import stat
import tarfile
import time
from collections.abc import Iterator, Sequence
from typing import IO

from pyparrot.errors import PyparrotError
from pyparrot.progress import Progress
from pyparrot.repository.cvmfs import xattrs
from pyparrot.repository.cvmfs.catalog import (
    CHUNKED,
    DIRECTORY,
    Catalog,
    Chunk,
    Entry,
)
from pyparrot.repository.cvmfs.tree import CatalogTree

from .content import Body, BodyStore
from .source import DIRECTORY_SIZE, MARKER, Item, Owner, Surveyed, type_flags

_XATTR_PREFIX = "SCHILY.xattr."
_IMPLIED_MODE = 0
"""The mode, in the stage, of directories that the tar file uses but does not list."""

_TYPES = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.CONTTYPE: stat.S_IFREG,
    tarfile.GNUTYPE_SPARSE: stat.S_IFREG,
    tarfile.LNKTYPE: stat.S_IFREG,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.FIFOTYPE: stat.S_IFIFO,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
}


def repository_path(path: bytes) -> bytes:
    """A path given by a user or a tar file in the form that catalogs use; no ``..`` allowed."""
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if b".." in names or b"\0" in path:
        raise PyparrotError(path, "not a path inside the repository")
    return b"".join(b"/" + name for name in names)


class Stage:
    """The entries of a tar file, with their paths in the repository."""

    def __init__(self, file: str, bodies: BodyStore, old: CatalogTree | None, owner: Owner) -> None:
        self.catalog = Catalog.create(file)
        self._bodies = bodies
        self._old = old
        self._owner = owner
        self._groups: dict[bytes, int] = {}

    def read(self, stream: IO[bytes], name: str, into: bytes, progress: Progress) -> None:
        """Take in a tar file, compressed or not, its names below *into*."""
        self._imply_parents(into + b"/.")
        try:
            with tarfile.open(
                fileobj=stream, mode="r|*", encoding="utf-8", errors="surrogateescape"
            ) as archive:
                for member in archive:
                    progress.advance()
                    self._add(archive, member, into, progress)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise PyparrotError(name, f"not a complete tar file: {error}") from None
        self._bodies.finish()

    def _add(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, into: bytes, progress: Progress
    ) -> None:
        path = into + repository_path(_bytes(member.name))
        if member.type not in _TYPES:
            progress.warn(f"{member.name}: left out: no known kind of file ({member.type!r})")
            return
        if path == b"" and not member.isdir():
            raise PyparrotError(_bytes(member.name), "only a directory can be the root")
        self._imply_parents(path)
        if member.islnk():
            self._bodies.after(
                lambda: self._link(path, into + repository_path(_bytes(member.linkname)))
            )
            return
        entry = self._entry(path, member, progress)
        if not entry.is_regular:
            self._bodies.after(lambda: self._put(path, entry))
            return
        content = archive.extractfile(member)
        assert content is not None

        def done(body: Body) -> None:
            whole = entry._replace(flags=entry.flags | body.flags, digest=body.digest)
            self._put(path, whole, body.chunks)

        self._bodies.add_stream(content.read, member.size, done)

    def _entry(self, path: bytes, member: tarfile.TarInfo, progress: Progress) -> Entry:
        mode = _TYPES[member.type] | stat.S_IMODE(member.mode)
        symlink = _bytes(member.linkname) if member.issym() else b""
        seconds, nanoseconds = _mtime(member)
        size = member.size if member.isreg() else len(symlink)
        if member.isdir():
            size = DIRECTORY_SIZE
        elif member.isdev() and not member.isfifo():
            size = os.makedev(member.devmajor, member.devminor)
        return Entry(
            name=path.rpartition(b"/")[2],
            flags=type_flags(mode),
            mode=mode,
            size=size,
            mtime=seconds,
            mtime_ns=nanoseconds,
            uid=member.uid if self._owner.uid is None else self._owner.uid,
            gid=member.gid if self._owner.gid is None else self._owner.gid,
            symlink=symlink,
            xattr=_xattrs(member, progress),
        )

    def _put(self, path: bytes, entry: Entry, chunks: tuple[Chunk, ...] = ()) -> None:
        before = self.catalog.lookup(path)
        if before is not None and before.is_directory and not entry.is_directory:
            raise PyparrotError(path, "both a directory and a file in the tar file")
        self._groups.pop(path, None)
        self.catalog.put([(path, entry)])
        self.catalog.put_chunks(path, chunks)

    def _link(self, path: bytes, target: bytes) -> None:
        """A hard link: the same entry under another name; a group if in the same directory."""
        entry, chunks = self.catalog.lookup(target), self.catalog.chunks(target)
        if entry is None and self._old is not None:
            entry, chunks = self._old.lookup(target), self._old.chunks(target)
        if entry is None or not entry.is_regular:
            raise PyparrotError(
                path, "a hard link to a file that is not there", os.fsdecode(target)
            )
        directory = path.rpartition(b"/")[0]
        if self.catalog.lookup(target) and directory == target.rpartition(b"/")[0]:
            group = self._groups.setdefault(target, len(self._groups) + 1)
            self._groups[path] = group
            entry = entry._replace(hardlinks=group << 32)
            self.catalog.put([(target, entry)])
        else:
            entry = entry._replace(hardlinks=1)
        self.catalog.put([(path, entry._replace(name=path.rpartition(b"/")[2]))])
        self.catalog.put_chunks(path, chunks)

    def _imply_parents(self, path: bytes) -> None:
        parent = path.rpartition(b"/")[0]
        while self.catalog.lookup(parent) is None:
            now = int(time.time())
            self.catalog.put(
                [
                    (
                        parent,
                        Entry(
                            name=parent.rpartition(b"/")[2],
                            flags=DIRECTORY,
                            mode=_IMPLIED_MODE,
                            size=DIRECTORY_SIZE,
                            mtime=now,
                            mtime_ns=0,
                            uid=os.geteuid() if self._owner.uid is None else self._owner.uid,
                            gid=os.getegid() if self._owner.gid is None else self._owner.gid,
                        ),
                    )
                ]
            )
            if not parent:
                break
            parent = parent.rpartition(b"/")[0]


class ArchiveSource:
    """The published tree without *removed* paths, and with a stage laid over it."""

    def __init__(self, old: CatalogTree, stage: Stage, removed: Sequence[bytes]) -> None:
        self._old = old
        self._stage = stage.catalog
        self._removed = frozenset(removed)
        self._above_removed = {
            path[:end]
            for path in removed
            for end in range(len(path))
            if path[end : end + 1] == b"/"
        }

    def root(self) -> Item:
        """The root directory."""
        old = self._old.lookup(b"")
        assert old is not None
        return self._directory(b"", self._stage.lookup(b""), old)

    def listdir(self, path: bytes) -> Iterator[Item]:
        """What the directory will hold."""
        staged = {entry.name: entry for entry in self._stage.listdir(path)}
        old = {entry.name: entry for entry in self._old_entries(path)}
        links = _link_members(staged)
        broken = _broken_groups(old, staged, self._removed, path)
        for name in sorted({**old, **staged}):
            full = path + b"/" + name
            above, below = staged.get(name), old.get(name)
            if above is None:
                assert below is not None
                if full in self._removed:
                    continue
                if full in self._above_removed and below.is_directory:
                    yield self._directory(full, None, below)
                elif below.link_group in broken:
                    yield self._ungrouped(full, below, broken[below.link_group])
                else:
                    yield Item(below, kept=True)
            elif above.is_directory:
                gone = below is None or not below.is_directory or full in self._removed
                yield self._directory(full, above, None if gone else below)
            else:
                members = links.get(above.link_group, ()) if above.link_group else ()
                count = max(1, len(members))
                yield Item(
                    above._replace(hardlinks=count),
                    chunks=self._stage.chunks(full) if above.is_chunked else (),
                    links=members if count > 1 else (),
                )

    def survey(self) -> Iterator[Surveyed]:
        """The directories that the stage touches."""
        pending = [b""]
        while pending:
            path = pending.pop()
            directories = []
            entries = 0
            marked = False
            for item in self.listdir(path):
                marked = marked or item.entry.name == MARKER
                if not item.kept:
                    entries += 1
                    if item.entry.is_directory:
                        directories.append(item.entry.name)
            yield Surveyed(path, tuple(directories), entries, marked)
            pending += [path + b"/" + name for name in directories]

    def _old_entries(self, path: bytes) -> Iterator[Entry]:
        if path in self._removed:
            return iter(())
        entry = self._old.lookup(path)
        return self._old.listdir(path) if entry and entry.is_directory else iter(())

    def _directory(self, path: bytes, staged: Entry | None, old: Entry | None) -> Item:
        if old is not None and (staged is None or staged.mode == _IMPLIED_MODE):
            entry = old._replace(flags=DIRECTORY)
        else:
            assert staged is not None
            entry = staged
            if entry.mode == _IMPLIED_MODE:
                entry = entry._replace(mode=stat.S_IFDIR | 0o755)
        names = {e.name for e in self._stage.listdir(path) if e.is_directory}
        if old is not None:
            names |= {
                e.name
                for e in self._old_entries(path)
                if e.is_directory
                and path + b"/" + e.name not in self._removed
                and self._stays_directory(path + b"/" + e.name)
            }
        return Item(entry._replace(hardlinks=2 + len(names)))

    def _stays_directory(self, path: bytes) -> bool:
        staged = self._stage.lookup(path)
        return staged is None or staged.is_directory

    def _ungrouped(self, path: bytes, entry: Entry, members: tuple[bytes, ...]) -> Item:
        """A published hard link of whose group others go away."""
        return Item(
            entry._replace(hardlinks=len(members)),
            chunks=self._old.chunks(path) if entry.flags & CHUNKED else (),
            links=members if len(members) > 1 else (),
        )


def _link_members(entries: dict[bytes, Entry]) -> dict[int, tuple[bytes, ...]]:
    members: dict[int, tuple[bytes, ...]] = {}
    for name, entry in sorted(entries.items()):
        if entry.link_group:
            members[entry.link_group] = (*members.get(entry.link_group, ()), name)
    return members


def _broken_groups(
    old: dict[bytes, Entry], staged: dict[bytes, Entry], removed: frozenset[bytes], path: bytes
) -> dict[int, tuple[bytes, ...]]:
    """What remains of published hard link groups that lose members."""
    remaining = {}
    for group, names in _link_members(old).items():
        kept = tuple(n for n in names if n not in staged and path + b"/" + n not in removed)
        if kept != names:
            remaining[group] = kept
    return remaining


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _mtime(member: tarfile.TarInfo) -> tuple[int, int]:
    """Seconds and nanoseconds; tarfile's own float is too coarse for them."""
    text = member.pax_headers.get("mtime")
    if text is None:
        return int(member.mtime), 0
    whole, _, fraction = text.partition(".")
    nanoseconds = int((fraction + "000000000")[:9])
    seconds = int(whole or 0)
    if text.startswith("-") and nanoseconds:
        return seconds - 1, 1_000_000_000 - nanoseconds
    return seconds, nanoseconds


def _xattrs(member: tarfile.TarInfo, progress: Progress) -> bytes | None:
    attributes = {}
    for key, text in member.pax_headers.items():
        if not key.startswith(_XATTR_PREFIX):
            continue
        name, value = _bytes(key[len(_XATTR_PREFIX) :]), _bytes(text)
        if not name.startswith((b"user.", b"system.posix_acl_")) and name != b"security.capability":
            continue
        if xattrs.fits(name, value):
            attributes[name] = value
        else:
            progress.warn(f"{member.name}: attribute {key} is left out: too long for the format")
    return xattrs.pack(attributes)

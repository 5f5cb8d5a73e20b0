"""Takes in a tar file: its bodies are stored at once, its entries put into a staging tree.

The staging tree is a catalog of its own, which is laid over the published tree afterwards.

The tar file may be a stream, so it is read once, in its own order; what comes later replaces what
came before, as in extracting.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import time
import zlib
from collections.abc import Callable
from typing import IO, Any

from pyparrot.errors import PyparrotError, printable
from pyparrot.progress import Progress
from pyparrot.publish.content import BodyStore, StoredBody
from pyparrot.publish.input import DIRECTORY_SIZE, Owner, type_flags
from pyparrot.publish.pruned_tree import PrunedTree
from pyparrot.sources.cvmfs import xattrs
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import DIRECTORY, CatalogEntry, Chunk

IMPLIED_MODE = 0
"""The mode, in a staging tree, of directories that the tar file uses but does not list."""

NAME_LIMIT = 255
"""The longest name that Linux can look up, in bytes."""

_XATTR_PREFIX = "SCHILY.xattr."
_ID_LIMIT = 1 << 32
_TIME_LIMIT = 1 << 62

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

_UNPACKERS: tuple[tuple[bytes, Callable[[Any], Any]], ...] = (
    (b"\x1f\x8b", lambda stream: gzip.GzipFile(fileobj=stream)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)

_DAMAGE = (tarfile.TarError, EOFError, ValueError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def repository_path(path: bytes) -> bytes:
    """A path given by a user or a tar file in the form that catalogs use; no ``..`` allowed."""
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if b".." in names or b"\0" in path:
        raise PyparrotError(path, "not a path inside the repository")
    if any(len(name) > NAME_LIMIT for name in names):
        raise PyparrotError(path, f"a name of more than {NAME_LIMIT} bytes")
    return b"".join(b"/" + name for name in names)


class _Member(tarfile.TarInfo):
    """A header of a tar file. Where the file ends without its end mark, or a header is damaged,
    tarfile would take that for the end of the archive: here it is an error.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Member:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the end mark
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error) or "it is cut off") from None


class StagingTree:
    """The entries of a tar file, with their paths in the repository."""

    def __init__(self, file: str, bodies: BodyStore, old: PrunedTree, owner: Owner) -> None:
        self.catalog = Catalog.create(file)
        self._bodies = bodies
        self._old = old
        self._owner = owner
        self._highest_group = 0

    def close(self) -> None:
        """Close the catalog."""
        self.catalog.close()

    def read(self, stream: IO[bytes], name: str, into: bytes, progress: Progress) -> None:
        """Take in a tar file, compressed or not, its names below *into*; *name* is its own."""
        self._imply_directories(into + b"/.")
        try:
            with (
                _unpacked(stream) as content,
                tarfile.open(
                    fileobj=content,
                    mode="r|",
                    tarinfo=_Member,
                    encoding="utf-8",
                    errors="surrogateescape",
                ) as archive,
            ):
                for member in archive:
                    progress.advance()
                    self._add(archive, member, into, progress)
                # To the end: a compressed stream's checksum is there, and a pipe's writer waits.
                while content.read(1 << 20):
                    pass
        except _DAMAGE as error:
            raise PyparrotError(name, f"not a complete tar file: {error}") from None
        except OSError as error:
            if error.filename is not None:
                raise
            if error.errno is None:  # it is how bz2 says that its data are damaged
                raise PyparrotError(name, f"not a complete tar file: {error}") from None
            raise PyparrotError(name, f"cannot be read: {error.strerror}") from None
        self._bodies.finish()

    def _add(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, into: bytes, progress: Progress
    ) -> None:
        path = into + repository_path(_bytes(member.name))
        if member.type not in _TYPES:
            progress.warn(f"{printable(member.name)}: left out: an unknown kind of file")
            return
        if path == b"" and not member.isdir():
            raise PyparrotError(_bytes(member.name), "only a directory can be the root")
        if member.islnk():
            target = into + repository_path(_bytes(member.linkname))
            self._bodies.after(lambda: self._link(path, target))
            return
        entry = self._entry(path, member, progress)
        if not entry.is_regular:
            self._bodies.after(lambda: self._put(path, entry))
            return
        content = archive.extractfile(member)
        assert content is not None

        def done(body: StoredBody) -> None:
            whole = entry._replace(flags=entry.flags | body.flags, digest=body.digest)
            self._put(path, whole, body.chunks)

        self._bodies.add_stream(content.read, member.size, done)

    def _entry(self, path: bytes, member: tarfile.TarInfo, progress: Progress) -> CatalogEntry:
        mode = _TYPES[member.type] | stat.S_IMODE(member.mode)
        symlink = _bytes(member.linkname) if member.issym() else b""
        seconds, nanoseconds = _mtime(member)
        size = member.size if member.isreg() else len(symlink)
        if member.isdir():
            size = DIRECTORY_SIZE
        elif member.isdev() and not member.isfifo():
            size = os.makedev(member.devmajor, member.devminor)
        return CatalogEntry(
            name=path.rpartition(b"/")[2],
            flags=type_flags(mode),
            mode=mode,
            size=size,
            mtime=seconds,
            mtime_ns=nanoseconds,
            uid=_identity(path, member.uid if self._owner.uid is None else self._owner.uid),
            gid=_identity(path, member.gid if self._owner.gid is None else self._owner.gid),
            symlink=symlink,
            xattr=_xattrs(member, progress),
        )

    def _put(self, path: bytes, entry: CatalogEntry, chunks: tuple[Chunk, ...] = ()) -> None:
        self._imply_directories(path)
        before = self.catalog.lookup(path)
        if before is not None and before.is_directory and not entry.is_directory:
            raise PyparrotError(path, "both a directory and a file in the tar file")
        self.catalog.put([(path, entry)])
        self.catalog.put_chunks(path, chunks)

    def _link(self, path: bytes, target: bytes) -> None:
        """A hard link: the same entry once more. Files become a group, whatever their directories;
        the format knows groups in one directory only, and has to look there for the members.
        """
        self._imply_directories(path)
        entry = self.catalog.lookup(target) or self._old.lookup(target)
        if entry is None or entry.is_directory:
            what = printable(target)
            raise PyparrotError(path, f"a hard link to {what}, which is not there or a directory")
        if path == target:
            return
        entry = entry._replace(name=path.rpartition(b"/")[2])
        if not entry.is_regular:
            self._put(path, entry)
            return
        if self.catalog.lookup(target) is None:
            self._take_published(target, entry)
        group = self._group_of(target)
        self._put(path, entry._replace(hardlinks=group << 32), self.catalog.chunks(target))

    def _take_published(self, path: bytes, entry: CatalogEntry) -> None:
        """Stage a published file as it is, with all of its hard link group."""
        directory, _, name = path.rpartition(b"/")
        self._highest_group += 1
        for member in self._old.listdir(directory):
            in_group = entry.link_group and member.link_group == entry.link_group
            member_path = directory + b"/" + member.name
            if member.name == name or (in_group and self.catalog.lookup(member_path) is None):
                taken = member._replace(hardlinks=self._highest_group << 32)
                self._put(member_path, taken, self._old.chunks(member_path))

    def _group_of(self, path: bytes) -> int:
        """The hard link group of a staged file, which gets one if it has none."""
        entry = self.catalog.lookup(path)
        assert entry is not None
        if not entry.link_group:
            self._highest_group += 1
            entry = entry._replace(hardlinks=self._highest_group << 32)
            self.catalog.put([(path, entry)])
        return entry.link_group

    def _imply_directories(self, path: bytes) -> None:
        """Stage the directories above *path* that are not staged yet; all must be directories."""
        while path:
            path = path.rpartition(b"/")[0]
            staged = self.catalog.lookup(path)
            if staged is not None:
                if not staged.is_directory:
                    raise PyparrotError(path, "both a directory and a file in the tar file")
                return
            published = self._old.lookup(path)
            if published is not None and not published.is_directory:
                raise PyparrotError(path, "a published file is in the place of a directory")
            self.catalog.put([(path, self._implied(path))])

    def _implied(self, path: bytes) -> CatalogEntry:
        return CatalogEntry(
            name=path.rpartition(b"/")[2],
            flags=DIRECTORY,
            mode=IMPLIED_MODE,
            size=DIRECTORY_SIZE,
            mtime=int(time.time()),
            mtime_ns=0,
            uid=os.geteuid() if self._owner.uid is None else self._owner.uid,
            gid=os.getegid() if self._owner.gid is None else self._owner.gid,
        )


def _unpacked(stream: IO[bytes]) -> IO[bytes]:
    """The content of a stream that may be compressed, its checksums looked at."""
    given: Any = stream
    buffered: Any = given if isinstance(given, io.BufferedReader) else io.BufferedReader(given)
    start = buffered.peek(6)[:6]
    for magic, unpacker in _UNPACKERS:
        if start.startswith(magic):
            unpacked: IO[bytes] = unpacker(buffered)
            return unpacked
    plain: IO[bytes] = buffered
    return plain


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _identity(path: bytes, number: int) -> int:
    if not 0 <= number < _ID_LIMIT:
        raise PyparrotError(path, f"an owner that can't be: {number}")
    return number


def _mtime(member: tarfile.TarInfo) -> tuple[int, int]:
    """Seconds and nanoseconds; tarfile's own float is too coarse for them."""
    text = member.pax_headers.get("mtime")
    if text is None:
        text = str(int(member.mtime))
    whole, _, fraction = text.partition(".")
    nanoseconds = int((fraction + "000000000")[:9])
    seconds = int(whole or 0)
    if text.startswith("-") and nanoseconds:
        seconds, nanoseconds = seconds - 1, 1_000_000_000 - nanoseconds
    if abs(seconds) >= _TIME_LIMIT:
        raise PyparrotError(_bytes(member.name), f"a time that can't be: {text[:40]}")
    return seconds, nanoseconds


def _xattrs(member: tarfile.TarInfo, progress: Progress) -> bytes | None:
    attributes = {}
    for key, text in member.pax_headers.items():
        name, value = _bytes(key[len(_XATTR_PREFIX) :]), _bytes(text)
        if not key.startswith(_XATTR_PREFIX) or not xattrs.travels(name):
            continue
        if xattrs.fits(name, value):
            attributes[name] = value
        else:
            progress.warn(
                f"{printable(member.name)}: attribute {printable(name)} is left out:"
                f" the format holds no more than {xattrs.LONGEST} bytes"
            )
    return xattrs.pack(attributes)

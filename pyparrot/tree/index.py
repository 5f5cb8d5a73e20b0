"""Index files: what a source lists, in the form that look-ups need.

The format and its rules stand in ``csrc/core/index.h``; here an index is made of a source's
entries, and mapped.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pyparrot.core import ffi, lib
from pyparrot.tree.damage import open_regular
from pyparrot.tree.entries import Node

if TYPE_CHECKING:
    from pyparrot.core import PpRecord

ROOT_HASH: int = lib.PP_HASH_ROOT
"""The path hash of a tree's root directory."""

_ROW = struct.Struct("=qqqqqqIIIIIIIIHHHH")
_DEEPEST = 4096
_FAULTS = {
    lib.PP_BUILD_MEMORY: "out of memory",
    lib.PP_BUILD_NO_ROOT: "no root directory",
    lib.PP_BUILD_NAME: "a bad name",
    lib.PP_BUILD_TARGET: "a bad symlink",
    lib.PP_BUILD_TYPE: "a type that its flags contradict",
    lib.PP_BUILD_DUPLICATE: "a name that is there twice",
    lib.PP_BUILD_NUMBER: "a number that can't be",
    lib.PP_BUILD_LOOP: "a directory that is below itself",
    lib.PP_BUILD_SIZE: "more than an index can hold",
    lib.PP_BUILD_CLASH: "names that were chosen to clash",
}

_TOO_MUCH = "it lists more than its size can hold"


class Most(NamedTuple):
    """How many *entries* may be listed, and how many bytes of *text* (targets, attributes and names
    that are too long) they may have together."""

    entries: int
    text: int


NO_LIMIT = Most(1 << 62, 1 << 62)


class BadIndexError(ValueError):
    """Entries that can't be true, or an index file that is damaged: its text says why."""


def build(
    entries: Iterable[tuple[Any, ...]],
    file: str,
    *,
    root: tuple[int, int],
    root_hash: int = ROOT_HASH,
    handle: bytes = b"",
    revision: int = 0,
    ttl: int = 0,
    most: Most = NO_LIMIT,
) -> None:
    """Write the index of *entries* (see `pyparrot.tree.entries.Entry`) to the new *file*.

    They come in any order; *root* is the key of their root directory, *root_hash* the hash of the
    path where that is seen in the tree. *handle* is what the source wants to know of the index
    again, *revision* and *ttl* (seconds) are what it says of itself, 0 if nothing. *most* is what
    may be listed at most.
    `BadIndexError` if what is listed is broken or hostile, and whatever *entries* raises.
    """
    rows, row_count, texts = _pack(itertools.islice(entries, most.entries + 1), most.text)
    if row_count > most.entries:
        raise BadIndexError(_TOO_MUCH)
    # The buffers must live as long as the builder does.
    row_buffer = ffi.from_buffer("struct pp_row[]", rows)
    text_buffer = ffi.from_buffer(texts)
    handle_buffer = ffi.from_buffer("uint8_t[]", handle)
    listing = ffi.new("struct pp_listing *")
    listing.rows, listing.row_count = row_buffer, row_count
    listing.texts, listing.texts_size = text_buffer, len(texts)
    listing.handle, listing.handle_size = handle_buffer, len(handle)
    listing.root[0], listing.root[1] = root
    listing.root_hash = root_hash
    listing.revision, listing.ttl = revision, ttl
    builder = ffi.gc(lib.pp_builder_new(listing), lib.pp_builder_free)
    if builder == ffi.NULL:
        raise MemoryError
    bad_row = ffi.new("size_t *")
    fault = lib.pp_builder_plan(builder, bad_row)
    if fault:
        raise BadIndexError(_FAULTS[fault] + _name_of_row(rows, texts, bad_row[0]))
    size = lib.pp_builder_size(builder)
    with open(file, "xb+") as output:
        os.posix_fallocate(output.fileno(), 0, size)  # a full disk must not be a SIGBUS
        with mmap.mmap(output.fileno(), size) as mapped:
            target = ffi.from_buffer(mapped, require_writable=True)
            try:
                fault = lib.pp_builder_fill(builder, target)
            finally:
                ffi.release(target)  # a file can't be unmapped while something refers to it
    if fault:
        os.unlink(file)
        raise BadIndexError(_FAULTS[fault])


def _name_of_row(rows: bytes, texts: bytes, row: int) -> str:
    if (row + 1) * _ROW.size > len(rows):
        return ""
    position = 0
    for number, fields in enumerate(_ROW.iter_unpack(rows)):
        handle, attributes, _, name, target, _ = fields[12:]
        if number == row:
            break
        position += name + target + handle + attributes
    return f": {texts[position : position + name]!r}"


def _pack(entries: Iterable[tuple[Any, ...]], most_text: int) -> tuple[bytes, int, bytes]:
    """All entries as ``struct pp_row``, and their texts."""
    room, longest = most_text, int(lib.PP_NAME_MAX)
    rows: list[bytes] = []
    texts: list[bytes] = []
    pack, add_row, add_text = _ROW.pack, rows.append, texts.append
    try:
        # There may be a million entries: one flat loop, and no object of an entry but its bytes.
        # (Stars in the call, or slices, would cost a third more; hence the short names.)
        for (
            a,
            b,
            c,
            d,
            name,
            mode,
            size,
            mtime,
            ns,
            uid,
            gid,
            n,
            group,
            bits,
            to,
            own,
            x,
        ) in entries:
            e, f, g, h = len(own), len(x), len(name), len(to)
            if f or h or g > longest:  # few: what is short is bounded by the number of rows
                room -= f + g + h
                if room < 0:
                    raise BadIndexError(_TOO_MUCH)
            add_row(
                pack(a, b, c, d, size, mtime, ns, mode, uid, gid, n, group, e, f, bits, g, h, 0)
            )
            add_text(name + to + own + x)
    except struct.error as error:
        raise BadIndexError(str(error)) from None
    return b"".join(rows), len(rows), b"".join(texts)


class Index:
    """An index file, mapped. It stays mapped as long as anything refers to it.

    *file* is a name by which other processes can open it, as long as this one lives; *path* is
    where its root directory is in the tree. *kept* is a descriptor of it, if it has no other name.
    """

    def __init__(self, file: str, path: bytes = b"", keep: bool = False) -> None:
        """With *keep* the file may be unlinked afterwards."""
        self.path = path
        with open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            # Nothing can't be mapped.
            self._mapped = mmap.mmap(opened.fileno(), size, prot=mmap.PROT_READ) if size else b""
            self.kept = os.dup(opened.fileno()) if keep else None
        self.file = f"/proc/{os.getpid()}/fd/{self.kept}" if keep else os.path.abspath(file)
        self._buffer = ffi.from_buffer(self._mapped)
        self.pointer = ffi.new("struct pp_index *")
        if lib.pp_index_open(self.pointer, self._buffer, len(self._mapped)) != 0:
            raise BadIndexError(f"{file}: not an index of this version, or damaged")

    def __del__(self) -> None:
        kept = getattr(self, "kept", None)
        if kept is not None:
            os.close(kept)

    @property
    def root_hash(self) -> int:
        """The hash of the path where its root directory is seen."""
        value: int = self.pointer.header.root_hash
        return value

    @property
    def entries(self) -> int:
        """The number of names, the root directory among them."""
        value: int = self.pointer.header.entries
        return value

    @property
    def revision(self) -> int:
        """The revision that its source says it is of; 0 if none."""
        value: int = self.pointer.header.revision
        return value

    @property
    def ttl(self) -> int:
        """How many seconds it may be taken for the newest; 0 if its source does not say."""
        value: int = self.pointer.header.ttl
        return value

    @property
    def handle(self) -> bytes:
        """What its source wanted to know of it again."""
        size = ffi.new("size_t *")
        handle = lib.pp_index_handle(self.pointer, size)
        return b"" if handle == ffi.NULL else bytes(ffi.buffer(handle, size[0]))

    def node(self, record: PpRecord) -> Node:
        """What *record* (a ``struct pp_record *`` of this index) says.

        `BadIndexError` if the index is damaged.
        """
        length, target_length = record.name_length, record.target_length
        text = bytes(ffi.buffer(ffi.addressof(record, "text"), length + target_length + 1))
        extra = self._extra(record)
        return Node(
            name=text[:length],
            inode=record.inode,
            mode=record.mode,
            size=record.size,
            mtime=record.mtime * 1_000_000_000 + record.mtime_ns,
            uid=record.uid,
            gid=record.gid,
            nlink=record.nlink,
            flags=record.flags,
            target=text[length + 1 :],
            handle=extra[: record.handle_size],
            attributes=extra[record.handle_size :],
        )

    def handle_of(self, record: PpRecord) -> bytes:
        """The handle of *record* alone."""
        return self._extra(record)[: record.handle_size]

    def _extra(self, record: PpRecord) -> bytes:
        if not (record.handle_size or record.xattr_size):
            return b""
        size = ffi.new("size_t *")
        extra = lib.pp_index_extra(self.pointer, record, size)
        if extra == ffi.NULL:
            raise BadIndexError("a damaged index: a record leads out of it")
        return bytes(ffi.buffer(extra, size[0]))

    def path_of(self, record: PpRecord) -> bytes:
        """The path of *record* in the tree."""
        names: list[bytes] = []
        while record != lib.pp_index_root(self.pointer) and len(names) < _DEEPEST:
            names.append(bytes(ffi.buffer(record.text, record.name_length)))
            record = lib.pp_index_record(self.pointer, record.parent)
        return b"/".join([self.path, *reversed(names)])

    def children(self, record: PpRecord) -> Iterator[Node]:
        """What the directory *record* holds, hidden names left out, in the order of their bytes."""
        child = lib.pp_index_record(self.pointer, record.first_child)
        for _ in range(record.children):
            if child == ffi.NULL:
                raise BadIndexError("a damaged index: a directory ends early")
            if not lib.pp_is_name(child.text, child.name_length):
                raise BadIndexError("a damaged index: a bad name")
            if not child.flags & lib.PP_HIDDEN:
                yield self.node(child)
            child = lib.pp_index_next(self.pointer, child)

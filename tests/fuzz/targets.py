"""The parsers that are written in Python, each as a function of any bytes.

Each may refuse with the exceptions that it promises and no other; what it accepts must come out
again as it went in.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import sqlite3
import stat
import struct
import tempfile
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Callable, TypeVar

from pyparrot.config import shell
from pyparrot.core import lib
from pyparrot.sources.cvmfs import xattrs
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.handles import Body
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.indexing import build_index
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.signed_text import SignedText
from pyparrot.sources.cvmfs.whitelist import Whitelist
from pyparrot.tree.entries import unpack_attributes
from pyparrot.tree.index import ROOT_HASH, BadIndexError, Index

_NAME = Algorithm.SHA1.of(b"catalog")
_MAGIC = b"SQLite format 3\0"
_ENTRIES = 2000
_COLUMNS = 16
_T = TypeVar("_T")


class Choices:
    """Decisions that bytes make; when they are used up, the first choice is made."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next bytes, as many as there are."""
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def number(self, end: int) -> int:
        """0 to *end* - 1, which is at most 256."""
        return int.from_bytes(self.take(1), "little") % end

    def one_of(self, things: Sequence[_T]) -> _T:
        """One of these."""
        return things[self.number(len(things))]

    def text(self) -> bytes:
        """Few bytes."""
        return self.take(self.number(25))

    def value(self) -> Any:
        """Anything that SQLite has a type for."""
        kind = self.number(5)
        if kind == 0:
            return None
        if kind == 1:
            return struct.unpack("<q", self.take(8).ljust(8, b"\0"))[0]
        if kind == 2:
            return struct.unpack("<d", self.take(8).ljust(8, b"\0"))[0]
        return self.text() if kind == 3 else self.text().decode("latin-1")


def manifest(data: bytes) -> None:
    try:
        parsed = Manifest.parse(data)
    except ValueError:
        return
    assert Manifest.parse(parsed.encode()) == parsed


def whitelist(data: bytes) -> None:
    try:
        parsed = Whitelist.parse(data)
    except ValueError:
        return
    if parsed.issued.year >= 1000 and parsed.expires.year >= 1000:  # strftime does not fill up %Y
        assert Whitelist.parse(parsed.encode()) == parsed
    parsed.expired(parsed.issued)


def signed_text(data: bytes) -> None:
    try:
        parsed = SignedText.parse(data)
    except ValueError:
        return
    assert SignedText.parse(parsed.encode()) == parsed
    assert parsed.intact in (True, False)


def config(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    parsed = shell.parse(text, {"A": "1", "B": "x y", "CVMFS_X": ""}, "fuzz")
    for problem in parsed.problems:
        assert "\n" not in str(problem)


def attributes(data: bytes) -> None:
    try:
        parsed = xattrs.unpack(data)
    except ValueError:
        return
    if all(parsed):  # the format can say, but we don't write, a name of no bytes
        assert xattrs.unpack(xattrs.pack(parsed) or b"\1\0") == parsed


def catalog(data: bytes) -> None:
    """Any bytes as a catalog's file, but for the word that it starts with."""
    file = os.path.join(_work(), "catalog")
    with open(file, "wb") as stream:
        stream.write(_MAGIC + data[len(_MAGIC) :])
    _build(file)


def rows(data: bytes) -> None:
    """A good catalog in which any values stand in any columns."""
    choices = Choices(data)
    file = os.path.join(_work(), "catalog")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)
    with closing(Catalog.create(file)) as made:
        made.set_property("revision", choices.text())
        made.set_property("TTL", choices.text())
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA synchronous = OFF")
        for _ in range(1 + choices.number(8)):
            values = [_plausible(choices, column) for column in range(_COLUMNS)]
            marks = ", ".join("?" * _COLUMNS)
            database.execute(f"INSERT OR REPLACE INTO catalog VALUES ({marks})", values)
        for table, columns in (("chunks", 5), ("nested_catalogs", 3), ("bind_mountpoints", 3)):
            if choices.number(2):
                marks = ", ".join("?" * columns)
                values = [choices.value() for _ in range(columns)]
                database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)
        database.commit()
    _build(file)


def _plausible(choices: Choices, column: int) -> Any:
    """Mostly what belongs into the column, or nothing but the first check would be reached."""
    if choices.number(16) == 15:
        return choices.value()
    if column < 4:
        return choices.number(4) if column % 2 == 0 else 0
    name = choices.text().decode("latin-1")
    flags = choices.one_of([1, 4, 8, 20, 3, 68, 0x4001, 0x8004])
    mode = choices.one_of([0o040755, 0o100644, 0o120777, 0o010644])
    usual = (1, None, 5, mode, 1, None, flags, name, "target", 0, 0, None)
    return usual[column - 4]


def _build(file: str) -> None:
    output = os.path.join(_work(), "index")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(output)
    try:
        opened = Catalog.open(file)
    except BROKEN:
        return
    refused = ""
    with closing(opened):
        try:
            build_index(opened, _NAME, b"", ROOT_HASH, output)
        except BadIndexError as error:
            refused = str(error)
    assert "\n" not in refused
    if not refused:
        _read(Index(output))


def _read(index: Index) -> None:
    record = lib.pp_index_root(index.pointer)
    for _ in range(_ENTRIES):
        if not record:
            return
        node = index.node(record)
        list(index.children(record))
        if stat.S_ISREG(node.mode):
            Body.of(node)
        with contextlib.suppress(ValueError):
            unpack_attributes(node.attributes)
        record = lib.pp_index_next(index.pointer, record)


@functools.cache
def _work() -> str:
    """A directory for this process alone."""
    directory = tempfile.mkdtemp(prefix="pyparrot-fuzz-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


TARGETS: dict[str, Callable[[bytes], None]] = {
    "manifest": manifest,
    "whitelist": whitelist,
    "signed_text": signed_text,
    "config": config,
    "xattrs": attributes,
    "catalog": catalog,
    "rows": rows,
}

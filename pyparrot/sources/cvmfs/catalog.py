"""Catalogs: SQLite files that list what is in a repository.

Source: CernVM-FS ``catalog_sql.cc``, schema 2.5 revision 7. A catalog describes a directory tree
from its *mountpoint* ("" for the root catalog) down to the mountpoints of its nested catalogs.
Paths are bytes, absolute within the repository and without a slash at the end; the root is empty.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import Any

from pyparrot.sources.cvmfs.catalog_counters import COUNTERS, CatalogCounters
from pyparrot.sources.cvmfs.catalog_rows import (
    CHUNKED,
    DIRECTORY,
    EXTERNAL,
    FILE,
    SPECIAL,
    STORAGE,
    SYMLINK,
    CatalogEntry,
    Chunk,
    NestedCatalog,
    PathKey,
    StoredObject,
    parent_key,
    path_key,
)
from pyparrot.sources.cvmfs.database import Database, Rations, Tables, columns, open_to_read
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind

SCHEMA = "2.5"
SCHEMA_REVISION = "7"
DEFAULT_TTL = 240

_SCHEMA = """
CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER,
    hardlinks INTEGER, hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER,
    flags INTEGER, name TEXT, symlink TEXT, uid INTEGER, gid INTEGER, xattr BLOB,
    CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2));
CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2);
CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
    CONSTRAINT pk_chunks PRIMARY KEY (md5path_1, md5path_2, offset, size),
    FOREIGN KEY (md5path_1, md5path_2) REFERENCES catalog (md5path_1, md5path_2));
CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER,
    CONSTRAINT pk_nested_catalogs PRIMARY KEY (path));
CREATE TABLE bind_mountpoints (path TEXT, sha1 TEXT, size INTEGER,
    CONSTRAINT pk_bind_mountpoints PRIMARY KEY (path));
CREATE TABLE statistics (counter TEXT, value INTEGER,
    CONSTRAINT pk_statistics PRIMARY KEY (counter));
CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
"""

_KEYS = "md5path_1, md5path_2, parent_1, parent_2"
_COLUMNS = "name, flags, mode, size, mtime, mtimens, uid, gid, hardlinks, hash, symlink, xattr"

# What catalogs of older schemas lack, and what stands for it.
_LATER_COLUMNS = {
    "mtimens": "NULL",
    "xattr": "NULL",
    "uid": "0",
    "gid": "0",
    "hardlinks": "1",
}
_NO_CHUNKS = """(SELECT NULL AS md5path_1, NULL AS md5path_2, NULL AS offset, NULL AS size,
    NULL AS hash WHERE 0)"""
_FIRST_WITH_CHUNKS = 2.4

_TABLES: Tables = {
    "catalog": columns(f"{_KEYS}, {_COLUMNS}"),
    "chunks": columns("md5path_1, md5path_2, offset, size, hash"),
    "nested_catalogs": columns("path, sha1, size"),
    "bind_mountpoints": columns("path, sha1, size"),
    "statistics": columns("counter, value"),
    "properties": columns("key, value"),
}
"""All that is read."""

_LONGEST_PATH = 65536
"""The most bytes of a path in a catalog; Linux takes 4,096 at a time."""

# Names need not be UTF-8, and Python binds bytes as BLOB: the cast makes them TEXT, unchanged.
_INSERT = f"""
INSERT OR REPLACE INTO catalog ({_KEYS}, {_COLUMNS})
VALUES (?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?)
"""

_REGULAR = f"flags & {FILE | SYMLINK | SPECIAL} = {FILE}"
_COUNT = f"""
SELECT total({_REGULAR}), total(flags & {SYMLINK} != 0), total(flags & {SPECIAL} != 0),
    total(flags & {DIRECTORY} != 0), (SELECT count(*) FROM nested_catalogs),
    total(flags & {CHUNKED} != 0), (SELECT count(*) FROM %s), sum(({_REGULAR}) * size),
    sum((flags & {CHUNKED} != 0) * size), total(xattr IS NOT NULL),
    total(flags & {EXTERNAL} != 0), sum((flags & {EXTERNAL} != 0) * size)
FROM %s
"""


class Catalog:
    """An open catalog. Made by `create`, `open` (to read) or `open_to_write`; `close` it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._database = connection
        self._database.text_factory = bytes
        # What the rows and the chunks are read from.
        self._rows = "catalog"
        self._chunks = "chunks"
        self._has_statistics = True

    @classmethod
    def create(cls, file: str) -> Catalog:
        """A new and empty catalog at *file*."""
        catalog = cls._open_private(file, "PRAGMA page_size = 1024")
        for statement in _SCHEMA.split(";"):
            catalog._database.execute(statement)
        catalog.set_property("schema", SCHEMA)
        catalog.set_property("schema_revision", SCHEMA_REVISION)
        return catalog

    @classmethod
    def open_to_write(cls, file: str) -> Catalog:
        """The catalog at *file*, which belongs to the caller alone."""
        return cls._open_private(file)

    @classmethod
    def open(cls, file: str) -> Catalog:
        """The catalog at *file*, which must not change; `sqlite3.Error` if it is none.

        What is in it may be anything: to read it may raise any of `BROKEN`.
        """
        database = open_to_read(file, _TABLES)
        catalog = cls(database)
        try:
            catalog._adapt(database)
        except BaseException:
            database.close()
            raise
        return catalog

    def _adapt(self, database: Database) -> None:
        """Read catalogs of schema 2.0 on: what they lack of the newest is made up."""
        there = database.columns
        lacking = _LATER_COLUMNS.keys() - there.get("catalog", frozenset())
        if lacking:
            shown = (
                f"{_LATER_COLUMNS[column]} AS {column}" if column in lacking else column
                for column in _COLUMNS.split(", ")
            )
            self._rows = f"(SELECT {_KEYS}, {', '.join(shown)} FROM catalog)"
        self._has_statistics = "statistics" in there
        if "chunks" not in there and self._schema < _FIRST_WITH_CHUNKS:
            self._chunks = _NO_CHUNKS

    @property
    def _schema(self) -> float:
        try:
            return float(self.get_property("schema") or "")
        except ValueError:
            raise sqlite3.DatabaseError("it does not say its schema") from None

    def _columns_of(self, table: str) -> set[str]:
        rows = self._database.execute(f"PRAGMA table_info({table})")
        return {os.fsdecode(row[1]) for row in rows}

    @classmethod
    def _open_private(cls, file: str, *pragmas: str) -> Catalog:
        # The file is thrown away if anything fails, so SQLite need not guard it; and many
        # catalogs may be open at once, so each gets a small page cache.
        connection = sqlite3.connect(file, isolation_level=None)
        for pragma in (*pragmas, "PRAGMA synchronous = OFF", "PRAGMA journal_mode = OFF"):
            connection.execute(pragma)
        connection.execute("PRAGMA cache_size = -1024")
        connection.execute("BEGIN")
        return cls(connection)

    def close(self) -> None:
        """Close the file; what was written is complete."""
        if self._database.in_transaction:
            self._database.execute("COMMIT")
        self._database.close()

    def compact(self) -> None:
        """Give back the pages of deleted rows, if there are many."""
        self._database.execute("COMMIT")
        free = self._pragma("freelist_count")
        if free * 4 > self._pragma("page_count"):
            self._database.execute("VACUUM")
        self._database.execute("BEGIN")

    def _pragma(self, name: str) -> int:
        value: int = self._database.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    # Reading

    def get_property(self, key: str) -> str | None:
        """The value of a property, None if it is not there."""
        row = self._database.execute(
            "SELECT value FROM properties WHERE key = ?", (key,)
        ).fetchone()
        if row is None or row[0] is None:
            return None
        return os.fsdecode(row[0]) if isinstance(row[0], bytes) else str(row[0])

    @property
    def size(self) -> int:
        """The uncompressed size of the file, in bytes."""
        return self._pragma("page_count") * self._pragma("page_size")

    @property
    def mountpoint(self) -> bytes:
        """The directory that the catalog describes; empty for the root catalog."""
        return os.fsencode(self.get_property("root_prefix") or "")

    @property
    def revision(self) -> int:
        """The repository's revision in which the catalog was made."""
        return int(self.get_property("revision") or 0)

    @property
    def previous_revision(self) -> ContentHash | None:
        """The hash of the catalog that this one replaced; None if there was none."""
        text = self.get_property("previous_revision")
        previous = ContentHash.parse(text) if text else None
        return previous if previous and any(previous.digest) else None

    @property
    def last_modified(self) -> int:
        """When the catalog was made, in unix seconds."""
        return int(self.get_property("last_modified") or 0)

    def lookup(self, path: bytes) -> CatalogEntry | None:
        """The entry of *path*, None if this catalog has none."""
        row = self._database.execute(
            f"SELECT {_COLUMNS} FROM {self._rows} WHERE md5path_1 = ? AND md5path_2 = ?",
            path_key(path),
        ).fetchone()
        return CatalogEntry(*row) if row else None

    def listdir(self, path: bytes) -> Iterator[CatalogEntry]:
        """The entries of a directory of this catalog, in the order of their names' bytes."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM {self._rows}"
            " WHERE parent_1 = ? AND parent_2 = ? ORDER BY name",
            path_key(path),
        )
        for row in rows:
            yield CatalogEntry(*row)

    def chunks(self, path: bytes) -> tuple[Chunk, ...]:
        """The chunks of a file, by offset."""
        rows = self._database.execute(
            f"SELECT offset, size, hash FROM {self._chunks}"
            " WHERE md5path_1 = ? AND md5path_2 = ? ORDER BY offset",
            path_key(path),
        )
        return tuple(Chunk(*row) for row in rows)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Every row as it is, in no order: both keys' words, then an `CatalogEntry`'s fields."""
        return self._database.execute(f"SELECT {_KEYS}, {_COLUMNS} FROM {self._rows}")

    def all_chunks(self) -> Iterator[tuple[PathKey, Chunk]]:
        """The chunks of all files, by file and offset."""
        for row in self._database.execute(
            f"SELECT md5path_1, md5path_2, offset, size, hash FROM {self._chunks}"
            " ORDER BY md5path_1, md5path_2, offset"
        ):
            yield row[:2], Chunk(*row[2:])

    def nested_catalogs(self) -> list[NestedCatalog]:
        """The catalogs nested in this one, by mountpoint."""
        return self._references("nested_catalogs")

    def bind_mountpoints(self) -> list[NestedCatalog]:
        """The root catalogs of other revisions that are shown in this one, by mountpoint."""
        return self._references("bind_mountpoints")

    def _references(self, table: str) -> list[NestedCatalog]:
        there = self._columns_of(table)
        if not there:
            return []
        size = "size" if "size" in there else "0"
        rows = self._database.execute(f"SELECT path, sha1, {size} FROM {table} ORDER BY path")
        rations, references = Rations(self.size), []
        for row in rows:
            rations.take(*row)
            references.append(_reference(*row))
        return references

    def objects(self) -> Iterator[StoredObject]:
        """Every object that the bodies of this catalog need, each once."""
        for digest, flags in self._database.execute(
            f"SELECT DISTINCT hash, flags & {STORAGE} FROM {self._rows}"
            f" WHERE hash IS NOT NULL AND flags & {EXTERNAL} = 0"
        ):
            yield StoredObject(digest, flags, Kind.BODY)
        for digest, flags in self._database.execute(
            f"SELECT DISTINCT k.hash, c.flags & {STORAGE} FROM {self._chunks} k JOIN {self._rows} c"
            f" USING (md5path_1, md5path_2) WHERE c.flags & {EXTERNAL} = 0"
        ):
            yield StoredObject(digest, flags, Kind.CHUNK)

    def count(self) -> CatalogCounters:
        """The catalog's own counters, counted."""
        row = self._database.execute(_COUNT % (self._chunks, self._rows)).fetchone()
        return CatalogCounters(tuple(int(value or 0) for value in row))

    def counters(self, scope: str) -> CatalogCounters:
        """The counters as recorded; *scope* is ``self`` or ``subtree``."""
        if not self._has_statistics:
            return CatalogCounters()
        rows = self._database.execute("SELECT counter, value FROM statistics")
        rations, recorded = Rations(self.size), {}
        for name, value in rows:
            rations.take(name, value)
            recorded[name] = value
        values = [recorded.get(f"{scope}_{name}".encode(), 0) for name in COUNTERS]
        if not all(isinstance(value, int) for value in values):
            raise ValueError("its statistics are no numbers")
        return CatalogCounters(tuple(values))

    def totals(self) -> CatalogCounters:
        """What the catalog says of itself and all that is below it."""
        return self.counters("self") + self.counters("subtree")

    def highest_link_group(self) -> int:
        """The highest hard link group in use; 0 if there is none."""
        row = self._database.execute("SELECT max(hardlinks >> 32) FROM catalog").fetchone()
        return row[0] or 0

    # Writing

    def set_property(self, key: str, value: object) -> None:
        """Set a property."""
        text = value if isinstance(value, bytes) else str(value).encode()
        self._database.execute(
            "INSERT OR REPLACE INTO properties VALUES (?, CAST(? AS TEXT))", (key, text)
        )

    def put(self, entries: list[tuple[bytes, CatalogEntry]]) -> None:
        """Insert or replace the entries of paths."""
        self._database.executemany(
            _INSERT, ((*path_key(path), *parent_key(path), *entry) for path, entry in entries)
        )

    def put_chunks(self, path: bytes, chunks: tuple[Chunk, ...]) -> None:
        """Make *chunks* the chunks of a file; an empty tuple removes them."""
        key = path_key(path)
        self._database.execute("DELETE FROM chunks WHERE md5path_1 = ? AND md5path_2 = ?", key)
        self._database.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?)", ((*key, *chunk) for chunk in chunks)
        )

    def remove(self, path: bytes) -> None:
        """Remove the entry of a path."""
        key = path_key(path)
        self._database.execute("DELETE FROM chunks WHERE md5path_1 = ? AND md5path_2 = ?", key)
        self._database.execute("DELETE FROM catalog WHERE md5path_1 = ? AND md5path_2 = ?", key)

    def put_nested(self, nested: NestedCatalog) -> None:
        """Insert or replace the reference to a nested catalog."""
        self._database.execute(
            "INSERT OR REPLACE INTO nested_catalogs VALUES (CAST(? AS TEXT), ?, ?)",
            (nested.mountpoint, str(nested.hash), nested.size),
        )

    def remove_nested(self, mountpoint: bytes) -> None:
        """Remove the reference to a nested catalog."""
        self._database.execute(
            "DELETE FROM nested_catalogs WHERE path = CAST(? AS TEXT)", (mountpoint,)
        )

    def put_counters(self, scope: str, counters: CatalogCounters) -> None:
        """Record counters; *scope* is ``self`` or ``subtree``."""
        self._database.executemany(
            "INSERT OR REPLACE INTO statistics VALUES (?, ?)",
            ((f"{scope}_{name}", value) for name, value in counters.as_dict().items()),
        )


def _reference(path: object, text: object, size: object) -> NestedCatalog:
    size = size or 0  # catalogs of older schemas hold NULL
    if not isinstance(path, bytes) or len(path) > _LONGEST_PATH or not isinstance(size, int):
        raise ValueError(f"not a reference to a catalog: {str(path)[:80]}, {str(size)[:80]}")
    text = os.fsdecode(text) if isinstance(text, bytes) else text
    return NestedCatalog(path, ContentHash.parse(text), size)

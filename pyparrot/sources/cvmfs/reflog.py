"""The reference log ``.cvmfsreflog``: the roots of everything that a repository ever published.

Source: CernVM-FS ``reflog_sql.cc``, schema 1.0. An SQLite file that is stored uncompressed; servers
need it (garbage collection, replicas), clients do not.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from enum import IntEnum
from typing import NamedTuple

from pyparrot.sources.cvmfs.database import Rations, Tables, columns, open_to_read
from pyparrot.sources.cvmfs.hashes import ContentHash

FILE_NAME = ".cvmfsreflog"

_SCHEMA = """
CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
CREATE TABLE refs (hash TEXT, type INTEGER, timestamp INTEGER,
    CONSTRAINT pk_refs PRIMARY KEY (hash));
INSERT INTO properties VALUES ('schema', '1.0');
INSERT INTO properties VALUES ('schema_revision', '0');
"""

_TABLES: Tables = {"refs": columns("hash, type, timestamp")}
"""All that is read."""


class ReferenceType(IntEnum):
    """What a reference points to."""

    CATALOG = 0
    CERTIFICATE = 1
    HISTORY = 2
    METAINFO = 3


class Reference(NamedTuple):
    """An object that was a root, and since when (unix seconds)."""

    hash: ContentHash
    type: ReferenceType
    timestamp: int


def write(file: str, fqrn: str, references: list[Reference]) -> None:
    """Write a reference log to the new *file*."""
    with closing(sqlite3.connect(file)) as database:
        database.executescript("PRAGMA page_size = 1024; PRAGMA journal_mode = OFF;" + _SCHEMA)
        database.execute("INSERT INTO properties VALUES ('fqrn', ?)", (fqrn,))
        database.executemany(
            "INSERT OR IGNORE INTO refs VALUES (?, ?, ?)",
            ((str(r.hash), int(r.type), r.timestamp) for r in references),
        )
        database.commit()


def read(file: str) -> list[Reference]:
    """The references in *file*, as they were added; `BROKEN` or `OSError` if it is no log."""
    references = []
    with closing(open_to_read(file, _TABLES)) as database:
        rations = Rations(database.file_size)
        for row in database.execute("SELECT hash, type, timestamp FROM refs ORDER BY rowid"):
            rations.take(*row)
            text, kind, timestamp = row
            name = ContentHash.parse(os.fsdecode(text) if isinstance(text, bytes) else text)
            references.append(Reference(name, ReferenceType(kind), timestamp))
    return references

"""The history database: a repository's tags.

Source: CernVM-FS ``history_sql.cc``, schema 1.0 revision 3. Small enough to be rewritten whole.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from typing import Any, NamedTuple

from pyparrot.sources.cvmfs.database import Rations, Tables, columns, open_to_read
from pyparrot.sources.cvmfs.hashes import ContentHash

TRUNK = "trunk"
TRUNK_PREVIOUS = "trunk-previous"
AUTOMATIC = (TRUNK, TRUNK_PREVIOUS)
"""The tags that every publication moves; users neither add nor remove them."""

_TABLES: Tables = {"tags": columns("name, hash, revision, timestamp, description, size")}
"""All that is read."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]*")

_SCHEMA = """
CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
CREATE TABLE branches (branch TEXT, parent TEXT, initial_revision INTEGER,
    CONSTRAINT pk_branch PRIMARY KEY (branch),
    FOREIGN KEY (parent) REFERENCES branches (branch),
    CHECK ((branch <> '') OR (parent IS NULL)), CHECK ((branch = '') OR (parent IS NOT NULL)));
CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER,
    description TEXT, size INTEGER, branch TEXT, CONSTRAINT pk_tags PRIMARY KEY (name),
    FOREIGN KEY (branch) REFERENCES branches (branch));
CREATE TABLE recycle_bin (hash TEXT, flags INTEGER, CONSTRAINT pk_hash PRIMARY KEY (hash));
INSERT INTO branches VALUES ('', NULL, 0);
INSERT INTO properties VALUES ('schema', '1.0');
INSERT INTO properties VALUES ('schema_revision', '3');
"""


class Tag(NamedTuple):
    """A named revision: its root catalog's hash and size (bytes), and when it was made (unix)."""

    name: str
    catalog: ContentHash
    revision: int
    timestamp: int
    description: str = ""
    size: int = 0


def valid_name(name: str) -> bool:
    """Whether *name* can be a tag's name: no blanks, nothing that a shell or URL would mangle."""
    return bool(_NAME.fullmatch(name)) and len(name) <= 255


def write(file: str, fqrn: str, tags: list[Tag], previous: ContentHash | None) -> None:
    """Write a history database of *tags* to the new *file*; *previous* is the one it replaces."""
    with closing(sqlite3.connect(file)) as database:
        database.executescript("PRAGMA page_size = 1024; PRAGMA journal_mode = OFF;" + _SCHEMA)
        database.execute("INSERT INTO properties VALUES ('fqrn', ?)", (fqrn,))
        if previous:
            database.execute(
                "INSERT INTO properties VALUES ('previous_revision', ?)", (str(previous),)
            )
        database.executemany(
            "INSERT INTO tags VALUES (?, ?, ?, ?, 0, CAST(? AS TEXT), ?, '')",
            (
                (
                    *(tag.name, str(tag.catalog), tag.revision, tag.timestamp),
                    *(os.fsencode(tag.description), tag.size),
                )
                for tag in tags
            ),
        )
        database.commit()


def read(file: str) -> list[Tag]:
    """The tags in *file*, oldest first; `BROKEN` or `OSError` if it is no history."""
    tags = []
    with closing(open_to_read(file, _TABLES)) as database:
        rows = database.execute(
            "SELECT name, hash, revision, timestamp, description, size FROM tags"
            " ORDER BY revision, timestamp, name"
        )
        rations = Rations(database.file_size)
        for row in rows:
            rations.take(*row)
            tags.append(_tag(*row))
    return tags


def _tag(name: Any, text: Any, revision: Any, timestamp: Any, description: Any, size: Any) -> Tag:
    numbers = (revision, timestamp, size or 0)
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("a tag with a number that can't be")
    description = description or b""
    if not isinstance(name, bytes) or not isinstance(description, bytes):
        raise ValueError("a tag whose name or description is no text")
    catalog = ContentHash.parse(os.fsdecode(text) if isinstance(text, bytes) else text)
    return Tag(os.fsdecode(name), catalog, revision, timestamp, os.fsdecode(description), size or 0)

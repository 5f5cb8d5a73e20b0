"""Opening the SQLite files of the format, which may hold anything.

That a file is signed says who made it, not that it is well meant: a schema can compute without
end, and a damaged or hostile tree of pages can be gone through for ever. So these rules hold for a
database that is read:

- It has plain tables and plain indexes. Views, triggers, virtual tables, generated columns and
  indexes on expressions are refused before anything is read.
- An authorizer lets statements read the tables and columns that the format has, with a few
  functions, and do nothing else.
- No value is longer than `LONGEST_VALUE`. Where Python can't tell SQLite so (before 3.11),
  SQLite's memory as a whole is limited.
- A statement makes so many steps at most, measured by the file's size; and a signal that comes
  meanwhile is heard.

How many rows and how much text there may be, `Rations` says; those who read count.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Mapping
from typing import Any

from pyparrot.tree.damage import open_regular

BROKEN = (sqlite3.Error, MemoryError, OverflowError, TypeError, ValueError)
"""What reading a broken or hostile database may raise. Any value may stand in any column, and
SQLite says of some damage that it is out of memory."""

LONGEST_VALUE = 256 * 1024
"""The most bytes of a value or row; the format's longest, extended attributes, have half of it."""

_MOST_MEMORY = 512 << 20
"""The most bytes that SQLite may use, where single values can't be limited."""

_SHORTEST_ROW = 16
"""The bytes that a row of the format has in a file, at least."""

_SPARE_ROWS = 1000
_SPARE_BYTES = 1 << 20

_STEPS_AT_ONCE = 10_000
"""After how many steps a statement's budget is looked at, and signals are: some 0.2 ms."""

_SPARE_STEPS = 10_000_000
_STEPS_A_BYTE = 2
"""A row takes some 20 steps in each statement, and 60 where it is counted, and has 100 bytes."""

_MOST_TABLES = 100
_FIRST_WITH_HIDDEN_COLUMNS = (3, 26, 0)
_FUNCTIONS = frozenset({"coalesce", "count", "max", "sum", "total"})
_PRAGMAS = frozenset({"freelist_count", "page_count", "page_size", "table_info"})
_SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_schema"})
_PLAIN_PRAGMAS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
    "query_only = ON",
    "temp_store = MEMORY",
    "cache_size = -1024",
)

Tables = Mapping[str, frozenset[str]]
"""The tables that are read, and of each its columns."""


def columns(text: str) -> frozenset[str]:
    """The columns that *text* names, with commas between."""
    return frozenset(map(str.strip, text.split(",")))


class Rations:
    """How many rows and bytes of values a file of *size* bytes can hold.

    An honest file has less of both; pages that are used more than once give more, and who reads
    them without counting has no memory left.
    """

    def __init__(self, size: int) -> None:
        self._rows = self.rows(size)
        self._bytes = self.bytes(size)

    @staticmethod
    def rows(size: int) -> int:
        """The most rows."""
        return _SPARE_ROWS + size // _SHORTEST_ROW

    @staticmethod
    def bytes(size: int) -> int:
        """The most bytes of all values together."""
        return _SPARE_BYTES + size

    def take(self, *values: object) -> None:
        """Count a row with these *values*; `sqlite3.DatabaseError` if it is one too many."""
        self._rows -= 1
        self._bytes -= sum(len(value) for value in values if isinstance(value, (bytes, str)))
        if self._rows < 0 or self._bytes < 0:
            raise sqlite3.DatabaseError("it lists more than its size can hold")


class Database(sqlite3.Connection):
    """A database that must not change and may be hostile. Made by `open_to_read`."""

    file_size = 0
    """The bytes of its file."""

    columns: Tables
    """The columns that the tables have which are read; tables that are not there are left out."""

    _left = 0
    _budget = 0

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As always; each statement has a budget of steps."""
        self._left = self._budget
        return super().execute(*arguments)

    def close(self) -> None:
        """Close the file; `KeyboardInterrupt` if that is what ended the statement before."""
        super().close()
        if self._left > 0 and _was_interrupted(sys.exc_info()[1]):
            raise KeyboardInterrupt

    def guard(self, tables: Tables) -> None:
        """From now on let statements do what this module says, and read *tables* alone."""

        def authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
            allowed = (
                action == sqlite3.SQLITE_SELECT
                or (action == sqlite3.SQLITE_READ and _may_read(tables, first, second))
                or (action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS)
                or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS)
            )
            return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

        self.set_authorizer(authorize)

    def limit(self) -> None:
        """Limit what statements may take, before any of them is run."""
        self._left = self._budget = _SPARE_STEPS + _STEPS_A_BYTE * self.file_size
        self.set_progress_handler(self._go_on, _STEPS_AT_ONCE)
        set_limit = getattr(self, "setlimit", None)
        if set_limit is None:
            sqlite3.Connection.execute(self, f"PRAGMA hard_heap_limit = {_MOST_MEMORY}")
        else:
            for limit, value in _limits().items():
                set_limit(limit, value)
        defensive = getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE", None)
        if defensive is not None:  # from Python 3.12
            getattr(self, "setconfig")(defensive, True)  # noqa: B009
        for pragma in _PLAIN_PRAGMAS:
            sqlite3.Connection.execute(self, f"PRAGMA {pragma}")

    def _go_on(self) -> int:
        """0 if the statement may go on. Python runs what signals ask for in here, too."""
        self._left -= _STEPS_AT_ONCE
        return int(self._left < 0)


def _limits() -> dict[int, int]:
    return {
        sqlite3.SQLITE_LIMIT_LENGTH: LONGEST_VALUE,
        sqlite3.SQLITE_LIMIT_SQL_LENGTH: 16384,
        sqlite3.SQLITE_LIMIT_COLUMN: 100,
        sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 50,
        sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 2,
        sqlite3.SQLITE_LIMIT_VDBE_OP: 25000,
        sqlite3.SQLITE_LIMIT_ATTACHED: 0,
        sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
        sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
    }


def _may_read(tables: Tables, table: str | None, column: str | None) -> bool:
    if table in _SCHEMA_TABLES:
        return True
    # No column is named where rows are only counted; a subquery has no table of the file.
    return table in tables and (column in {"", "ROWID"} or column in tables[table or ""])


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether *error* comes from a statement that was ended, though its budget was not spent.

    What a signal's handler raises while SQLite runs, Python drops: this is what is left of it.
    """
    while error is not None:
        if isinstance(error, sqlite3.OperationalError) and str(error) == "interrupted":
            return True
        error = error.__context__
    return False


def open_to_read(file: str, tables: Tables) -> Database:
    """A database that must not change, of which *tables* are read, as far as they are there.

    `sqlite3.Error` if it is none, or more than plain tables and indexes; `OSError` if its file
    can't be read.
    """
    from urllib.parse import quote

    size = _readable_size(file)
    name = f"file:{quote(os.fsencode(file))}?mode=ro&immutable=1"
    database = sqlite3.connect(name, uri=True, factory=Database)
    try:
        database.text_factory = bytes
        database.file_size = size
        database.limit()
        database.columns = _plain_columns(database, tables)
        database.guard(database.columns)
    except UnicodeDecodeError:  # SQLite quotes from the file, whatever is in it
        database.close()
        raise sqlite3.DatabaseError("not a database that can be read") from None
    except BaseException:
        database.close()
        raise
    return database


def _readable_size(file: str) -> int:
    """The bytes of a regular file; `OSError` with a reason, which SQLite does not give, if it is
    none or can't be read. (To open a pipe it would wait for ever.)"""
    with open_regular(file) as stream:
        return os.fstat(stream.fileno()).st_size


def _plain_columns(database: Database, tables: Tables) -> Tables:
    """The columns of *tables* that are there; `sqlite3.DatabaseError` if the schema is odd."""
    query = f"SELECT type, name, rootpage FROM sqlite_master LIMIT {_MOST_TABLES + 1}"
    rows = database.execute(query).fetchall()
    if len(rows) > _MOST_TABLES:
        raise sqlite3.DatabaseError("it has more tables than there can be")
    for kind, name, root in rows:
        # What is no B-tree of its own has no page either: a view, a trigger, a virtual table.
        if kind not in (b"table", b"index") or not root:
            raise sqlite3.DatabaseError("it has more than tables and indexes")
        if kind == b"index":
            _check_index(database, name)
    there = {bytes(name) for kind, name, _ in rows if kind == b"table"}
    return {
        table: known & _columns(database, table)
        for table, known in tables.items()
        if table.encode() in there
    }


def _check_index(database: Database, name: bytes) -> None:
    quoted = name.decode().replace('"', '""')
    # A column of -2 is an expression, -1 the row's number.
    if any(row[1] < -1 for row in database.execute(f'PRAGMA index_xinfo("{quoted}")')):
        raise sqlite3.DatabaseError("it has an index on an expression")


def _columns(database: Database, table: str) -> frozenset[str]:
    """The columns of a table; `sqlite3.DatabaseError` if one of them is computed."""
    shows_hidden = sqlite3.sqlite_version_info >= _FIRST_WITH_HIDDEN_COLUMNS
    rows = database.execute(f"PRAGMA {'table_xinfo' if shows_hidden else 'table_info'}({table})")
    found = set()
    for row in rows:
        if shows_hidden and row[6] != 0:
            raise sqlite3.DatabaseError(f"table {table} has a column that is computed")
        found.add(os.fsdecode(row[1]))
    return frozenset(found)

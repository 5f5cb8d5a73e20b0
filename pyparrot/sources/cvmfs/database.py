"""Opening the SQLite files of the format."""

from __future__ import annotations

import os
import sqlite3

BROKEN = (sqlite3.Error, MemoryError, OverflowError, TypeError, ValueError)
"""What reading a broken or hostile database may raise. Any value may stand in any column, and
SQLite says of some damage that it is out of memory."""


def open_to_read(file: str) -> sqlite3.Connection:
    """A database that must not change; `sqlite3.Error` if it is none.

    It has tables only: a view or a virtual table could compute without end.
    """
    from urllib.parse import quote

    name = f"file:{quote(os.fsencode(file))}?mode=ro&immutable=1"
    database = sqlite3.connect(name, uri=True)
    try:
        # What is no B-tree of its own has no page either.
        other = database.execute("SELECT type FROM sqlite_master WHERE coalesce(rootpage, 0) = 0")
        if other.fetchone():
            raise sqlite3.DatabaseError("it has more than tables and indexes")
    except UnicodeDecodeError:  # SQLite quotes from the file, whatever is in it
        database.close()
        raise sqlite3.DatabaseError("not a database that can be read") from None
    except BaseException:
        database.close()
        raise
    return database

"""Opening the SQLite files of the format."""

from __future__ import annotations

import os
import sqlite3


def open_to_read(file: str) -> sqlite3.Connection:
    """A database that nobody changes; `sqlite3.Error` if it can't be opened."""
    from urllib.parse import quote

    return sqlite3.connect(f"file:{quote(os.fsencode(file))}?mode=ro&immutable=1", uri=True)

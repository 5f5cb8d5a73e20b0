"""SQLite files that are signed and hostile: refused in one line, soon, with little memory."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from pyparrot.sources.cvmfs import catalog, history, reflog
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry, Chunk
from pyparrot.sources.cvmfs.database import BROKEN, Rations, columns, open_to_read
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.indexing import build_index
from pyparrot.tree.index import ROOT_HASH, BadIndexError

NAME = Algorithm.SHA1.of(b"a catalog")
ROOT = CatalogEntry(b"", 1, 0o040755, 4096, 7, None, 0, 0)
FILE = CatalogEntry(b"f", 4, 0o100644, 5, 8, None, 1, 2, digest=NAME.digest)
LIMIT = 60.0
PAGE = 1024


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A good catalog."""
    path = str(tmp_path / "catalog")
    with closing(Catalog.create(path)) as opened:
        opened.set_property("revision", 3)
        opened.put([(b"", ROOT), (b"/f", FILE)])
    return path


def change(file: str, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as opened:
        for statement in statements:
            opened.execute(statement)
        opened.commit()


def index(file: str) -> None:
    """Do with a catalog what is done with it when it is mounted."""
    output = f"{file}.index"
    with closing(Catalog.open(file)) as opened:
        build_index(opened, NAME, b"", ROOT_HASH, output)
    os.unlink(output)


def count(file: str) -> None:
    with closing(Catalog.open(file)) as opened:
        opened.count()
        opened.totals()
        list(opened.objects())
        list(opened.listdir(b""))


# Schemas that compute

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(x) FROM n"

GENERATED = {
    "what takes long": "instr(zeroblob(40000000), x'01')",
    "what takes memory": "length(hex(zeroblob(40000000)))",
    "anything": "1",
}


def with_column(column: str, extra: str) -> tuple[str, ...]:
    """The table of entries with another column in place of *column*."""
    kept = [name for name in database_columns() if name != column]
    return (
        "ALTER TABLE catalog RENAME TO old",
        f"CREATE TABLE catalog ({', '.join(kept)}, {extra})",
        f"INSERT INTO catalog ({', '.join(kept)}) SELECT {', '.join(kept)} FROM old",
        "DROP TABLE old",
    )


def database_columns() -> list[str]:
    return sorted(catalog._TABLES["catalog"])


HAS_LIMITS = hasattr(sqlite3.Connection, "setlimit")

SCHEMAS: dict[str, tuple[tuple[str, ...], str]] = {
    **{
        f"a {kind} column: {what}": (
            with_column("size", f"size INTEGER GENERATED ALWAYS AS ({expression}) {kind}"),
            "computed",
        )
        for what, expression in GENERATED.items()
        for kind in ("VIRTUAL",)
    },
    "a stored column": (with_column("xattr", "xattr AS (zeroblob(9)) STORED"), "computed"),
    "a view": (("DROP TABLE chunks", f"CREATE VIEW chunks AS {ENDLESS}"), "more than tables"),
    "a view beside": ((f"CREATE VIEW other AS {ENDLESS}",), "more than tables"),
    "a trigger": (
        ("CREATE TRIGGER t AFTER INSERT ON catalog BEGIN DELETE FROM catalog; END",),
        "more than tables",
    ),
    "a virtual table": (
        ("DROP TABLE chunks", "CREATE VIRTUAL TABLE chunks USING fts4(hash)"),
        "more than tables",
    ),
    "an index on an expression": (
        ("CREATE INDEX odd ON catalog (length(hex(name)))",),
        "an index on an expression",
    ),
    "many tables": (
        tuple(f"CREATE TABLE t{number} (a)" for number in range(200)),
        "more tables than",
    ),
    "many columns": (
        (f"CREATE TABLE wide ({', '.join(f'c{number}' for number in range(500))})",),
        "too many columns|malformed",
    ),
    "a long schema": (
        (f"CREATE TABLE long (a CHECK (a <> '{'x' * 100_000}'))",),
        "too big|malformed",
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_that_compute(name: str, file: str) -> None:
    if name in ("many columns", "a long schema") and not HAS_LIMITS:
        pytest.skip("SQLite's own limits can be set from Python 3.11 on; memory is limited instead")
    statements, says = SCHEMAS[name]
    change(file, *statements)
    begin = time.thread_time()
    tracemalloc.start()
    try:
        with pytest.raises(BROKEN, match=says):
            index(file)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert time.thread_time() - begin < 2


@pytest.mark.parametrize("read", [history.read, reflog.read])
def test_other_databases_that_compute(read: object, tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    table = {"history": "tags", "reflog": "refs"}
    assert callable(read)
    if read is history.read:
        history.write(file, "sw.example.org", [], None)
    else:
        reflog.write(file, "sw.example.org", [])
    read(file)
    name = table["history" if read is history.read else "reflog"]
    change(file, f"ALTER TABLE {name} ADD COLUMN extra AS (instr(zeroblob(40000000), x'01'))")
    with pytest.raises(BROKEN, match="computed"):
        read(file)


def test_statements_may_only_read(file: str) -> None:
    with closing(open_to_read(file, {"catalog": columns("name, size")})) as opened:
        assert opened.execute("SELECT max(size) FROM catalog").fetchone() == (4096,)
        for statement in (
            "SELECT mode FROM catalog",  # not one of the columns
            "SELECT value FROM properties",  # not one of the tables
            "SELECT zeroblob(5)",
            "SELECT hex(name) FROM catalog",
            "SELECT load_extension('x')",
            "PRAGMA writable_schema = ON",
            "PRAGMA trusted_schema = ON",
            "ATTACH ':memory:' AS other",
            "CREATE TEMP TABLE t (a)",
            "DELETE FROM catalog",
            ENDLESS,
        ):
            with pytest.raises(sqlite3.DatabaseError, match=r"prohibited|not authorized|readonly"):
                opened.execute(statement)


# Values, rows and pages


@pytest.mark.skipif("not HAS_LIMITS", reason="from Python 3.11 on; else see below")
def test_a_long_value(file: str) -> None:
    """Some MB in the file, of which nobody needs to make a copy."""
    change(file, "UPDATE catalog SET symlink = zeroblob(50000000) WHERE name = 'f'")
    tracemalloc.start()
    try:
        with pytest.raises(BROKEN, match="too big"):
            index(file)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


_WITH_LITTLE_MEMORY = """
import sqlite3, sys
from pyparrot.sources.cvmfs import database
class Old(database.Database):  # as before Python 3.11
    setlimit = None
database.Database = Old
database._MOST_MEMORY = 8 << 20
try:
    with database.open_to_read(sys.argv[1], {"catalog": database.columns("symlink")}) as opened:
        opened.execute("SELECT symlink FROM catalog").fetchall()
except database.BROKEN as error:
    sys.exit(type(error).__name__)
"""


def test_a_long_value_where_lengths_cannot_be_limited(file: str) -> None:
    """The limit of memory is one for the whole process: this needs one of its own."""
    words = [sys.executable, "-c", _WITH_LITTLE_MEMORY, file]
    done = subprocess.run(words, capture_output=True, timeout=LIMIT, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    change(file, "UPDATE catalog SET symlink = zeroblob(50000000) WHERE name = 'f'")
    done = subprocess.run(words, capture_output=True, timeout=LIMIT, check=False, text=True)
    assert (done.returncode, done.stderr) == (1, "MemoryError\n")


def rows_again_and_again(file: str, levels: int) -> None:
    """Make the tree of pages of the table of entries one whose branches all lead to one page.

    An inner page with two cells gives three times the rows of the page below, so *levels* of them
    give 3 ** *levels* times as many rows, in as many pages as there are levels.
    """
    change(file, "DROP INDEX idx_catalog_parent", "VACUUM")
    with closing(sqlite3.connect(file)) as opened:
        query = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = 'catalog'"
        [root] = opened.execute(query).fetchone()
    content = bytearray(Path(file).read_bytes())
    pages = len(content) // PAGE
    leaf = content[(root - 1) * PAGE : root * PAGE]
    assert leaf[0] == 13
    for level in range(levels):
        # Page number of the next one; the last of all is the leaf.
        child = pages + 1 + level
        page = _inner_page(child)
        if level == 0:
            content[(root - 1) * PAGE : root * PAGE] = page
        else:
            content += page
    content += leaf
    content[28:32] = (len(content) // PAGE).to_bytes(4, "big")
    Path(file).write_bytes(content)


def _inner_page(child: int) -> bytes:
    cell = child.to_bytes(4, "big") + b"\x01"
    cells = [PAGE - 5, PAGE - 10]
    head = b"\x05\0\0" + len(cells).to_bytes(2, "big") + cells[-1].to_bytes(2, "big") + b"\0"
    head += child.to_bytes(4, "big") + b"".join(cell.to_bytes(2, "big") for cell in cells)
    return head + bytes(PAGE - 10 - len(head)) + cell * 2


@pytest.mark.parametrize("use", [index, count])
def test_pages_that_are_used_again_and_again(use: object, file: str) -> None:
    """3 ** 18 times the same two rows: they are counted, and so are the steps to get them."""
    assert callable(use)
    rows_again_and_again(file, 18)
    assert os.path.getsize(file) < 100 * PAGE
    begin = time.thread_time()
    with pytest.raises(BROKEN, match=r"interrupted|more than its size can hold"):
        use(file)
    assert time.thread_time() - begin < 5


def test_few_pages_that_are_used_again(file: str) -> None:
    """What is not endless is still more than a file of that size can hold."""
    rows_again_and_again(file, 8)
    with pytest.raises(BadIndexError, match="more than its size can hold"):
        index(file)


def test_rations() -> None:
    rations = Rations(0)
    for _ in range(1000):
        rations.take(b"x", None, 5, "y")
    with pytest.raises(sqlite3.DatabaseError, match="more than its size"):
        rations.take()
    rations = Rations(100)
    rations.take(b"x" * ((1 << 20) + 100))
    with pytest.raises(sqlite3.DatabaseError, match="more than its size"):
        rations.take(b"x")


def test_names_that_clash(tmp_path: Path) -> None:
    """Names that were chosen so that all their hashes begin at the same place of the table."""
    from pyparrot.core import lib

    entries = 1000
    mask = 2047
    names: list[bytes] = []
    number = 0
    while len(names) < entries:
        name = b"%x" % number
        number += 1
        if lib.pp_path_hash(ROOT_HASH, b"/" + name, len(name) + 1) & mask < 4:
            names.append(name)
    path = str(tmp_path / "catalog")
    with closing(Catalog.create(path)) as opened:
        opened.set_property("revision", 3)
        opened.put([(b"", ROOT), *((b"/" + n, FILE._replace(name=n)) for n in names)])
    with pytest.raises(BadIndexError, match="chosen to clash"):
        index(path)


# Signals

_INTERRUPTED = """
import signal, sys, threading, time
sys.path.insert(0, sys.argv[2])
from contextlib import closing
from pyparrot.sources.cvmfs import database
from pyparrot.sources.cvmfs.catalog import Catalog
database._SPARE_STEPS = 1 << 60
timer = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
timer.start()
try:
    with closing(Catalog.open(sys.argv[1])) as opened:
        try:
            opened.count()
        except database.BROKEN as error:
            raise ValueError(str(error)) from None
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_signal_is_heard(file: str) -> None:
    """Also within one statement that gives no row for a long time."""
    rows_again_and_again(file, 19)
    words = [sys.executable, "-c", _INTERRUPTED, file, os.getcwd()]
    begin = time.monotonic()
    done = subprocess.run(words, capture_output=True, timeout=LIMIT, check=False, text=True)
    assert (done.returncode, done.stderr) == (130, ""), done
    assert time.monotonic() - begin < 20


# Files that are none


@pytest.mark.parametrize("kind", ["directory", "pipe", "dangling link", "nothing"])
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "catalog"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    with pytest.raises(OSError, match="catalog") as caught:
        Catalog.open(str(path))
    assert caught.value.filename == str(path)


STATISTICS = {
    "no name": "INSERT INTO statistics VALUES (NULL, 1)",
    "a number for a name": "INSERT INTO statistics VALUES (5, 1)",
    "text": "INSERT INTO statistics VALUES ('self_regular', 'many')",
    "bytes": "INSERT INTO statistics VALUES ('self_regular', x'00')",
    "nothing": "INSERT INTO statistics VALUES ('self_regular', NULL)",
    "a fraction": "INSERT INTO statistics VALUES ('self_regular', 1.5)",
}


@pytest.mark.parametrize("name", STATISTICS)
def test_odd_statistics(name: str, file: str) -> None:
    change(file, STATISTICS[name])
    with closing(Catalog.open(file)) as opened:
        try:
            assert all(isinstance(value, int) for value in opened.totals().values)
        except BROKEN:
            assert "name" not in name


@pytest.mark.parametrize("column", ["name", "hash", "revision", "timestamp", "description", "size"])
@pytest.mark.parametrize("value", ["NULL", "1.5", "x'ff'", "'text'", "-1", "1"])
def test_odd_tags(column: str, value: str, tmp_path: Path) -> None:
    file = str(tmp_path / "history")
    tags = [history.Tag("v1", NAME, 3, 4, "text", 5)]
    history.write(file, "sw.example.org", tags, None)
    change(file, f"UPDATE tags SET {column} = {value}")
    try:
        [tag] = history.read(file)
    except BROKEN:
        return
    assert isinstance(tag.name, str)
    assert isinstance(tag.description, str)
    assert all(isinstance(number, int) for number in (tag.revision, tag.timestamp, tag.size))


def test_chunks_are_counted(file: str) -> None:
    with closing(Catalog.open_to_write(file)) as opened:
        opened.put_chunks(b"/f", tuple(Chunk(n, 1, NAME.digest) for n in range(50)))
    index(file)

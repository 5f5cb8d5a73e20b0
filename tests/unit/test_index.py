"""Index files: what is built from a catalog is what is read again, and nothing hostile crashes."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Callable

import pytest

from pyparrot.core import lib
from pyparrot.errors import PyparrotError
from pyparrot.sources.cvmfs import catalog_rows as catalogs
from pyparrot.sources.cvmfs import xattrs
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import (
    CatalogEntry,
    Chunk,
    NestedCatalog,
    path_key,
)
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.handles import Body, catalog_handle
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.indexing import build_index
from pyparrot.tree.entries import HIDDEN, Node, pack_attributes, unpack_attributes
from pyparrot.tree.index import ROOT_HASH, BadIndexError, Index
from pyparrot.tree.snapshot import Found, Missing, Snapshot

NAME = Algorithm.SHA1.of(b"a catalog")
MOUNTPOINT = b"/cvmfs/test.example.org"

Tree = dict[bytes, CatalogEntry]

DIRECTORY = CatalogEntry(b"", catalogs.DIRECTORY, stat.S_IFDIR | 0o755, 4096, 7, None, 0, 0)
FILE = CatalogEntry(b"", catalogs.FILE, stat.S_IFREG | 0o644, 5, 8, 9, 1, 2, digest=NAME.digest)
LINK = CatalogEntry(b"", catalogs.SYMLINK, stat.S_IFLNK | 0o777, 1, 8, None, 0, 0, symlink=b"f")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


def named(path: bytes, entry: CatalogEntry) -> tuple[bytes, CatalogEntry]:
    return path, entry._replace(name=path.rpartition(b"/")[2])


def write(work: Path, tree: Tree, properties: dict[str, int] | None = None) -> str:
    file = str(work / "catalog")
    with closing(Catalog.create(file)) as made:
        made.put([named(path, entry) for path, entry in {b"": DIRECTORY, **tree}.items()])
        for path, entry in tree.items():
            if entry.is_nested:
                made.put_nested(NestedCatalog(path, NAME, 1))
        for key, value in (properties or {}).items():
            made.set_property(key, value)
    return file


def index_of(file: str, output: str | None = None) -> Index:
    output = output or file + ".index"
    with closing(Catalog.open(file)) as opened:
        build_index(opened, NAME, b"", ROOT_HASH, output)
    return Index(output)


def made(work: Path, tree: Tree) -> tuple[Index, Snapshot]:
    index = index_of(write(work, tree))
    return index, Snapshot(index, MOUNTPOINT, {})


def looked_up(snapshot: Snapshot, path: bytes) -> Node:
    outcome = snapshot.walk(path, follow=False)
    assert isinstance(outcome, Found), (path, outcome)
    assert outcome.path == path
    return outcome.node


def children(snapshot: Snapshot, path: bytes) -> list[bytes]:
    found = snapshot.walk(path)
    assert isinstance(found, Found)
    return [node.name for node in found.holder.children(found.record)]


# What is built is what is read


def a_name(chance: random.Random) -> bytes:
    length = chance.choice([1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 100, 254, 255])
    while True:
        kind = chance.choice([b"ab", b"abcdefghijklmnopqrstuvwxyz.-_0123456789", bytes(range(256))])
        name = bytes(chance.choices(kind, k=length)).replace(b"/", b"%").replace(b"\0", b"0")
        if name not in (b".", b".."):
            return name


def an_entry(chance: random.Random) -> CatalogEntry:
    algorithm = chance.choice(list(Algorithm))
    compression = chance.choice(list(Compression))
    stored = catalogs.storage_flags(algorithm, compression)
    kind = chance.choice(["file", "file", "link", "directory", "directory", "chunked", "special"])
    common: dict[str, Any] = {
        "mtime": chance.choice([0, -1, 1_700_000_000, 1 << 40]),
        "mtime_ns": chance.choice([None, 0, 999_999_999]),
        "uid": chance.choice([0, 1, 65534, 0xFFFFFFFF]),
        "gid": chance.choice([0, 1, 65534, 0xFFFFFFFF]),
        "xattr": chance.choice([None, None, xattrs.pack({b"user.x": chance.randbytes(20)})]),
        "hardlinks": chance.choice([1, 2, 70000]),
    }
    hidden = chance.choice([0, 0, 0, catalogs.HIDDEN])
    if kind == "directory":
        return DIRECTORY._replace(flags=catalogs.DIRECTORY | hidden, **common)
    if kind == "link":
        target = chance.choice([b"x", b"../" * 9, b"$(A)/b", b"t" * 4095, b"\xff"])
        return LINK._replace(flags=catalogs.SYMLINK | hidden, symlink=target, **common)
    if kind == "special":
        mode = chance.choice([stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK]) | 0o600
        flags = catalogs.FILE | catalogs.SPECIAL | hidden
        return FILE._replace(flags=flags, mode=mode, size=0x0801, digest=None, **common)
    flags = catalogs.FILE | stored | hidden
    size = chance.choice([0, 1, 1 << 33, (1 << 63) - 1])
    if kind == "chunked":
        return FILE._replace(flags=flags | catalogs.CHUNKED, size=80, digest=None, **common)
    flags |= chance.choice([0, catalogs.EXTERNAL])
    mode = stat.S_IFREG | chance.choice([0o644, 0o4755, 0o7777, 0])
    return FILE._replace(flags=flags, mode=mode, size=size, digest=chance.randbytes(20), **common)


def a_tree(chance: random.Random, count: int) -> Tree:
    tree: Tree = {}
    directories = [b""]
    while len(tree) < count:
        path = chance.choice(directories) + b"/" + a_name(chance)
        if path in tree or len(path) > 4000:
            continue
        tree[path] = an_entry(chance)
        if tree[path].is_directory:
            directories.append(path)
    return tree


def the_chunks(path: bytes) -> tuple[Chunk, ...]:
    digest = Algorithm.SHA1.of(path).digest
    return (Chunk(0, 30, digest), Chunk(30, 49, digest[::-1]), Chunk(79, 1, digest))


@pytest.mark.parametrize("seed", range(8))
def test_every_entry_is_found_with_every_field(work: Path, seed: int) -> None:
    chance = random.Random(seed)
    tree = a_tree(chance, 200)
    file = write(work, tree, {"revision": 1 << 40, "TTL": 900})
    chunked = [path for path, entry in tree.items() if entry.is_chunked]
    with closing(Catalog.open_to_write(file)) as opened:
        for path in chunked:
            opened.put_chunks(path, the_chunks(path))
    index = index_of(file)
    snapshot = Snapshot(index, MOUNTPOINT, {})
    assert (index.entries, index.revision, index.ttl) == (len(tree) + 1, 1 << 40, 900)
    assert (index.handle, index.root_hash) == (catalog_handle(NAME), ROOT_HASH)
    for path, entry in tree.items():
        node = looked_up(snapshot, path)
        assert (node.name, node.mode, node.size) == (
            path.rpartition(b"/")[2],
            entry.mode,
            entry.size,
        )
        assert node.mtime == entry.mtime * 10**9 + (entry.mtime_ns or 0)
        assert (node.uid, node.gid, node.nlink) == (entry.uid, entry.gid, entry.link_count)
        assert node.target == entry.symlink
        attributes = xattrs.unpack(entry.xattr) if entry.xattr else {}
        assert unpack_attributes(node.attributes) == attributes
        if stat.S_ISREG(node.mode):
            assert Body.of(node) == Body(
                entry.size,
                entry.algorithm,
                entry.compression,
                entry.digest,
                the_chunks(path) if entry.is_chunked else (),
                bool(entry.flags & catalogs.EXTERNAL),
            )
        else:
            assert node.handle == b""
        assert bool(node.flags & HIDDEN) == bool(entry.flags & catalogs.HIDDEN)
        assert bool(node.flags & lib.PP_VARIANT) == (b"$(" in entry.symlink)


@pytest.mark.parametrize("seed", range(3))
def test_names_that_are_not_there(work: Path, seed: int) -> None:
    chance = random.Random(seed)
    tree = a_tree(chance, 100)
    _, snapshot = made(work, tree)
    for path in tree:
        for other in (path + b"x", path[:-1], path + b"/x", b"/x" + path, path[:-1] + b"\xfe"):
            if other in tree or other.rstrip(b"/") in (b"", *tree) or other.endswith((b"/", b".")):
                continue
            outcome = snapshot.walk(other, follow=False)
            parent = other.rpartition(b"/")[0]
            if not parent or (parent in tree and tree[parent].is_directory):
                assert isinstance(outcome, Missing), (other, outcome)
            else:
                assert not isinstance(outcome, Found) or outcome.path != other


@pytest.mark.parametrize("seed", range(3))
def test_listing_is_in_the_order_of_the_bytes_without_hidden_names(work: Path, seed: int) -> None:
    tree = a_tree(random.Random(seed), 200)
    _, snapshot = made(work, tree)
    for directory in [b"", *(path for path, entry in tree.items() if entry.is_directory)]:
        below = [
            path.rpartition(b"/")[2]
            for path, entry in tree.items()
            if path.rpartition(b"/")[0] == directory and not entry.flags & catalogs.HIDDEN
        ]
        assert children(snapshot, directory) == sorted(below)


def test_hidden_names_are_looked_up(work: Path) -> None:
    hidden = FILE._replace(flags=catalogs.FILE | catalogs.HIDDEN)
    _, snapshot = made(work, {b"/.hidden": hidden, b"/seen": FILE})
    assert looked_up(snapshot, b"/.hidden").size == FILE.size
    assert children(snapshot, b"") == [b"seen"]


def test_an_empty_directory_and_an_empty_catalog(work: Path) -> None:
    index, snapshot = made(work, {})
    assert (index.entries, children(snapshot, b"")) == (1, [])
    assert isinstance(snapshot.walk(b"/x"), Missing)


def test_a_directory_before_others_is_empty(work: Path) -> None:
    """Its first child's place is that of somebody else's."""
    _, snapshot = made(work, {b"/a": DIRECTORY, b"/b": DIRECTORY, b"/b/f": FILE})
    assert children(snapshot, b"/a") == []
    assert children(snapshot, b"/b") == [b"f"]
    assert isinstance(snapshot.walk(b"/a/f"), Missing)


def test_many_entries_in_one_directory(work: Path) -> None:
    names = [b"%d" % number for number in range(50_000)]
    _, snapshot = made(work, {b"/" + name: FILE for name in names})
    assert children(snapshot, b"") == sorted(names)
    inodes = {looked_up(snapshot, b"/" + name).inode for name in names}
    assert len(inodes) == len(names)
    for name in names:
        assert isinstance(snapshot.walk(b"/" + name + b"."), Missing)


def test_hard_links_share_an_inode_in_their_group_alone(work: Path) -> None:
    first, second = FILE._replace(hardlinks=1 << 32 | 2), FILE._replace(hardlinks=2 << 32 | 2)
    tree = {b"/a": first, b"/b": first, b"/c": second, b"/d": second, b"/e": FILE}
    _, snapshot = made(work, tree)
    inode = {path: looked_up(snapshot, path).inode for path in tree}
    assert inode[b"/a"] == inode[b"/b"] != inode[b"/c"] == inode[b"/d"]
    assert len(set(inode.values())) == 3
    assert looked_up(snapshot, b"/a").nlink == 2


def test_inodes_are_the_same_in_every_build(work: Path) -> None:
    tree = a_tree(random.Random(1), 1000)
    file = write(work, tree)
    one, two = (Snapshot(index_of(file, f"{file}.{n}"), MOUNTPOINT, {}) for n in (1, 2))
    inodes = [looked_up(one, path).inode for path in (b"", *tree)]
    assert inodes == [looked_up(two, path).inode for path in (b"", *tree)]
    assert len(set(inodes)) == len(inodes)
    assert all(0 < inode < 1 << 63 for inode in inodes)
    assert Path(f"{file}.1").read_bytes() == Path(f"{file}.2").read_bytes()


MALFORMED = {
    "cut off": (b"\1\2\1\1ab\1\1c", {b"a": b"b"}),
    "bytes behind": (b"\1\1\1\1abx", {b"a": b"b"}),
    "another version": (b"\2\1\1\1ab", {}),
    "one byte": (b"\1", {}),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_attributes_that_are_malformed_are_known_to_be(work: Path, what: str) -> None:
    """The catalog is good for the rest; what can be read of them is what programs see."""
    blob, readable = MALFORMED[what]
    _, snapshot = made(work, {b"/f": FILE._replace(xattr=blob), b"/g": FILE})
    packed = looked_up(snapshot, b"/f").attributes
    assert packed.startswith(pack_attributes(readable))
    with pytest.raises(ValueError, match="ends early"):
        unpack_attributes(packed)
    assert looked_up(snapshot, b"/g").attributes == b""


def test_an_existing_file_is_not_written_to(work: Path) -> None:
    file = write(work, {})
    (work / "there").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        index_of(file, str(work / "there"))
    assert (work / "there").read_bytes() == b"precious"


# Hostile catalogs

Change = Callable[[sqlite3.Connection], object]


def entry_with(name: bytes, entry: CatalogEntry = FILE, key: bytes | None = None) -> Change:
    """A change that adds *entry* to the root, under the key of another path if *key* is given."""

    def change(database: sqlite3.Connection) -> None:
        row = path_key(b"/" + name if key is None else key), path_key(b"")
        # TEXT, whatever the bytes: a NUL would end it otherwise, and some are not UTF-8.
        marks = "?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?"
        columns = (
            "name, flags, mode, size, mtime, mtimens, uid, gid, hardlinks, hash, symlink, xattr"
        )
        database.execute(
            "INSERT INTO catalog (md5path_1, md5path_2, parent_1, parent_2,"
            f" {columns}) VALUES ({marks})",
            (*row[0], *row[1], *entry._replace(name=name)),
        )

    return change


def run(statement: str, *values: object) -> Change:
    return lambda database: database.execute(statement, values)


def both(*changes: Change) -> Change:
    def change(database: sqlite3.Connection) -> None:
        for each in changes:
            each(database)

    return change


def column(name: str, value: object) -> Change:
    """A change of one column of the file ``/f``."""
    return run(f"UPDATE catalog SET {name} = ? WHERE name = 'f'", value)


NESTED = DIRECTORY._replace(flags=catalogs.DIRECTORY | catalogs.NESTED_MOUNTPOINT)
BOUND = DIRECTORY._replace(flags=catalogs.DIRECTORY | catalogs.BIND_MOUNTPOINT)
CHUNKED = FILE._replace(flags=catalogs.FILE | catalogs.CHUNKED, digest=None)
SPECIAL = catalogs.FILE | catalogs.SPECIAL
ROOT_KEY = path_key(b"")


def chunk_of(*values: object) -> Change:
    return both(
        entry_with(b"chunked", CHUNKED),
        run("INSERT INTO chunks VALUES (?, ?, ?, ?, ?)", *path_key(b"/chunked"), *values),
    )


HOSTILE: dict[str, Change] = {
    "no name": entry_with(b"", key=b"a"),
    "dot": entry_with(b"."),
    "dot dot": entry_with(b".."),
    "slash": entry_with(b"a/b", key=b"a"),
    "only a slash": entry_with(b"/"),
    "NUL": entry_with(b"a\0b"),
    "NUL at the end": entry_with(b"a\0"),
    "256 bytes": entry_with(b"n" * 256),
    "100,000 bytes": entry_with(b"n" * 100_000),
    "a name twice": entry_with(b"f", key=b"other"),
    "root below itself": run(
        "UPDATE catalog SET parent_1 = ?, parent_2 = ? WHERE name = ''", *ROOT_KEY
    ),
    "named root below itself": both(
        run("UPDATE catalog SET parent_1 = ?, parent_2 = ?, name = 'r' WHERE name = ''", *ROOT_KEY)
    ),
    "no root": run("DELETE FROM catalog WHERE name = ''"),
    "nothing": run("DELETE FROM catalog"),
    "the root is a file": run(
        "UPDATE catalog SET mode = ?, flags = 4 WHERE name = ''", stat.S_IFREG
    ),
    "the root's flags say file": run("UPDATE catalog SET flags = 4 WHERE name = ''"),
    "directory by mode": column("mode", stat.S_IFDIR | 0o755),
    "directory by flags": column("flags", catalogs.DIRECTORY),
    "symlink by mode": column("mode", stat.S_IFLNK),
    "symlink by flags": column("flags", catalogs.SYMLINK),
    "special by mode": column("mode", stat.S_IFIFO),
    "special by flags": column("flags", SPECIAL),
    "no type": column("mode", 0o644),
    "huge mode": column("mode", 1 << 40),
    "negative mode": column("mode", -1),
    "negative size": column("size", -1),
    "negative nanoseconds": column("mtimens", -1),
    "huge nanoseconds": column("mtimens", 1 << 40),
    "short hash": column("hash", b"short"),
    "long hash": column("hash", bytes(21)),
    "NUL in a target": entry_with(b"l", LINK._replace(symlink=b"a\0b")),
    "target of 4096 bytes": entry_with(b"l", LINK._replace(symlink=b"t" * 4096)),
    "target of 70,000 bytes": entry_with(b"l", LINK._replace(symlink=b"t" * 70_000)),
    "no reference to a nested catalog": entry_with(b"n", NESTED),
    "no reference to a bound catalog": entry_with(b"n", BOUND),
    "nested hash is none": both(
        entry_with(b"n", NESTED), run("INSERT INTO nested_catalogs VALUES ('/n', 'no hash', 1)")
    ),
    "nested hash is NULL": both(
        entry_with(b"n", NESTED), run("INSERT INTO nested_catalogs VALUES ('/n', NULL, 1)")
    ),
    "nested hash is a number": both(
        entry_with(b"n", NESTED),
        run("CREATE TABLE x AS SELECT * FROM nested_catalogs"),
        run("DROP TABLE nested_catalogs"),
        run("CREATE TABLE nested_catalogs (path, sha1, size)"),
        run("INSERT INTO nested_catalogs VALUES ('/n', 5, 1)"),
    ),
    "nested hash is not ASCII": both(
        entry_with(b"n", NESTED), run("INSERT INTO nested_catalogs VALUES ('/n', 'é', 1)")
    ),
    "nested path is NULL": run("INSERT INTO nested_catalogs VALUES (NULL, ?, 1)", str(NAME)),
    "chunk before the file": chunk_of(-1, 5, NAME.digest),
    "chunk of negative size": chunk_of(0, -5, NAME.digest),
    "chunk without a hash": chunk_of(0, 5, None),
    "chunk with a short hash": chunk_of(0, 5, b"short"),
    "chunk with a long hash": chunk_of(0, 5, bytes(30)),
    "chunk with text for an offset": chunk_of("first", 5, NAME.digest),
    "revision is no number": run("INSERT INTO properties VALUES ('revision', 'new')"),
    "revision is huge": run("INSERT INTO properties VALUES ('revision', ?)", "9" * 30),
    "TTL is no number": run("INSERT INTO properties VALUES ('TTL', '1.5')"),
    "TTL is huge": run("INSERT INTO properties VALUES ('TTL', ?)", "9" * 30),
    "unknown hash algorithm": column("flags", catalogs.FILE | 7 << 8),
    "unknown compression": column("flags", catalogs.FILE | 7 << 11),
    "no catalog table": run("DROP TABLE catalog"),
    "no nested catalogs table": both(entry_with(b"n", NESTED), run("DROP TABLE nested_catalogs")),
    "no chunks table": run("DROP TABLE chunks"),
    "no properties table": run("DROP TABLE properties"),
    "a missing column": run("ALTER TABLE catalog DROP COLUMN symlink"),
    # Not harmless: a view can compute for ever.
    "a view for a table": both(
        run("ALTER TABLE catalog RENAME TO rows"), run("CREATE VIEW catalog AS SELECT * FROM rows")
    ),
}
WRONG_VALUES = {"NULL": None, "text": "no number", "blob": b"\xff\0", "float": 1.5}
COLUMNS = [
    "md5path_1",
    "md5path_2",
    "parent_1",
    "parent_2",
    "name",
    "flags",
    "mode",
    "size",
    "mtime",
    "mtimens",
    "uid",
    "gid",
    "hardlinks",
    "hash",
    "symlink",
    "xattr",
]
# NULL is what these columns hold for "none", and to read a blob for a text does no harm.
HARMLESS = {
    *((name, "NULL") for name in ("mtimens", "hash", "xattr")),
    *((name, "text") for name in ("name", "symlink")),
    *((name, "float") for name in ("name", "symlink")),  # stored as text
    ("xattr", "blob"),
    ("xattr", "text"),
}


@pytest.fixture
def hostile(work: Path) -> Callable[[Change], str]:
    """``hostile(change)`` makes a good catalog, changes it, and gives its file."""

    def make(change: Change) -> str:
        file = write(work, {b"/f": FILE, b"/d": DIRECTORY, b"/d/g": FILE})
        with closing(sqlite3.connect(file)) as database:
            change(database)
            database.commit()
        return file

    return make


def refused(file: str) -> str:
    output = file + ".index"
    # SQLite's own complaint will do where there is no table to read.
    with pytest.raises((BadIndexError, sqlite3.Error)) as caught:
        index_of(file, output)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert not os.path.exists(output) or os.path.getsize(output) == 0
    return message


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_catalog_is_refused(hostile: Callable[[Change], str], what: str) -> None:
    refused(hostile(HOSTILE[what]))


@pytest.mark.parametrize("kind", WRONG_VALUES)
@pytest.mark.parametrize("name", COLUMNS)
def test_a_wrong_type_in_a_column_is_refused(
    hostile: Callable[[Change], str], name: str, kind: str
) -> None:
    file = hostile(column(name, WRONG_VALUES[kind]))
    if (name, kind) in HARMLESS:
        read_everything(index_of(file))
    else:
        refused(file)


def test_a_column_name_that_is_not_utf_8_does_no_harm(hostile: Callable[[Change], str]) -> None:
    """Other columns than those of the format are not looked at, whatever their names."""
    file = Path(hostile(run("ALTER TABLE catalog ADD COLUMN PLACEHOLDER INTEGER")))
    content = file.read_bytes()
    assert b"PLACEHOLDER" in content
    file.write_bytes(content.replace(b"PLACEHOLDER", b"\xff" * 11))
    index = index_of(str(file))
    assert index.entries == 4
    assert Body.of(looked_up(Snapshot(index, MOUNTPOINT, {}), b"/d/g")).digest == FILE.digest


LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("uid", HIGHEST, ("uid", 0xFFFFFFFF)),
        ("uid", LOWEST, ("uid", 0)),
        ("gid", HIGHEST, ("gid", 0xFFFFFFFF)),
        ("gid", LOWEST, ("gid", 0)),
        ("hardlinks", HIGHEST, ("nlink", 0xFFFFFFFF)),
        ("hardlinks", LOWEST, ("nlink", 1)),
        ("mtime", HIGHEST, ("mtime", HIGHEST * 10**9 + 9)),
        ("mtime", LOWEST, ("mtime", LOWEST * 10**9 + 9)),
        ("size", HIGHEST, ("size", HIGHEST)),
    ],
)
def test_extreme_numbers_are_clamped(
    hostile: Callable[[Change], str], name: str, value: int, shown: tuple[str, int]
) -> None:
    index = index_of(hostile(column(name, value)))
    field, number = shown
    assert getattr(looked_up(Snapshot(index, MOUNTPOINT, {}), b"/f"), field) == number
    read_everything(index)


def test_the_lowest_size_is_refused(hostile: Callable[[Change], str]) -> None:
    assert "a number that can't be: b'f'" in refused(hostile(column("size", LOWEST)))


def test_chunks_come_in_the_order_of_their_offsets(work: Path) -> None:
    file = write(work, {b"/c": CHUNKED})
    chunks = the_chunks(b"/c")
    with closing(Catalog.open_to_write(file)) as opened:
        opened.put_chunks(b"/c", chunks[::-1])
    assert Body.of(looked_up(Snapshot(index_of(file), MOUNTPOINT, {}), b"/c")).chunks == chunks


def test_a_cycle_that_nothing_leads_to(hostile: Callable[[Change], str]) -> None:
    """Two directories that are each other's parents: not reached, so not there."""
    one, two = path_key(b"one"), path_key(b"two")
    statement = (
        "INSERT INTO catalog SELECT ?, ?, ?, ?, hardlinks, hash, size, mode, mtime, mtimens, flags,"
        " 'cycle', symlink, uid, gid, xattr FROM catalog WHERE name = 'd'"
    )
    index = index_of(hostile(both(run(statement, *one, *two), run(statement, *two, *one))))
    assert index.entries == 4


def test_a_flag_for_chunks_on_a_directory_is_refused(hostile: Callable[[Change], str]) -> None:
    change = both(
        run("UPDATE catalog SET flags = flags | 64 WHERE name = 'd'"),
        run("INSERT INTO chunks VALUES (?, ?, 0, 5, ?)", *path_key(b"/d"), NAME.digest),
    )
    assert "a type that its flags contradict: b'd'" in refused(hostile(change))


@pytest.mark.parametrize("content", [b"", b"x", b"SQLite format 3\0", b"\0" * 5000])
def test_what_is_no_database_is_refused(work: Path, content: bytes) -> None:
    file = work / "catalog"
    file.write_bytes(content)
    refused(str(file))


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_database_is_refused_or_read(work: Path, seed: int) -> None:
    chance = random.Random(seed)
    good = Path(write(work, a_tree(chance, 60))).read_bytes()
    was_read = was_refused = 0
    for number in range(60):
        damaged = bytearray(good)
        for _ in range(chance.choice([1, 1, 2, 10])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        file = work / f"damaged-{number}"
        file.write_bytes(damaged[: chance.choice([len(good), chance.randrange(len(good))])])
        try:
            index = index_of(str(file))
        except (BadIndexError, sqlite3.Error) as error:
            assert "\n" not in str(error), (seed, number)  # noqa: PT017
            was_refused += 1
            continue
        read_everything(index)
        was_read += 1
    # Half of them are cut off; a few bytes hit nothing that is looked at, now and then.
    assert was_refused >= 20
    assert was_read


# Damaged index files


def records(index: Index) -> Iterator[Any]:
    record = lib.pp_index_root(index.pointer)
    while record:
        yield record
        record = lib.pp_index_next(index.pointer, record)


def read_everything(index: Index) -> None:
    """Whatever can be asked of an index; it may give nonsense, in bounded time."""
    snapshot = Snapshot(index, MOUNTPOINT, {b"A": b"1"})
    snapshot.mount(index)
    for number, record in zip(range(500), records(index)):
        try:
            node = index.node(record)
            with suppress(ValueError):
                Body.of(node)
            with suppress(ValueError):
                unpack_attributes(node.attributes)
            for path in (node.name, b"/d/../" + node.name + b"/x", node.target):
                if b"\0" not in path and len(path) < 4000:
                    snapshot.walk(path, follow=number % 2 == 0)
            for _ in zip(range(50), index.children(record)):
                pass
        except (ValueError, RuntimeError):  # says that it is damaged
            continue


HEADER = struct.Struct("<QIIQQQQQQQQQQQ")


def damaged(good: bytes, chance: random.Random, region: tuple[int, int]) -> bytes:
    content = bytearray(good)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(*region)
        kind = chance.randrange(3)
        if kind == 0:
            content[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            content[at] = chance.choice([0, 1, 127, 255, chance.randrange(256)])
        else:
            at = min(at & ~3, len(content) - 8)
            values = [0, 0xFFFFFFFF, (1 << 64) - 1, len(content), len(content) - 8, 1 << 63]
            content[at : at + 8] = struct.pack("<Q", chance.choice(values))
    if chance.randrange(4) == 0:
        content = content[: chance.randrange(len(content) + 1)]
        if len(content) >= 24 and chance.randrange(2):
            content[16:24] = struct.pack("<Q", len(content))  # so that it is opened at all
    return bytes(content)


def regions(good: bytes) -> dict[str, tuple[int, int]]:
    fields = HEADER.unpack_from(good)
    table, start, size, extras = fields[5], fields[7], fields[8], fields[9]
    return {
        "header": (0, 128),
        "table": (table, start),
        "records": (start, start + size),
        "extras": (extras, len(good)),
        "anywhere": (0, len(good)),
    }


def damage(directory: str, region: str, seed: int, rounds: int) -> None:
    """Runs in a process of its own, which may crash: it says before what it tries."""
    good = Path(directory, "good").read_bytes()
    file = Path(directory, f"damaged-{region}-{seed}")
    for number in range(rounds):
        chance = random.Random(f"{region} {seed} {number}")
        content = damaged(good, chance, regions(good)[region])
        print(number, flush=True)
        file.unlink(missing_ok=True)  # the old one may still be mapped
        file.write_bytes(content)
        try:
            index = Index(str(file))
        except ValueError:
            continue
        read_everything(index)
        index.entries, index.revision, index.ttl  # noqa: B018


@pytest.mark.parametrize("region", ["header", "table", "records", "extras", "anywhere"])
def test_a_damaged_index_never_crashes(work: Path, region: str) -> None:
    tree = a_tree(random.Random(5), 40)
    tree |= {b"/l": LINK, b"/d": DIRECTORY, b"/d/v": LINK._replace(symlink=b"../$(A)/$(B:-c)")}
    tree |= {b"/n": NESTED, b"/c": CHUNKED}
    file = write(work, tree)
    with closing(Catalog.open_to_write(file)) as opened:
        opened.put_chunks(b"/c", the_chunks(b"/c"))
    index_of(file, str(work / "good"))
    seed, rounds = 1, 1000
    program = f"import test_index; test_index.damage({str(work)!r}, {region!r}, {seed}, {rounds})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    tried = result.stdout.split()
    assert result.returncode == 0, (
        f"region {region!r}, seed {seed}, round {tried[-1:]}: {result.returncode}\n{result.stderr}"
    )
    assert len(tried) == rounds


def test_an_index_of_another_version_is_refused(work: Path) -> None:
    file = Path(write(work, {}))
    index_of(str(file))
    index = Path(f"{file}.index")
    good = index.read_bytes()
    for at in (0, 8, 12, 16):  # magic, version, and the sizes of header and file
        bad = work / f"bad-{at}"
        bad.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(BadIndexError, match="damaged") as caught:
            Index(str(bad))
        assert not isinstance(caught.value, PyparrotError)
    for size in (0, 1, 127, 128, len(good) - 1):
        short = work / f"short-{size}"
        short.write_bytes(good[:size])
        with pytest.raises(BadIndexError):
            Index(str(short))

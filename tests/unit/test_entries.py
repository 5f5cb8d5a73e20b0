"""Entries of any source: what is listed is what an index gives back, whatever the source is."""

from __future__ import annotations

import ast
import os
import random
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyparrot.tree
from pyparrot.cache.store import ObjectStore
from pyparrot.sources.directory import LocalDirectory
from pyparrot.tree.entries import (
    CUT_OFF,
    HIDDEN,
    NESTED,
    Entry,
    Node,
    pack_attributes,
    unpack_attributes,
)
from pyparrot.tree.index import ROOT_HASH, BadIndexError, Index, build
from pyparrot.tree.snapshot import Found, NeedIndex, Snapshot

ROOT = Entry(1, 0, 0, 0, b"", stat.S_IFDIR | 0o755, 4096, 7)


def snapshot_of(tmp_path: Path, *entries: Entry) -> Snapshot:
    file = str(tmp_path / "index")
    build([ROOT, *entries], file, root=(1, 0), handle=b"of\0all", revision=3, ttl=4)
    return Snapshot(Index(file), b"/seen", {})


def node_at(snapshot: Snapshot, path: bytes) -> Node:
    found = snapshot.walk(path, follow=False)
    assert isinstance(found, Found)
    return found.node


def a_file(key: int, name: bytes, **fields: object) -> Entry:
    entry = Entry(key, 0, 1, 0, name, stat.S_IFREG | 0o644, 5, 8)
    return entry._replace(**fields)  # type: ignore[arg-type]


def test_every_field_comes_back(tmp_path: Path) -> None:
    attributes = pack_attributes({b"user.a": b"1", b"user.b": b""})
    entry = a_file(
        -(1 << 63),
        b"f",
        key_2=(1 << 63) - 1,
        mtime=-3,
        mtime_ns=9,
        uid=0xFFFFFFFF,
        gid=2,
        nlink=70_000,
        flags=HIDDEN,
        handle=b"\0any bytes\xff",
        attributes=attributes,
    )
    snapshot = snapshot_of(tmp_path, entry)
    node = node_at(snapshot, b"f")
    assert node._replace(inode=0) == Node(
        *(b"f", 0, entry.mode, 5, -3 * 10**9 + 9, 0xFFFFFFFF, 2, 70_000, HIDDEN, b""),
        *(b"\0any bytes\xff", attributes),
    )
    root = snapshot.root
    assert (root.handle, root.revision, root.ttl, root.entries) == (b"of\0all", 3, 4, 2)


@pytest.mark.parametrize("seed", range(3))
def test_entries_may_come_in_any_order(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    directory = Entry(2, 0, 1, 0, b"d", stat.S_IFDIR | 0o755, 0, 7)
    entries = [a_file(key, b"%d" % key, parent=chance.choice((1, 2))) for key in range(3, 50)]
    handled = [e._replace(handle=b"h" * (e.key % 11)) for e in entries]
    shuffled = [directory, *handled]
    chance.shuffle(shuffled)
    snapshot = snapshot_of(tmp_path, *shuffled)
    for entry in handled:
        path = entry.name if entry.parent == 1 else b"d/" + entry.name
        assert node_at(snapshot, path).handle == entry.handle


def test_a_nested_directory_is_asked_for_by_its_handle(tmp_path: Path) -> None:
    nested = Entry(2, 0, 1, 0, b"n", stat.S_IFDIR | 0o755, 0, 7, flags=NESTED, handle=b"that one")
    snapshot = snapshot_of(tmp_path, nested)
    need = snapshot.walk(b"n/x")
    assert isinstance(need, NeedIndex)
    assert (need.mountpoint, need.handle) == (b"/n", b"that one")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (a_file(2, b"f", flags=NESTED), "type"),
        (a_file(2, b"f", flags=1 << 15), "type"),
        (a_file(2, b"f", mode=0o644), "type"),
        (a_file(2, b"f", mode=0o030644), "type"),
        (a_file(2, b"f", mode=1 << 32), "format requires"),
        (a_file(2, b"f", size=-1), "number"),
        (a_file(2, b"f", mtime_ns=10**9), "number"),
        (a_file(2, b"f/g"), "bad name: b'f/g'"),
        (a_file(2, b"f", target=b"t\0"), "bad symlink"),
        (a_file(2, b"f", target=b"t" * 4096), "bad symlink"),
        (a_file(2, b"n" * 70_000), "format"),
    ],
)
def test_what_can_not_be_is_refused(tmp_path: Path, entry: Entry, why: str) -> None:
    with pytest.raises(BadIndexError, match=why):
        snapshot_of(tmp_path, a_file(3, b"before"), entry)


def test_a_root_of_another_key_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadIndexError, match="no root directory"):
        build([ROOT], str(tmp_path / "index"), root=(2, 0), root_hash=ROOT_HASH)


@given(st.dictionaries(st.binary(max_size=300), st.binary(max_size=300)))
def test_attributes_come_back(attributes: dict[bytes, bytes]) -> None:
    packed = pack_attributes(attributes)
    assert unpack_attributes(packed) == attributes
    for rest in (CUT_OFF, b"\0", struct.pack("=IH", 0, 1)):
        with pytest.raises(ValueError, match="ends early"):
            unpack_attributes(packed + rest)


def test_a_local_directory_needs_no_format(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "d" / "e").mkdir(parents=True)
    (top / "d" / "f").write_bytes(b"content")
    (top / "l").symlink_to("d/f")
    os.mkfifo(top / "p")
    store = ObjectStore(str(tmp_path / "cache"))
    with store, LocalDirectory(str(top), b"/seen", store) as tree:
        assert tree.listdir() == ["d", "l", "p"]
        assert tree.listdir("d/e") == []
        assert tree.readlink("l") == "d/f"
        assert tree.stat("l").st_size == 7
        assert stat.S_ISFIFO(tree.stat("p").st_mode)
        with tree.open("l") as file:
            assert file.read() == b"content"
        (top / "d" / "later").touch()  # what was listed stays as it was
        assert tree.listdir("d") == ["e", "f"]


def test_trees_import_no_kind_of_source() -> None:
    for file in Path(pyparrot.tree.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                wrong = name.startswith("pyparrot.") and not name.startswith(
                    ("pyparrot.tree", "pyparrot.cache", "pyparrot.core", "pyparrot.errors")
                )
                assert not wrong, f"{file.name} imports {name}"

"""The mount table, as Python fills it and C reads it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyparrot.cache.store import ObjectStore
from pyparrot.core import ffi, lib
from pyparrot.run.mounts import MountTable, view_name
from pyparrot.sources.names import Names


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with ObjectStore(str(tmp_path_factory.mktemp("cache") / "c")) as opened:
        yield opened


def repository(store: ObjectStore, path: bytes, *names: bytes) -> Names:
    return Names(store, path, names)


def match(table: MountTable, path: bytes) -> tuple[bytes | None, bytes]:
    """The mount point that a path starts with, and the rest."""
    end = ffi.new("size_t *")
    text = ffi.new("char[]", path)
    found = lib.pp_mounts_match(table.namespace.mounts, text, end)
    if found == ffi.NULL:
        return None, path
    return table.find(found).path, path[end[0] :]


def test_the_longest_mount_point_counts(store: ObjectStore) -> None:
    table = MountTable("/views")
    for path in (b"/cvmfs", b"/cvmfs/a.b", b"/cvmfs/a.b/c/d", b"/opt"):
        table.mount(path, repository(store, path))
    assert match(table, b"/cvmfs/a.b/c") == (b"/cvmfs/a.b", b"/c")
    assert match(table, b"/cvmfs/a.b/c/d") == (b"/cvmfs/a.b/c/d", b"")
    assert match(table, b"/cvmfs/a.b/c/d/e/") == (b"/cvmfs/a.b/c/d", b"/e/")
    assert match(table, b"/cvmfs/a.bc") == (b"/cvmfs", b"/a.bc")
    assert match(table, b"/optional") == (None, b"/optional")
    assert match(table, b"/") == (None, b"/")


def test_spellings_of_a_path(store: ObjectStore) -> None:
    table = MountTable("/views")
    table.mount(b"/cvmfs/a.b", repository(store, b"/cvmfs/a.b"))
    assert match(table, b"//cvmfs///a.b//x") == (b"/cvmfs/a.b", b"//x")
    assert match(table, b"/./cvmfs/./a.b") == (b"/cvmfs/a.b", b"")
    # What ".." means depends on symlinks: nothing is said about that here.
    assert match(table, b"/usr/../cvmfs/a.b") == (None, b"/usr/../cvmfs/a.b")
    assert match(table, b"/cvmfs/a.b/../x") == (b"/cvmfs/a.b", b"/../x")


@given(
    st.lists(st.lists(st.sampled_from([b"a", b"b", b"ab"]), min_size=1, max_size=4), max_size=6),
    st.lists(st.sampled_from([b"a", b"b", b"ab", b"."]), max_size=6),
)
def test_it_agrees_with_a_plain_search(
    store: ObjectStore, mounts: list[list[bytes]], path: list[bytes]
) -> None:
    table = MountTable("/views")
    points = [b"/" + b"/".join(mount) for mount in mounts]
    for point in points:
        table.mount(point, repository(store, point))
    plain = b"/" + b"/".join(name for name in path if name != b".")
    fitting = [p for p in points if (plain + b"/").startswith(p + b"/")]
    expected = max(fitting, key=len) if fitting else None
    assert match(table, b"/" + b"/".join(path))[0] == expected


def test_what_is_refused_is_forgotten_later(store: ObjectStore) -> None:
    table = MountTable("/views")
    table.mount(b"/cvmfs", repository(store, b"/cvmfs"), automount=True)
    table.refuse(b"/cvmfs/none", 60)
    path = b"/cvmfs/none"
    path_hash = lib.pp_path_hash(lib.PP_HASH_ROOT, path, len(path))
    now = int(time.monotonic())
    assert lib.pp_mounts_refused(table.namespace.mounts, path_hash, now)
    assert not lib.pp_mounts_refused(table.namespace.mounts, path_hash, now + 61)
    assert match(table, path) == (b"/cvmfs", b"/none")
    table.mount(path, repository(store, path))
    assert match(table, path) == (path, b"")


def shown(table: MountTable, path: bytes) -> bytes | None:
    output = ffi.new("char[]", 4096)
    length = lib.pp_shown(table.namespace, ffi.new("char[]", path), output, 4096)
    return None if length < 0 else bytes(ffi.buffer(output, length))


def test_a_view_tells_what_it_is(store: ObjectStore) -> None:
    table = MountTable("/views")
    first = table.mount(b"/cvmfs/a.b", repository(store, b"/cvmfs/a.b"))
    view = b"/views/" + os.fsencode(first.view)
    assert shown(table, view) == b"/cvmfs/a.b"
    assert shown(table, view + b"/x/y") == b"/cvmfs/a.b/x/y"
    assert shown(table, view + b".x/bin/program") == b"/cvmfs/a.b/bin/program"
    assert shown(table, view + b"/x (deleted)") == b"/cvmfs/a.b/x"
    assert shown(table, b"/views/real.x/usr/bin/program") == b"/usr/bin/program"
    for other in (view + b"y/x", b"/views", b"/views/other-0/x", b"/other", b"pipe:[1]", b""):
        assert shown(table, other) is None


def test_views_of_a_replaced_mount_stay_known(store: ObjectStore) -> None:
    table = MountTable("/views")
    path = b"/cvmfs/a.b"
    old = table.mount(path, repository(store, path))
    new_repository = repository(store, path)
    new_repository.identity = b"another revision"
    new = table.mount(path, new_repository)
    assert old.view != new.view
    for mount in (old, new):
        assert shown(table, b"/views/" + os.fsencode(mount.view) + b"/x") == path + b"/x"
    assert match(table, path) == (path, b"")


def test_a_views_name_is_the_same_in_every_session(store: ObjectStore, tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "c")) as other:
        here, there = repository(store, b"/p"), repository(other, b"/p")
        assert view_name(b"/p", here) == view_name(b"/p", there) != view_name(b"/q", here)

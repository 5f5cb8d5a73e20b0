"""The mount table, as Python fills it and C reads it."""

from __future__ import annotations

import gc
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyparrot.cache.store import ObjectStore
from pyparrot.core import ffi, lib
from pyparrot.libc.append_only import AppendOnlyMemory
from pyparrot.libc.shared_state import SharedState
from pyparrot.run.journal import Journal
from pyparrot.run.mount_memory import MountEntry, MountFields, MountMemory, path_hash
from pyparrot.run.mounts import MountTable, view_name
from pyparrot.run.open_views import names_in_use
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
    table.add_negative(b"/cvmfs/none", 60)
    path = b"/cvmfs/none"
    path_hash = lib.pp_path_hash(lib.PP_HASH_ROOT, path, len(path))
    now = int(time.monotonic())
    assert lib.pp_mounts_is_negative(table.namespace.mounts, path_hash, now)
    assert not lib.pp_mounts_is_negative(table.namespace.mounts, path_hash, now + 61)
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
    table.reserve(b"/reserved")  # what has no view yet is no view's
    others = (view + b"y/x", b"/views", b"/views/", b"/views//x", b"/views/other-0/x", b"/other")
    for other in (*others, b"pipe:[1]", b""):
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
    # It is no mount point, whatever its view's name may be.
    elsewhere = b"/" + os.fsencode(old.view)
    assert match(table, elsewhere) == (None, elsewhere)


def snapshot_at(table: MountTable, path: bytes) -> int:
    end = ffi.new("size_t *")
    mount = lib.pp_mounts_match(table.namespace.mounts, ffi.new("char[]", path), end)
    return int(ffi.cast("uintptr_t", lib.pp_mount_snapshot(table.namespace, mount)))


def test_each_mount_has_its_snapshot(store: ObjectStore) -> None:
    """Of the former mounts, too, and of more than there was room for at first."""
    table = MountTable("/views")
    table.reserve(b"/reserved")
    assert snapshot_at(table, b"/reserved") == 0
    shown_there = {}
    old = None
    for number in range(200):
        path = b"/m%d" % (number // 2)
        shown_there[path] = repository(store, path, b"%d" % number)
        mount = table.mount(path, shown_there[path])
        old = old or mount
    for path, seen in shown_there.items():
        assert snapshot_at(table, path) == int(ffi.cast("uintptr_t", seen.snapshot.pointer))
    assert old is not None
    assert old.tree is not None
    kept = table.namespace.snapshots.of[old.number]
    assert kept == old.tree.snapshot.pointer


def test_it_goes_on_when_the_shared_state_is_full(store: ObjectStore) -> None:
    """Shims leave everything to the supervisor then, which still knows all mounts."""
    state = SharedState(1, 2)
    state.memory.reserve(lib.PP_SHARED_STATE_SIZE - 200_000)  # it would take thousands of mounts
    table = MountTable("/views", state)
    table.mount(b"/cvmfs", repository(store, b"/cvmfs"), automount=True)
    assert state.pointer.table
    mounted = [b"/cvmfs"]
    for number in range(2000):
        mounted.append(b"/cvmfs/m%d" % number)
        table.mount(mounted[-1], repository(store, mounted[-1]))
        if not state.pointer.table and number % 100 == 99:
            break
    assert state.pointer.table == 0
    table.add_negative(b"/cvmfs/none", 60)
    for path in mounted:
        assert match(table, path + b"/x") == (path, b"/x")
    hash_of_none = path_hash(b"/cvmfs/none")
    assert lib.pp_mounts_is_negative(table.namespace.mounts, hash_of_none, int(time.monotonic()))
    os.close(state.descriptor)


SIZE = 4096 + ffi.sizeof("struct pp_negatives")


def written_by_somebody_else() -> tuple[bytearray, int]:
    """A table at its offset in memory, as a shim maps it."""
    memory = AppendOnlyMemory(ffi.new("char[]", SIZE), SIZE, ffi.new("uint32_t *", 64))
    fresh = SimpleNamespace(generation=0)
    state = SimpleNamespace(memory=memory, pointer=fresh, publish=lambda table, shadows: None)
    fields = MountFields(1, b"/a", b"view", variables=[b"NAME=value"])
    table = MountMemory(cast("SharedState", state)).write([MountEntry(7, fields, [5])])
    return bytearray(ffi.buffer(memory.at("char *", 0), SIZE)), table.offset


def is_sound(memory: bytearray, offset: int) -> bool:
    copy = ffi.new("uint64_t[]", len(memory) // 8)
    ffi.memmove(copy, memory, len(memory))
    return bool(lib.pp_mounts_open(copy, len(memory), offset) != ffi.NULL)


def test_a_table_that_leads_out_of_its_memory_is_refused() -> None:
    memory, offset = written_by_somebody_else()
    assert is_sound(memory, offset)
    for wrong in (0, 4, offset + 8, SIZE - 8, SIZE, 2**32 - 8):
        assert not is_sound(memory, wrong)
    slot = offset + ffi.sizeof("struct pp_mounts") + 7 * ffi.sizeof("struct pp_mount_slot")
    (mount,) = struct.unpack_from("<I", memory, slot + 8)
    wrong_words = {
        offset: (0, offset + 8),  # its own offset
        offset + 4: (6, 4095, 2**32 - 1),  # mask
        offset + 12: (4, SIZE - 8, 2**32 - 8),  # negatives
        slot + 8: (mount + 4, SIZE, 2**32 - 8),  # the mount
        slot + 12: (4, SIZE, SIZE - 8, 2**32 - 8),  # what is covered; no 0 follows in one of them
        mount + 16: (SIZE, 2**32 - 1),  # number
        mount + 24: (1, 3, SIZE, 2**32 - 1),  # lengths
        mount + 28: (3, SIZE, 2**32 - 1),
        mount + 32: (SIZE, 2**32 - 1),  # environment
    }
    struct.pack_into("<Q", memory, SIZE - 8, 1)
    assert is_sound(memory, offset)
    for place, values in wrong_words.items():
        for value in values:
            damaged = bytearray(memory)
            struct.pack_into("<I", damaged, place, value)
            assert not is_sound(damaged, offset), (place, value)
    full = bytearray(memory)
    for number in range(8):
        place = slot + (number - 7) * ffi.sizeof("struct pp_mount_slot")
        struct.pack_into("<QII", full, place, number + 1, mount, 0)
    assert not is_sound(full, offset)


@given(st.lists(st.tuples(st.integers(0, SIZE // 8 - 1), st.integers(0, 2**64 - 1)), max_size=4))
def test_damage_is_refused_or_harmless(damage: list[tuple[int, int]]) -> None:
    memory, offset = written_by_somebody_else()
    for word, value in damage:
        struct.pack_into("<Q", memory, 8 * word, value)
    if is_sound(memory, offset):
        copy = ffi.new("uint64_t[]", len(memory) // 8)
        ffi.memmove(copy, memory, len(memory))
        table = lib.pp_mounts_open(copy, len(memory), offset)
        for slot in range(table.mask + 1):
            mount = lib.pp_mount_at(table, slot)
            if mount:
                start = int(ffi.cast("uintptr_t", mount)) - int(ffi.cast("uintptr_t", copy))
                assert 0 < start < SIZE
                assert start + mount.path_length + mount.view_length < SIZE


def test_a_views_name_is_the_same_in_every_session(store: ObjectStore, tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "c")) as other:
        here, there = repository(store, b"/p"), repository(other, b"/p")
        assert view_name(b"/p", here) == view_name(b"/p", there) != view_name(b"/q", here)


class Revision(Names):
    """One of many revisions of a tree."""

    def __init__(self, store: ObjectStore, number: int) -> None:
        super().__init__(store, b"/cvmfs/a.b", [b"%d" % number])
        self.identity = b"%d" % number


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_revisions_that_nobody_uses_are_forgotten(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory, files and table are after 600 revisions what they were after 200."""
    monkeypatch.setattr("pyparrot.run.mounts.ENDED_SECONDS", 0.0)
    gc.collect()  # what other tests have left
    state, journal = SharedState(1, 2), Journal()
    table = MountTable(str(tmp_path), state, journal)
    table.forgetting.append(lambda mount: state.forget(mount.number))
    path = b"/cvmfs/a.b"
    used = table.mount(path, Revision(store, 1))
    seen = []
    for number in range(2, 602):
        newest = table.mount(path, Revision(store, number))
        table.tidy(lambda: {used.view})
        if number % 200 == 1:
            gc.collect()
            mounted = sum(is_taken(table, slot) for slot in range(1000))
            seen.append((open_files(), mounted, len(journal.read()), len(state.touched)))
    assert seen[0] == seen[1] == seen[2]
    for known in (used, newest):
        view = os.fsencode(tmp_path) + b"/" + os.fsencode(known.view)
        assert shown(table, view + b"/x") == path + b"/x"
        assert table.numbered(known.number) is known
    assert table.numbered(used.number + 1) is None
    # Each has left its mount's record, and what shims know of its catalog.
    assert state.pointer.used < lib.PP_SHARED_STATE_SIZE / 4
    os.close(state.descriptor)


def is_taken(table: MountTable, slot: int) -> bool:
    mounts = table.namespace.mounts
    return bool(slot <= mounts.mask and lib.pp_mount_at(mounts, slot) != ffi.NULL)


def test_a_mount_that_was_replaced_is_kept_for_a_while(store: ObjectStore, tmp_path: Path) -> None:
    """A call that was under way may still lead to it."""
    table = MountTable(str(tmp_path))
    path = b"/cvmfs/a.b"
    first = table.mount(path, Revision(store, 1))
    for number in range(2, 40):
        table.mount(path, Revision(store, number))
        table.tidy(set)
    assert table.numbered(first.number) is first
    assert table.namespace.snapshots.of[first.number] != ffi.NULL
    assert shown(table, os.fsencode(tmp_path / first.view)) is None


def test_views_in_use_are_found(tmp_path: Path) -> None:
    for name in ("open", "directory", "unused", "program.x"):
        (tmp_path / name).mkdir()
    (tmp_path / "open" / "file").touch()
    shutil.copy("/bin/sleep", tmp_path / "program.x" / "sleep")
    with (tmp_path / "open" / "file").open() as file:
        words = [str(tmp_path / "program.x" / "sleep"), "60"]
        with subprocess.Popen(words, cwd=tmp_path / "directory", stdin=file) as process:
            try:
                found = names_in_use(str(tmp_path))
            finally:
                process.kill()
    assert found == {"open", "directory", "program.x"}

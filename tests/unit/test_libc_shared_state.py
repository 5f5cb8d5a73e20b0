"""The shared state: what the supervisor tells is what shims can read."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pyparrot.core import ffi, lib
from pyparrot.libc.shared_state import SharedState
from pyparrot.libc.shared_usage import SharedUsage
from pyparrot.run.mount_memory import MountEntry, MountFields, MountMemory, path_hash
from pyparrot.sources.cvmfs import catalog_rows as catalogs
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.indexing import build_index
from pyparrot.tree.index import ROOT_HASH, Index
from pyparrot.tree.snapshot import Snapshot

COOKIE, MARK = 0xFEDCBA9876543210, 299_792_458
NAME = Algorithm.SHA1.of(b"a catalog")
DIRECTORY = CatalogEntry(b"", catalogs.DIRECTORY, 0o40755, 4096, 7, None, 0, 0)
POINT = b"/cvmfs/test.example.org"
VARIABLES = {b"ARCH": b"x86_64", b"EMPTY": b""}


class Mounted(NamedTuple):
    """A mount as shims read it, with what its offsets lead to."""

    hash: int
    device: int
    blocks: int
    number: int
    flags: int
    path: bytes
    view: bytes
    environment: list[bytes]
    covered: list[int]


class Reader:
    """Reads a shared state as another process would: by its descriptor, and by offsets alone."""

    def __init__(self, state: SharedState) -> None:
        self._memory = mmap.mmap(state.descriptor, lib.PP_SHARED_STATE_SIZE, prot=mmap.PROT_READ)
        self.state = self._at("struct pp_shared_state *", 0)

    def _at(self, kind: str, offset: int) -> Any:
        needed = ffi.sizeof(kind.rstrip("* "))
        assert offset + needed <= self.used
        assert offset % 8 == 0
        return ffi.cast(kind, ffi.from_buffer(self._memory) + offset)

    @property
    def used(self) -> int:
        used: int = ffi.cast("struct pp_shared_state *", ffi.from_buffer(self._memory)).used
        assert used <= lib.PP_SHARED_STATE_SIZE
        return used

    def content(self) -> bytes:
        """All that is used of it, but for the header."""
        return self._memory[ffi.sizeof("struct pp_shared_state") : self.used]

    def text(self, offset: int, length: int = -1) -> bytes:
        end = self._memory.find(b"\0", offset)
        assert 0 < offset <= end < self.used
        assert length in (-1, end - offset)
        return self._memory[offset:end]

    def table(self) -> tuple[int, list[Mounted], dict[int, int]]:
        table = self._at("struct pp_mounts *", self.state.table)
        memory = ffi.from_buffer(self._memory)
        assert lib.pp_mounts_open(memory, lib.PP_SHARED_STATE_SIZE, self.state.table) == table
        mounts = []
        for place in range(table.mask + 1):
            mount, covered = lib.pp_mounts_mount(table, place), lib.pp_mounts_covered(table, place)
            if mount:
                mounts.append(self._mount(table.slots[place].hash, mount, covered))
        negatives = self._at("struct pp_negatives *", table.negatives)
        refused = {entry.hash: entry.until for entry in negatives.entries if entry.hash}
        return table.depth, sorted(mounts, key=lambda mount: mount.number), refused

    def _mount(self, key: int, offset: int, covering: int) -> Mounted:
        mount = self._at("struct pp_mount *", offset)
        environment, covered = [], []
        position = mount.environment
        while position and self._memory[position]:
            environment.append(self.text(position))
            position += len(environment[-1]) + 1
        position = covering
        while position and self._at("uint64_t *", position)[0]:
            covered.append(self._at("uint64_t *", position)[0])
            position += 8
        path = offset + ffi.offsetof("struct pp_mount", "path")
        return Mounted(
            key,
            mount.device,
            mount.blocks,
            mount.number,
            mount.flags,
            self.text(path, mount.path_length),
            self.text(path + mount.path_length + 1, mount.view_length),
            environment,
            covered,
        )

    def catalogs(self) -> list[tuple[int, int, int, bytes]]:
        """Mount, root hash, first word in the touch map, file; the newest first."""
        found, offset = [], self.state.catalogs
        while offset:
            catalog = self._at("struct pp_shared_catalog *", offset)
            file = self.text(catalog.file)
            found.append((catalog.mount, catalog.root_hash, catalog.touched, file))
            assert catalog.next < offset
            offset = catalog.next
        return found


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SharedState]:
    state = SharedState(COOKIE, MARK)
    state.set_views(str(tmp_path))
    yield state
    os.close(state.descriptor)


def index(directory: Path, mountpoint: bytes = b"") -> Index:
    """A catalog with nothing but its root directory, which is seen at *mountpoint*."""
    file = str(directory / mountpoint.strip(b"/").decode()) + ".catalog"
    with closing(Catalog.create(file)) as made:
        made.put([(mountpoint, DIRECTORY)])
    root_hash = lib.pp_path_hash(ROOT_HASH, mountpoint, len(mountpoint))
    with closing(Catalog.open(file)) as opened:
        build_index(opened, NAME, mountpoint, root_hash, file + ".index")
    return Index(file + ".index")


class Shown(NamedTuple):
    """A mount to be shown, and what is seen there."""

    entry: MountEntry
    snapshot: Snapshot | None


def shown(number: int, snapshot: Snapshot | None = None, path: bytes = POINT) -> Shown:
    variables = () if snapshot is None else snapshot.variables
    numbers = (2**40 + number, 2**33 + number, lib.PP_AUTOMOUNT)
    fields = MountFields(number, path, b"view-%d" % number, *numbers, variables)
    covered = () if snapshot is None else snapshot.covered
    return Shown(MountEntry(2**63 + number, fields, covered), snapshot)


def tell(state: SharedState, mount: Shown) -> None:
    if mount.snapshot is not None:
        state.add_catalogs(mount.entry.fields.number, mount.snapshot)


class Writer:
    """Shows mounts as the mount table does."""

    def __init__(self, state: SharedState) -> None:
        self._state = state
        self._memory = MountMemory(state)

    def show(self, mounts: Sequence[Shown], shadows: bool = False) -> Any:
        table = self._memory.write([each.entry for each in mounts], shadows)
        for mount in mounts:
            tell(self._state, mount)
        return table

    def refuse(self, path: bytes, until: int) -> None:
        self._memory.add_negative(path, until)


@pytest.fixture
def writer(state: SharedState) -> Writer:
    return Writer(state)


def told(mount: Shown, environment: list[bytes], covered: list[int]) -> Mounted:
    given = mount.entry.fields
    numbers = (mount.entry.hash, given.device, given.blocks, given.number, given.flags)
    return Mounted(*numbers, given.path, given.view, environment, covered)


def test_what_new_shared_state_says(state: SharedState, writer: Writer, tmp_path: Path) -> None:
    reader = Reader(state)
    said = reader.state
    assert ffi.string(said.magic) == b"pyparrot's state"
    assert (said.cookie, said.mark) == (COOKIE, MARK)
    assert said.views_device == tmp_path.stat().st_dev
    assert reader.text(said.views, said.views_length) == bytes(tmp_path)
    assert (said.flags, said.generation, said.table, said.catalogs, said.shared) == (0, 0, 0, 0, 0)


def test_what_is_counted_and_where(state: SharedState) -> None:
    state.count()
    shared = SharedUsage()
    state.share(shared, 7)
    reader = Reader(state)
    assert reader.state.flags == lib.PP_SHARED_COUNTS
    assert reader.text(reader.state.shared) == shared.file_of(7).encode()


def test_flags_that_the_engine_sets_stay(state: SharedState) -> None:
    lib.pp_shared_state_set(state.pointer, lib.PP_SHARED_CWD_APART)
    state.count()
    state.publish(0, shadows=True)
    wanted = lib.PP_SHARED_CWD_APART | lib.PP_SHARED_COUNTS | lib.PP_SHARED_SHADOWS
    assert Reader(state).state.flags == wanted


def test_what_was_touched_is_told(state: SharedState, writer: Writer, tmp_path: Path) -> None:
    shared = SharedUsage()
    state.share(shared, 7)
    snapshot = Snapshot(index(tmp_path), POINT, VARIABLES)
    writer.show([shown(1, snapshot)])
    ((start, _, told),) = state.touched
    record = lib.pp_index_root(told.pointer)
    assert list(shared.touches(start, told)) == []
    shared.words(start)[0] = 7 | lib.PP_TOUCH_OPENED
    ((order, is_opened, found),) = shared.touches(start, told)
    assert (order, is_opened, found) == (7, True, record)
    assert told.path_of(found) == b""


def test_a_table_can_be_read_back(state: SharedState, writer: Writer, tmp_path: Path) -> None:
    snapshot = Snapshot(index(tmp_path), POINT, VARIABLES)
    covered = Snapshot(snapshot.root, POINT + b"/in", {})
    covered.cover([b"/a", b"/b/c"])
    mounts = [shown(1, snapshot), shown(2, covered, POINT + b"/in"), shown(3, None, b"/r")]
    writer.show(mounts)
    negatives = {path_hash(b"/cvmfs/%d" % number): 2**40 + number for number in range(100)}
    for number in range(100):
        writer.refuse(b"/cvmfs/%d" % number, 2**40 + number)
    reader = Reader(state)
    assert (reader.state.generation, reader.state.flags) == (1, 0)
    depth, read, refused = reader.table()
    assert depth == 3
    assert refused == negatives
    hashes = [path_hash_of(path) for path in (b"/a", b"/b/c")]
    assert read == [
        told(mounts[0], [b"ARCH=x86_64", b"EMPTY="], []),
        told(mounts[1], [], hashes),
        told(mounts[2], [], []),
    ]


def path_hash_of(path: bytes) -> int:
    value: int = lib.pp_path_hash(ROOT_HASH, path, len(path))
    return value


def test_what_is_entered_does_not_touch_what_is_there(
    state: SharedState, writer: Writer, tmp_path: Path
) -> None:
    first, second = shown(1, Snapshot(index(tmp_path), POINT, VARIABLES)), shown(2, None, b"/other")
    writer.show([first])
    reader = Reader(state)
    place, used = reader.state.table, reader.used
    writer.show([second, first], shadows=True)
    assert reader.state.generation == 2
    assert [mount.number for mount in reader.table()[1]] == [1, 2]
    assert reader.state.flags == lib.PP_SHARED_SHADOWS
    # The mount, and no other table.
    assert reader.state.table == place
    assert reader.used - used < 100
    # It stays so: the shims' own tables may be older.
    writer.show([first])
    assert reader.state.flags == lib.PP_SHARED_SHADOWS
    assert [mount.number for mount in reader.table()[1]] == [1]
    writer.show([])
    assert reader.table()[1] == []
    writer.show([second])
    assert [mount.number for mount in reader.table()[1]] == [2]
    assert reader.state.table == place


def test_a_larger_table_takes_the_place_of_one_that_is_full(
    state: SharedState, writer: Writer
) -> None:
    reader = Reader(state)
    all_shown = [shown(number, None, b"/m%d" % number) for number in range(1, 400)]
    places = set()
    for count in range(1, 400):
        writer.show(all_shown[:count])
        places.add(reader.state.table)
        before = reader.state.table
        assert [mount.number for mount in reader.table()[1]] == list(range(1, count + 1))
    assert len(places) < 10
    # Those that come and go take no room either but for themselves.
    used = reader.used
    for count in range(400, 1400):
        writer.show([*all_shown[:10], shown(count, None, b"/m")])
    each = ffi.sizeof("struct pp_mount") + 16
    tables = 2 * ffi.sizeof("struct pp_mount_slot") * 1000
    assert reader.used - used < 1000 * each + tables
    assert before
    assert reader.table()[1][-1].number == 1399


def test_texts_are_told_once(state: SharedState, writer: Writer, tmp_path: Path) -> None:
    mount = shown(1, Snapshot(index(tmp_path), POINT, {b"LONG": b"x" * 5000}))
    writer.show([mount])
    used = Reader(state).used
    writer.show([mount])
    assert Reader(state).used == used
    assert mount.snapshot is not None
    another = shown(2, Snapshot(mount.snapshot.root, POINT, {b"LONG": b"x" * 5000}))
    writer.show([mount, another])
    assert Reader(state).used < used + 1000


def test_a_list_of_what_is_covered_grows_in_its_place(
    state: SharedState, writer: Writer, tmp_path: Path
) -> None:
    snapshot = Snapshot(index(tmp_path), POINT, {})
    reader = Reader(state)
    before = 0
    for count in range(1, 300):
        snapshot.cover([b"/%d" % number for number in range(count)])
        writer.show([shown(1, snapshot)])
        assert reader.table()[1][0].covered == snapshot.covered
        before = before or reader.used
    assert reader.used - before < 300 * 8 * 4


def test_names_are_forgotten_the_oldest_first(state: SharedState, writer: Writer) -> None:
    """So many may be absent: their table stays as large as it is."""
    table = writer.show([shown(1)])
    reader = Reader(state)
    used = reader.used
    most = lib.PP_NEGATIVE_SETS * lib.PP_NEGATIVE_WAYS
    for number in range(5 * most):
        writer.refuse(b"/cvmfs/%d" % number, 100 + number)
    assert reader.used == used
    kept = [
        number
        for number in range(5 * most)
        if lib.pp_mounts_is_negative(table, path_hash(b"/cvmfs/%d" % number), 99)
    ]
    assert len(kept) <= most
    assert sum(1 for number in kept if number >= 4 * most) > most * 0.7
    assert sum(1 for number in kept if number < 3 * most) < most * 0.1
    # One that is refused again is not there twice, and lasts longer.
    last = b"/cvmfs/%d" % (5 * most - 1)
    writer.refuse(last, 2**40)
    assert lib.pp_mounts_is_negative(table, path_hash(last), 2**40 - 1)
    assert not lib.pp_mounts_is_negative(table, path_hash(last), 2**40)


def test_catalogs_are_told_once(state: SharedState, writer: Writer, tmp_path: Path) -> None:
    root, nested = index(tmp_path), index(tmp_path, b"/n")
    snapshot = Snapshot(root, POINT, {})
    mount = shown(1, snapshot)
    writer.show([mount])
    reader = Reader(state)
    words = [each.pointer.records_size // lib.PP_TOUCH_UNIT + 1 for each in (root, nested)]
    first = reader.catalogs()
    assert [each[:2] for each in first] == [(1, ROOT_HASH)]
    assert first[0][3] == os.fsencode(root.file)
    assert first[0][2] > 0
    before = reader.content()
    tell(state, mount)
    tell(state, mount)
    assert reader.content() == before

    snapshot.mount(nested)
    tell(state, mount)
    writer.show([mount])
    start = first[0][2] + words[0]
    said = (1, nested.root_hash, start, os.fsencode(nested.file))
    assert reader.catalogs() == [said, *first]
    # The same catalog in another mount is another one; what is reserved has none.
    writer.show([shown(2, Snapshot(root, POINT, {})), shown(3)])
    assert [each[:3] for each in reader.catalogs()[:1]] == [(2, ROOT_HASH, start + words[1])]
    assert len(reader.catalogs()) == 3
    assert [each for _, _, each in state.touched] == [root, nested, root]
    assert [word for word, _, _ in state.touched] == [each[2] for each in reader.catalogs()[::-1]]


def test_catalogs_beyond_the_touch_map_are_told_without(
    state: SharedState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyparrot.libc.shared_state._WORDS", 16 + 1)
    snapshot = Snapshot(index(tmp_path), POINT, {})
    snapshot.mount(index(tmp_path, b"/n"))
    size = snapshot.root.pointer.records_size
    assert size // lib.PP_TOUCH_UNIT + 1 > 1
    tell(state, shown(1, snapshot))
    assert [each[2] for each in Reader(state).catalogs()] == [0, 0]
    assert state.touched == []


@pytest.mark.parametrize("what", ["environment", "path", "covered", "table"])
def test_what_does_not_fit_leaves_no_table(
    state: SharedState, writer: Writer, tmp_path: Path, what: str
) -> None:
    """Half of what is known would be wrong answers; with no table shims give none."""
    plain = shown(1, Snapshot(index(tmp_path), POINT, VARIABLES))
    writer.show([plain])
    reader = Reader(state)
    content = reader.content()
    large = lib.PP_SHARED_STATE_SIZE
    snapshot = Snapshot(plain.snapshot.root, POINT, {}) if plain.snapshot else None
    assert snapshot is not None
    path = POINT
    mounts = []
    if what == "environment":
        snapshot.variables.append(b"LARGE=" + b"x" * large)
    elif what == "path":
        path += b"/x" * large
    elif what == "covered":
        snapshot.covered = list(range(1, large // 8 + 1))
    else:
        mounts = [shown(number) for number in range(10, 10 + large // 64)]
    last = shown(2, snapshot, path)
    table = writer.show([*mounts, last])
    assert reader.state.table == 0
    # The supervisor itself goes on with a table of its own.
    there = [lib.pp_mount_at(table, slot) for slot in range(table.mask + 1)]
    (mount,) = [m for m in there if m and m.number == 2]
    assert bytes(ffi.buffer(mount.path, mount.path_length)) == path
    # Nobody takes what was for what is: no table has a generation that another one had, or 0.
    assert reader.state.generation == 2
    assert reader.content().startswith(content)
    writer.show([plain])
    assert (reader.state.table, reader.state.generation) == (0, 3)


def test_a_shared_state_is_filled_to_its_end(
    state: SharedState, writer: Writer, tmp_path: Path
) -> None:
    """Mount by mount, catalog by catalog: what is there stays, and nothing is behind the end."""
    root = index(tmp_path)
    reader = Reader(state)
    for number in range(1, 20_000):
        snapshot = Snapshot(root, POINT, {b"N": b"%d" % number})
        writer.show([shown(number, snapshot)])
        if not reader.state.table:
            break
        (told,) = reader.table()[1]
        assert told.environment == [b"N=%d" % number]
    assert reader.state.table == 0
    assert lib.PP_SHARED_STATE_SIZE - 4096 < reader.used <= lib.PP_SHARED_STATE_SIZE
    # What was told of catalogs is still true, and each of them can be found.
    newest = reader.catalogs()[0][0]
    assert newest > number - 4
    assert [each[0] for each in reader.catalogs()] == list(range(newest, 0, -1))

"""The table of a snapshot's catalogs, as it grows (``csrc/core/snapshot.h``)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pyparrot.core import ffi, lib

HASHES = st.integers(1, 2**64 - 1)


class Table:
    """A snapshot with nothing but a table, and catalogs that have nothing but their hashes."""

    def __init__(self, capacity: int) -> None:
        self._kept: list[Any] = []
        self.snapshot = self._new("struct pp_snapshot *")
        self.snapshot.mounted = self._new("struct pp_mounted[]", capacity)
        self.snapshot.mask = capacity - 1

    def _new(self, kind: str, value: Any = None) -> Any:
        self._kept.append(ffi.new(kind, value))
        return self._kept[-1]

    def index(self, root_hash: int) -> Any:
        """A catalog."""
        index = self._new("struct pp_index *")
        index.header = self._new("struct pp_index_header *", {"root_hash": root_hash})
        return index

    def grown(self, capacity: int) -> Any:
        """A copy with a table of that size; None if it is too small."""
        copy = self._new("struct pp_snapshot *")
        table = self._new("struct pp_mounted[]", capacity)
        return None if lib.pp_snapshot_copy(copy, self.snapshot, table, capacity) else copy


@given(st.sets(HASHES, max_size=40), HASHES)
def test_all_catalogs_are_found_however_the_table_grows(hashes: set[int], other: int) -> None:
    table = Table(4)
    table.snapshot.mountpoint_length = 7
    mounted = {}
    for root_hash in hashes:
        mounted[root_hash] = table.index(root_hash)
        before = table.snapshot
        if not lib.pp_snapshot_has_room(before):
            table.snapshot = table.grown(2 * (before.mask + 1))
            found = [h for h in hashes if lib.pp_snapshot_find(before, h) != ffi.NULL]
            assert found == [h for h in hashes if h in mounted and h != root_hash]
        assert lib.pp_snapshot_mount(table.snapshot, mounted[root_hash]) == 0
    for root_hash, index in mounted.items():
        assert lib.pp_snapshot_find(table.snapshot, root_hash) == index
    if other not in hashes:
        assert lib.pp_snapshot_find(table.snapshot, other) == ffi.NULL
    assert table.snapshot.mask >= 2 * len(hashes) or len(hashes) < 2
    assert table.snapshot.mountpoint_length == 7


def test_a_table_is_never_full() -> None:
    """A look-up of what is not there ends at a free place."""
    table = Table(4)
    for root_hash in (4, 8, 12):
        assert lib.pp_snapshot_mount(table.snapshot, table.index(root_hash)) == 0
    assert lib.pp_snapshot_mount(table.snapshot, table.index(16)) == -1
    assert lib.pp_snapshot_find(table.snapshot, 16) == ffi.NULL
    assert lib.pp_snapshot_mount(table.snapshot, table.index(0)) == -1
    assert table.grown(2) is None
    assert table.grown(4) is not None

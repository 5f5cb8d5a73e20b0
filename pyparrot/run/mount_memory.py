"""Writes the mount table in the form in which C reads it (``csrc/core/mounts.h``).

This is the only place where one is written: the supervisor's C core and all shims read the same
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.core import ffi, lib
from pyparrot.libc.append_only import AppendOnlyMemory, OutOfRoom

if TYPE_CHECKING:
    from pyparrot.core import PpMount, PpMounts
    from pyparrot.libc.shared_state import SharedState

_PRIVATE_SIZE = 64 << 10
_LEAST_SLOTS = 8
_MOUNT_HEAD: int = ffi.offsetof("struct pp_mount", "path")


class MountFields(NamedTuple):
    """What C knows of a mount, a ``struct pp_mount``: see there.

    *variables* are those that variant symlinks refer to: ``NAME=value``.
    """

    number: int
    path: bytes
    view: bytes = b""
    device: int = 0
    blocks: int = 0
    flags: int = 0
    variables: Sequence[bytes] = ()


class MountEntry(NamedTuple):
    """A mount in the table, where the hash of its mount point is *hash*.

    *covered* are the hashes of the paths in the tree where something else is mounted.
    """

    hash: int
    fields: MountFields
    covered: Sequence[int] = ()


class MountMemory:
    """The memory with a session's mount table.

    It is that of the *shared_state*, if there is one, so that shims read what the engine reads.
    When that is full shims have no table any more, and what the engine reads is written into memory
    of this process, which grows with the number of mounts.
    """

    def __init__(self, shared_state: SharedState | None = None) -> None:
        self._shared_state = shared_state
        self._memory = (
            AppendOnlyMemory.private(_PRIVATE_SIZE) if shared_state is None else shared_state.memory
        )
        self._outgrown: list[AppendOnlyMemory] = []  # some thread may still be reading them
        self._forget()
        if shared_state is not None and shared_state.pointer.generation:
            self._adopt(shared_state)

    def _forget(self) -> None:
        """Nothing is in the memory yet."""
        self._mounts: dict[int, int] = {}  # the offsets of the mounts in it, by their numbers
        self._lists: dict[bytes, _List] = {}  # of what is covered, by the paths of the mounts
        self._negatives = 0
        self._entries: dict[int, tuple[int, int]] = {}
        self._table: PpMounts | None = None

    def _adopt(self, state: SharedState) -> None:
        """Use what another process has written there."""
        if not state.pointer.table:
            self._memory = AppendOnlyMemory.private(_PRIVATE_SIZE)  # there was no room
            return
        table: PpMounts = self._memory.at("struct pp_mounts *", state.pointer.table)
        self._table, self._negatives = table, table.negatives
        for place in range(table.mask + 1):
            slot, mount = table.slots[place], lib.pp_mount_at(table, place)
            if mount != ffi.NULL:
                offset, covered = lib.pp_mounts_mount(table, place), slot.entry >> 32
                self._mounts[mount.number] = offset
                self._entries[slot.hash] = (offset, covered)
                if covered:
                    path = bytes(ffi.buffer(mount.path, mount.path_length))
                    self._lists[path] = self._read_list(covered)

    def write(self, entries: Sequence[MountEntry], shadows: bool = False) -> PpMounts:
        """Have these mounts in the table, and tell shims of it; gives the ``struct pp_mounts *``.

        *shadows*: a mount point is the path of something real, too.
        """
        while True:
            try:
                table = self._write(entries)
                break
            except OutOfRoom:
                self._outgrown.append(self._memory)
                self._memory = AppendOnlyMemory.private(2 * self._memory.size)
                self._forget()
        state = self._shared_state
        if state is not None:
            state.publish(table.offset if self._memory is state.memory else 0, shadows)
        return table

    def add_negative(self, path: bytes, until: int) -> None:
        """Nothing can be mounted at *path* until then (seconds of CLOCK_MONOTONIC).

        A bounded number of paths is remembered; the oldest are forgotten first.
        """
        negatives = self._memory.at("struct pp_negatives *", self._negatives)
        lib.pp_negatives_add(negatives, path_hash(path), until)

    def _write(self, entries: Sequence[MountEntry]) -> PpMounts:
        if not self._negatives:
            self._negatives = self._memory.reserve(ffi.sizeof("struct pp_negatives"))
        wanted = {
            entry.hash: (self._mount(entry.fields), self._list(entry.fields.path, entry.covered))
            for entry in entries
        }
        depth = max((entry.fields.path.count(b"/") for entry in entries), default=0)
        new = {key: entry for key, entry in wanted.items() if key not in self._entries}
        others = {key: entry for key, entry in wanted.items() if self._entries.get(key) != entry}
        gone = {key: (0, 0) for key in self._entries if key not in wanted}
        table = self._table
        if table is None or 2 * (self._used(table) + len(new)) > table.mask:
            table = self._larger_table(len(wanted))
            new, others, gone = wanted, {}, {}
        table.depth = max(table.depth, depth)
        # In this order, so that what a mount was is known by its view before it is replaced.
        for key, (mount, covered) in (*new.items(), *others.items(), *gone.items()):
            fits = lib.pp_mounts_enter(table, key, mount, covered) == 0
            assert fits
        self._entries, self._table = wanted, table
        return table

    def _used(self, table: PpMounts) -> int:
        return sum(1 for place in range(table.mask + 1) if table.slots[place].hash)

    def _larger_table(self, count: int) -> PpMounts:
        """A new table, which is half empty when there are so many mounts in it."""
        capacity = _LEAST_SLOTS
        while capacity < 4 * count + 1:
            capacity *= 2
        slots = capacity * ffi.sizeof("struct pp_mount_slot")
        offset = self._memory.reserve(ffi.sizeof("struct pp_mounts") + slots)
        table: PpMounts = self._memory.at("struct pp_mounts *", offset)
        table.offset, table.mask, table.negatives = offset, capacity - 1, self._negatives
        return table

    def _mount(self, fields: MountFields) -> int:
        """The offset of a mount, which is written when it is first in a table."""
        if fields.number not in self._mounts:
            self._mounts[fields.number] = self._write_mount(fields)
        return self._mounts[fields.number]

    def _write_mount(self, fields: MountFields) -> int:
        memory = self._memory
        variables = b"".join(variable + b"\0" for variable in fields.variables)
        environment = memory.append_text(variables) if variables else 0
        texts = fields.path + b"\0" + fields.view + b"\0"
        offset = memory.reserve(max(_MOUNT_HEAD + len(texts), ffi.sizeof("struct pp_mount")))
        mount: PpMount = memory.at("struct pp_mount *", offset)
        mount.device, mount.blocks = fields.device, fields.blocks
        mount.number, mount.flags = fields.number, fields.flags
        mount.path_length, mount.view_length = len(fields.path), len(fields.view)
        mount.environment = environment
        ffi.memmove(mount.path, texts, len(texts))
        return offset

    def _list(self, path: bytes, hashes: Sequence[int]) -> int:
        """The offset of *hashes*, in a list for what is mounted at *path*; 0 if there are none.

        A list grows where it is, as long as there is room behind it.
        """
        known = self._lists.get(path)
        if not hashes:
            return 0
        if known is None or known.hashes != [*hashes[: len(known.hashes)]]:
            known = None
        if known is None or len(hashes) >= known.capacity:
            capacity = 2 * len(hashes) + 2
            offset = self._memory.reserve(capacity * ffi.sizeof("uint64_t"))
            known = self._lists[path] = _List(offset, capacity, [])
        places = self._memory.at("uint64_t *", known.offset)
        for place in range(len(known.hashes), len(hashes)):
            places[place] = hashes[place]  # there is a 0 behind it
        known.hashes[:] = hashes
        return known.offset

    def _read_list(self, offset: int) -> _List:
        """A list that another process has written."""
        places = self._memory.at("uint64_t *", offset)
        hashes: list[int] = []
        while places[len(hashes)]:
            hashes.append(places[len(hashes)])
        return _List(offset, len(hashes) + 1, hashes)


class _List(NamedTuple):
    """Hashes with a 0 behind them, in room for so many."""

    offset: int
    capacity: int
    hashes: list[int]


def path_hash(path: bytes, start: int = lib.PP_HASH_ROOT) -> int:
    """The hash of a path without dots, from that of the directory where it starts."""
    value: int = lib.pp_path_hash(start, path, len(path))
    return value

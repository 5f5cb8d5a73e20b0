"""Writes the mount table in the form in which C reads it (``csrc/core/mounts.h``).

This is the only place where one is written: the supervisor's C core and all shims read the same
bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.core import ffi, lib
from pyparrot.libc.append_only import AppendOnlyMemory, OutOfRoom

if TYPE_CHECKING:
    from pyparrot.core import PpMount, PpMounts, PpMountSlot
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
    """The memory with a session's mount tables.

    It is that of the *shared_state*, if there is one, so that shims read what the engine reads.
    When that is full shims have no table any more, and what the engine reads is written into memory
    of this process, which grows without bound.
    """

    def __init__(self, shared_state: SharedState | None = None) -> None:
        self._shared_state = shared_state
        self._memory = (
            AppendOnlyMemory.private(_PRIVATE_SIZE) if shared_state is None else shared_state.memory
        )
        self._mounts: dict[int, int] = {}  # the offsets of the mounts in it, by their numbers
        self._outgrown: list[AppendOnlyMemory] = []  # some thread may still be reading them
        if shared_state is not None and shared_state.pointer.generation:
            self._adopt(shared_state)

    def _adopt(self, state: SharedState) -> None:
        """Use what another process has written there."""
        if not state.pointer.table:
            self._memory = AppendOnlyMemory.private(_PRIVATE_SIZE)  # there was no room
            return
        table: PpMounts = self._memory.at("struct pp_mounts *", state.pointer.table)
        for place in range(table.mask + 1):
            mount = lib.pp_mount_at(table, place)
            if mount != ffi.NULL:
                self._mounts[mount.number] = table.slots[place].mount

    def write(
        self,
        entries: Sequence[MountEntry],
        negatives: Mapping[int, int],
        depth: int,
        shadows: bool = False,
    ) -> PpMounts:
        """Write a table, and tell shims to use it; gives the ``struct pp_mounts *``.

        *negatives* says, for the hash of each path that is known to be no mount point, until when
        (seconds of CLOCK_MONOTONIC). *depth* is the number of components of the longest mount
        point. *shadows*: a mount point is the path of something real, too.
        """
        offset = self._write_somewhere(entries, negatives, depth)
        state = self._shared_state
        if state is not None:
            state.publish(offset if self._memory is state.memory else 0, shadows)
        table: PpMounts = self._memory.at("struct pp_mounts *", offset)
        return table

    def _write_somewhere(
        self, entries: Sequence[MountEntry], negatives: Mapping[int, int], depth: int
    ) -> int:
        while True:
            try:
                return self._write_table(entries, negatives, depth)
            except OutOfRoom:
                self._outgrown.append(self._memory)
                self._memory = AppendOnlyMemory.private(2 * self._memory.size)
                self._mounts.clear()

    def _write_table(
        self, entries: Sequence[MountEntry], negatives: Mapping[int, int], depth: int
    ) -> int:
        memory = self._memory
        found = [(e.hash, self._mount(e.fields), self._hashes(e.covered)) for e in entries]
        capacity = _LEAST_SLOTS
        while capacity < 2 * len(found) + 1:
            capacity *= 2
        head = ffi.sizeof("struct pp_mounts") + capacity * ffi.sizeof("struct pp_mount_slot")
        size = len(negatives) * ffi.sizeof("struct pp_negative_entry")
        offset = memory.reserve(head + size)
        table: PpMounts = memory.at("struct pp_mounts *", offset)
        table.offset, table.mask, table.depth = offset, capacity - 1, depth
        table.negatives = len(negatives)
        for entry_hash, mount, covered in found:
            slot = _free_slot(table, entry_hash)
            slot.hash, slot.mount, slot.covered = entry_hash, mount, covered
        rows = memory.at("struct pp_negative_entry *", offset + head)
        for row, (negative_hash, until) in enumerate(sorted(negatives.items())):
            rows[row].hash, rows[row].until = negative_hash, until
        return offset

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

    def _hashes(self, hashes: Sequence[int]) -> int:
        """The offset of hashes with a 0 behind them; 0 if there are none."""
        if not hashes:
            return 0
        return self._memory.append_once(bytes(ffi.buffer(ffi.new("uint64_t[]", [*hashes, 0]))))


def _free_slot(table: PpMounts, entry_hash: int) -> PpMountSlot:
    place = entry_hash
    while table.slots[place & table.mask].hash:
        place += 1
    return table.slots[place & table.mask]


def path_hash(path: bytes, start: int = lib.PP_HASH_ROOT) -> int:
    """The hash of a path without dots, from that of the directory where it starts."""
    value: int = lib.pp_path_hash(start, path, len(path))
    return value

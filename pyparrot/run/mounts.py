"""The mount table: which paths are virtual, and what is seen there (``csrc/core/mounts.h``)."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pyparrot.core import ffi, lib
from pyparrot.libc.shared_state import Refusal, SharedState, Shown

if TYPE_CHECKING:
    from pyparrot.core import Array, PpMount
    from pyparrot.tree.base import Tree

BLOCK_SIZE = 4096
"""The unit of `Mount.size` as programs see it."""


class Mount(NamedTuple):
    """A repository at a mount point: what C knows of it is *record*, a ``struct pp_mount``.

    Without a repository the mount point is reserved: who touches it asks for what belongs there.
    *number* is another one for each.
    """

    path: bytes
    repository: Tree | None
    view: str
    record: PpMount
    number: int


class MountTable:
    """All mounts of a session. Any thread may change it while others look paths up.

    *views* is the directory of views. `namespace` is the ``struct pp_namespace`` for the engine.
    What changes is told to the *shared_state*, if there is one.
    """

    def __init__(self, views: str, shared_state: SharedState | None = None) -> None:
        self._shared_state = shared_state
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._mounts: dict[bytes, Mount] = {}
        # Mounts that others have replaced: what is open in their views stays what it is.
        self._former: list[Mount] = []
        self._by_record: dict[int, Mount] = {}
        self._refused: dict[bytes, int] = {}
        self._kept: list[Any] = []  # what C refers to: somebody may still be reading old tables
        self.namespace = ffi.new("struct pp_namespace *")
        text = self._text(views.encode("utf-8", "surrogateescape"))
        self.namespace.views, self.namespace.views_length = text, len(text) - 1
        self._publish()

    def _text(self, content: bytes) -> Array[bytes]:
        text = ffi.new("char[]", content)
        self._kept.append(text)
        return text

    def reserve(self, path: bytes) -> None:
        """Ask for what belongs at *path* when it is first touched."""
        record = ffi.new("struct pp_mount *")
        record.path, record.path_length = self._text(path), len(path)
        record.view = self._text(b"")
        with self._lock:
            self._enter(Mount(path, None, "", record, next(self._numbers)))

    def mount(
        self, path: bytes, repository: Tree, *, size: int = 0, automount: bool = False
    ) -> Mount:
        """Show *repository* at *path*; *size* (bytes) is what statfs says.

        It takes the place of what is mounted there; descriptors and working directories stay where
        they are. Below an *automount* what is missing is asked for.
        """
        view = view_name(path, repository)
        record = ffi.new("struct pp_mount *")
        record.path, record.path_length = self._text(path), len(path)
        encoded = self._text(view.encode())
        record.view, record.view_length = encoded, len(encoded) - 1
        record.snapshot = repository.snapshot.pointer
        record.device = repository.device
        record.blocks = size // BLOCK_SIZE
        record.flags = lib.PP_AUTOMOUNT if automount else 0
        mount = Mount(path, repository, view, record, next(self._numbers))
        with self._lock:
            before = self._mounts.get(path)
            if before is not None and before.repository is not None and before.view != view:
                self._former.append(before)
            self._former = [former for former in self._former if former.view != view]
            self._refused.pop(path, None)
            self._enter(mount)
        return mount

    def _enter(self, mount: Mount) -> None:
        self._by_record[_address(mount.record)] = mount
        self._mounts[mount.path] = mount
        self._cover()
        self._publish()

    def _cover(self) -> None:
        """Tell the walks in each repository where others are mounted in it."""
        for mount in self._mounts.values():
            if mount.repository is None:
                continue
            inside = mount.path + b"/"
            covered = [path[len(mount.path) :] for path in self._mounts if path.startswith(inside)]
            mount.repository.snapshot.cover(covered)
            self.has_grown(mount)

    def refuse(self, path: bytes, seconds: int) -> None:
        """Nothing is to be asked about *path* for so long: there is nothing there."""
        with self._lock:
            now = int(time.monotonic())
            self._refused = {p: until for p, until in self._refused.items() if until > now}
            self._refused[path] = now + seconds
            self._publish()

    def has_grown(self, mount: Mount) -> None:
        """A catalog was added to a mounted repository."""
        assert mount.repository is not None
        mount.record.snapshot = mount.repository.snapshot.pointer
        if self._shared_state is not None:
            self._shared_state.tell(_shown(mount, 0))

    def find(self, record: PpMount) -> Mount:
        """The mount of a ``struct pp_mount *``."""
        return self._by_record[_address(record)]

    def numbered(self, number: int) -> Mount | None:
        """The mount of that number, though another may have taken its place."""
        found = (mount for mount in self._by_record.values() if mount.number == number)
        return next(found, None)

    def get(self, path: bytes) -> Mount | None:
        """What is mounted at *path*."""
        return self._mounts.get(path)

    def __iter__(self) -> Iterator[Mount]:
        return iter(list(self._mounts.values()))

    def _publish(self) -> None:
        shown = [_shown(mount, _hash(path)) for path, mount in self._mounts.items()]
        # No path has these hashes, but for views they count.
        shown += [_shown(mount, _hash(b"/" + mount.view.encode())) for mount in self._former]
        refused = [Refusal(_hash(path), until) for path, until in self._refused.items()]
        entries = [(each.hash, each.record, 0) for each in shown]
        entries += [(each.hash, ffi.NULL, each.until) for each in refused]
        capacity = 8
        while capacity < 2 * len(entries) + 1:
            capacity *= 2
        slots = ffi.new("struct pp_mount_slot[]", capacity)
        for path_hash, record, until in entries:
            place = path_hash
            while slots[place & capacity - 1].hash:
                place += 1
            slot = slots[place & capacity - 1]
            slot.hash, slot.mount, slot.until = path_hash, record, until
        table = ffi.new("struct pp_mounts *")
        table.slots, table.mask = slots, capacity - 1
        table.depth = max((path.count(b"/") for path in self._mounts), default=0)
        self._kept += (slots, table)
        self.namespace.mounts = table
        if self._shared_state is not None:
            covers = any(os.path.lexists(path) for path in self._mounts)
            self._shared_state.show(shown, refused, table.depth, covers)


def _shown(mount: Mount, path_hash: int) -> Shown:
    snapshot = None if mount.repository is None else mount.repository.snapshot
    return Shown(path_hash, mount.record, mount.number, snapshot)


def _hash(path: bytes) -> int:
    value: int = lib.pp_path_hash(lib.PP_HASH_ROOT, path, len(path))
    return value


def _address(record: PpMount) -> int:
    return int(ffi.cast("uintptr_t", record))


def view_name(path: bytes, repository: Tree) -> str:
    """The name of the views' directory for a repository's snapshot at a mount point.

    The same for all sessions that show the same thing at the same place; another for any other.
    """
    import hashlib  # not before something is mounted

    what = hashlib.sha1(path + b"\0" + repository.identity).hexdigest()[:16]
    return f"{repository.name}-{what}"

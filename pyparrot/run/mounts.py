"""The mount table: which paths are virtual, and what is seen there (``csrc/core/mounts.h``)."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.core import ffi, lib
from pyparrot.run.journal import CHOSEN, RESERVED, Entry
from pyparrot.run.mount_memory import MountEntry, MountFields, MountMemory, path_hash
from pyparrot.sources.capabilities import Pinned

if TYPE_CHECKING:
    from pyparrot.core import PpMount
    from pyparrot.libc.shared_state import SharedState
    from pyparrot.run.journal import Journal
    from pyparrot.tree.base import Tree

BLOCK_SIZE = 4096
"""The unit of a mount's size as programs see it."""

FORMER_AT_MOST = 16
"""So many mounts that others have replaced are known at least, whether they are used or not."""

ENDED_SECONDS = 60.0
"""How long a mount is kept from which no new call can lead: some call may be on its way."""

_VIEW_HASH_ROOT = lib.PP_HASH_ROOT ^ (1 << 63)
"""Where hashes of views start, so that no path has them."""


class Mount(NamedTuple):
    """A tree at a mount point.

    Without a tree the mount point is reserved: what belongs there is mounted when a program first
    touches it. *number* is the mount's own for the whole session, *fields* are what C knows, and
    *entry* what another supervisor needs to mount it again.
    """

    path: bytes
    tree: Tree | None
    view: str
    number: int
    fields: MountFields
    entry: Entry


class MountTable:
    """All mounts of a session. Any thread may change it while others look paths up.

    *views* is the directory of views. `namespace` is the ``struct pp_namespace`` for the engine.
    Shims learn of it by the *shared_state*, if there is one. What is mounted stands in the
    *journal* before anybody sees it.
    """

    def __init__(
        self,
        views: str,
        shared_state: SharedState | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._shared_state = shared_state
        self._journal = journal
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._mounts: dict[bytes, Mount] = {}
        # Mounts that others have replaced: what is open in their views stays what it is.
        self._former: list[Mount] = []
        # Those that nobody can come upon any more, and since when (seconds of CLOCK_MONOTONIC).
        self._ended: list[tuple[float, Mount]] = []
        self.forgetting: list[Callable[[Mount], None]] = []
        """Called for each mount that is about to be forgotten; its tree is the last one's to close.
        """
        self._by_number: dict[int, Mount] = {}
        self._memory = MountMemory(shared_state)
        encoded = os.fsencode(views)
        text = ffi.new("char[]", encoded)
        self._snapshots = ffi.new("struct pp_snapshots *", {"of": 0})
        self._kept: list[object] = [text]
        self.namespace = ffi.new("struct pp_namespace *")
        self.namespace.views, self.namespace.views_length = text, len(encoded)
        self.namespace.snapshots = self._snapshots
        if journal is None or not journal.read():  # else it is for `restore` to publish
            self._publish()

    def reserve(self, path: bytes) -> None:
        """Ask for what belongs at *path* when a program first touches it."""
        with self._lock:
            self._enter(_made(Entry(RESERVED, next(self._numbers), path), None))
            self._publish()

    def mount(
        self,
        path: bytes,
        tree: Tree,
        *,
        size: int = 0,
        automount: bool = False,
        kind: int = CHOSEN,
        source: bytes = b"",
    ) -> Mount:
        """Show *tree* at *path*; *size* (bytes) is what statfs says.

        It takes the place of what is mounted there; descriptors and working directories stay where
        they are. Below an *automount* what is missing is asked for. *kind* and *source* are those
        of the journal's `Entry`; without them it is a newer revision of what is mounted there.
        """
        view = os.fsencode(view_name(path, tree))
        flags = lib.PP_AUTOMOUNT if automount else 0
        pin = tree.pin().encode() if isinstance(tree, Pinned) else b""
        with self._lock:
            before = self._mounts.get(path)
            if before is not None and before.entry.source and not source:
                kind, source = before.entry.kind, before.entry.source
            number, blocks = next(self._numbers), size // BLOCK_SIZE
            mount = _made(Entry(kind, number, path, blocks, flags, view, source, pin), tree)
            self._enter(mount)
            self._publish()
        return mount

    def restore(self, trees: Iterable[tuple[Entry, Tree | None]]) -> None:
        """Mount again what another supervisor has mounted, under the same numbers.

        What has no tree is reserved.
        """
        with self._lock:
            for entry, tree in trees:
                self._enter(_made(entry, tree))
            self._numbers = itertools.count(max(self._by_number, default=0) + 1)
            self._publish()

    def _enter(self, mount: Mount) -> None:
        self._by_number[mount.number] = mount
        self._make_room(mount.number + 1)
        before = self._mounts.get(mount.path)
        if before is not None and before.view:
            self._former.append(before)
        # What has the same view is the same.
        self._end([former for former in self._former if former.view == mount.view])
        self._mounts[mount.path] = mount
        self._use_snapshot(mount)

    def _end(self, mounts: Sequence[Mount]) -> None:
        """Take former mounts out of the table; a thread may still be about to use them."""
        now = time.monotonic()
        self._ended += ((now, mount) for mount in mounts)
        self._former = [former for former in self._former if former not in mounts]

    def tidy(self, names_in_use: Callable[[], set[str]]) -> None:
        """Forget mounts that others have replaced, when there are many of them.

        *names_in_use* gives the names of the views in which something is open: those stay.
        """
        if len(self._former) > FORMER_AT_MOST:
            names = {os.fsencode(name) for name in names_in_use()}
            with self._lock:
                older = self._former[:-FORMER_AT_MOST]
                self._end([former for former in older if not _is_in(former.fields.view, names)])
                self._publish()
        with self._lock:
            before = time.monotonic() - ENDED_SECONDS
            forgotten = [mount for since, mount in self._ended if since < before]
            self._ended = [(since, mount) for since, mount in self._ended if since >= before]
            for mount in forgotten:
                self._snapshots.of[mount.number] = ffi.NULL
                del self._by_number[mount.number]
        for mount in forgotten:
            for tell in self.forgetting:
                tell(mount)

    def _cover(self) -> None:
        """Tell the walks in each tree where others are mounted in it."""
        inside: dict[bytes, list[bytes]] = {}
        for path in self._mounts:
            end = path.rfind(b"/")
            while end > 0:
                inside.setdefault(path[:end], []).append(path[end:])
                end = path.rfind(b"/", 0, end)
        for mount in self._everything():
            if mount.tree is not None and mount.tree.snapshot.cover(inside.get(mount.path, ())):
                self._use_snapshot(mount)

    def _everything(self) -> list[Mount]:
        """All mounts, those first that others have replaced."""
        return [*self._former, *self._mounts.values()]

    def add_negative(self, path: bytes, seconds: int) -> None:
        """There is nothing to mount at *path*: it is not asked for again for so long."""
        with self._lock:
            self._memory.add_negative(path, int(time.monotonic()) + seconds)

    def has_grown(self, mount: Mount) -> None:
        """An index was added to a mounted tree."""
        with self._lock:
            self._use_snapshot(mount)

    def find(self, record: PpMount) -> Mount:
        """The mount of a ``struct pp_mount *``."""
        return self._by_number[record.number]

    def numbered(self, number: int) -> Mount | None:
        """The mount of that number, though another may have taken its place."""
        return self._by_number.get(number)

    def get(self, path: bytes) -> Mount | None:
        """What is mounted at *path*."""
        return self._mounts.get(path)

    def __iter__(self) -> Iterator[Mount]:
        return iter(list(self._mounts.values()))

    # What C reads. Some thread may be reading what is replaced here, so all of it is kept.

    def _make_room(self, count: int) -> None:
        """Have room for the snapshots of mounts with numbers below *count*."""
        have = self._snapshots.count
        if count > have:
            snapshots = ffi.new("struct pp_snapshots *", {"count": 2 * count, "of": 2 * count})
            for number in range(have):
                snapshots.of[number] = self._snapshots.of[number]
            self._kept.append(self._snapshots)
            self._snapshots = snapshots
            self.namespace.snapshots = snapshots

    def _use_snapshot(self, mount: Mount) -> None:
        """Let the engine and shims use the snapshot that the mount's tree has by now."""
        if mount.tree is None:
            return
        snapshot = mount.tree.snapshot
        self._snapshots.of[mount.number] = snapshot.pointer
        if self._shared_state is not None:
            self._shared_state.add_catalogs(mount.number, snapshot)

    def _publish(self) -> None:
        self._cover()
        if self._journal is not None:
            entries = (mount.entry for mount in self._everything())
            self._journal.write(sorted(entries, key=_number))
        told = [_told(mount, path_hash(path)) for path, mount in self._mounts.items()]
        told += [
            _told(mount, path_hash(mount.fields.view, _VIEW_HASH_ROOT)) for mount in self._former
        ]
        shadows = any(os.path.lexists(path) for path in self._mounts)
        self.namespace.mounts = self._memory.write(told, shadows)


def _made(entry: Entry, tree: Tree | None) -> Mount:
    fields = MountFields(entry.number, entry.path, entry.view, 0, entry.blocks, entry.flags)
    if tree is not None:
        fields = fields._replace(device=tree.device, variables=tree.snapshot.variables)
    return Mount(entry.path, tree, os.fsdecode(entry.view), entry.number, fields, entry)


def _is_in(view: bytes, names: Container[bytes]) -> bool:
    return view in names or view + ffi.string(lib.PP_PROGRAM_SUFFIX) in names


def _number(entry: Entry) -> int:
    return entry.number


def _told(mount: Mount, entry_hash: int) -> MountEntry:
    covered = () if mount.tree is None else mount.tree.snapshot.covered
    return MountEntry(entry_hash, mount.fields, covered)


def view_name(path: bytes, tree: Tree) -> str:
    """The name of the views' directory for a tree's snapshot at a mount point.

    The same for all sessions that show the same thing at the same place; another for any other.
    """
    import hashlib  # not before something is mounted

    what = hashlib.sha1(path + b"\0" + tree.identity).hexdigest()[:16]
    return f"{tree.name}-{what}"

"""What a run has used: the touch map becomes the cache's order of eviction, and a list of paths."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pyparrot.tree.index import BadIndexError, Index

if TYPE_CHECKING:
    from pyparrot.libc.shared_state import SharedState
    from pyparrot.libc.shared_usage import SharedUsage
    from pyparrot.run.mounts import Mount, MountTable


class UsageRecorder:
    """Tells the cache which files were opened, so that they are not evicted first.

    *state* and *usage* are what shims read and write. If *touched* is a file's name, the paths that
    were used are written to it, a line each, in the order of their first use.
    """

    def __init__(self, state: SharedState, usage: SharedUsage, touched: str | None) -> None:
        self._state = state
        self._usage = usage
        self._touched = touched
        self._used: dict[bytes, int] = {}  # the order of first use

    def forget(self, mount: Mount) -> None:
        """Record what was used of *mount*, which is to be forgotten."""
        self._record(mount, self._catalogs(mount.number))
        self._state.forget(mount.number)

    def finish(self, table: MountTable) -> None:
        """Record what was used of everything that is mounted."""
        for catalog in self._catalogs():
            mount = table.numbered(catalog[1])
            if mount is not None:
                self._record(mount, [catalog])
        if self._touched is not None:
            with open(self._touched, "wb") as file:
                file.writelines(path + b"\n" for path in sorted(self._used, key=self._order))

    def _record(self, mount: Mount, catalogs: Iterable[tuple[int, int, Index]]) -> None:
        from pyparrot.sources.capabilities import CountsUse

        counting = mount.tree if isinstance(mount.tree, CountsUse) else None
        for start, _, index in catalogs:
            for touch in self._usage.touches(start, index):
                if self._touched is not None:
                    path = mount.path + index.path_of(touch.record)
                    self._used[path] = min(touch.order, self._used.get(path, touch.order))
                if counting is not None and touch.is_opened:
                    with contextlib.suppress(BadIndexError):  # nobody can tell what was used
                        node = index.node(touch.record)
                        if stat.S_ISREG(node.mode):
                            counting.use(node)

    def _order(self, path: bytes) -> tuple[int, bytes]:
        return self._used[path], path

    def _catalogs(self, number: int | None = None) -> Iterator[tuple[int, int, Index]]:
        """Those with words in the touch map: the first word, the mount's number, the index.

        Of one mount, or of all.
        """
        for touched in self._state.touched:
            if number in (None, touched[1]):
                yield touched
        for told in self._state.not_reopened():
            if told.words and number in (None, told.mount):
                with contextlib.suppress(OSError, BadIndexError):  # it may have been evicted
                    yield told.words, told.mount, Index(told.file, told.path)

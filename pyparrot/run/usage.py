"""What a run has used: the touch map becomes the cache's order of eviction, and a list of paths."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyparrot.tree.index import BadIndexError, Index

if TYPE_CHECKING:
    from pyparrot.libc.substitution import Shim
    from pyparrot.run.mounts import MountTable


def record_usage(shim: Shim, table: MountTable, touched: str | None) -> None:
    """Tell the cache which files were opened, so that they are not evicted first.

    If *touched* is a file's name, the paths that were used are written to it, a line each, in the
    order of their first use.
    """
    from pyparrot.sources.capabilities import CountsUse

    used: list[tuple[int, bytes]] = []
    for start, number, index in _catalogs(shim):
        mount = table.numbered(number)
        if mount is None or mount.tree is None:
            continue
        counting = mount.tree if isinstance(mount.tree, CountsUse) else None
        for touch in shim.shared.touches(start, index):
            node = index.node(touch.record)
            if counting is not None and touch.is_opened and stat.S_ISREG(node.mode):
                counting.use(node)
            if touched is not None:
                used.append((touch.order, mount.path + index.path_of(touch.record)))
    if touched is not None:
        with open(touched, "wb") as file:
            file.writelines(path + b"\n" for _, path in sorted(used))


def _catalogs(shim: Shim) -> Iterator[tuple[int, int, Index]]:
    """Those with words in the touch map: the first word, the mount's number, the index."""
    yield from shim.state.touched
    for told in shim.state.not_reopened():
        if told.words:
            with contextlib.suppress(OSError, BadIndexError):  # it may have been evicted
                yield told.words, told.mount, Index(told.file, told.path)

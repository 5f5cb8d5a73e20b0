"""Go on to new revisions of mounted trees while programs run.

A run keeps the snapshots that it has started with, unless the user asks for this. Descriptors and
working directories stay in the old revision; paths lead to the new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyparrot.errors import PyparrotError
from pyparrot.sources.capabilities import Renewable

if TYPE_CHECKING:
    from pyparrot.run.mounter import Mounter
    from pyparrot.run.mounts import Mount, MountTable

_LEAST_SECONDS = 1.0


class Follower:
    """Looks for new revisions of what *table* mounts, each as often as its TTL says."""

    def __init__(
        self, table: MountTable, mounter: Mounter, complain: Callable[[str], None]
    ) -> None:
        self._table = table
        self._mounter = mounter
        self._complain = complain
        self._due: dict[bytes, float] = {}

    def start(self) -> None:
        """Start the thread that looks for them; it ends with the process."""
        threading.Thread(target=self._follow, name="follow", daemon=True).start()

    def _follow(self) -> None:
        while True:
            time.sleep(_LEAST_SECONDS)
            for mount in self._table:
                tree = mount.tree
                ttl = tree.ttl() if isinstance(tree, Renewable) else None
                if ttl is None:
                    continue  # it has no revisions, or a fixed one
                now = time.monotonic()
                due = self._due.setdefault(mount.path, now + max(ttl, _LEAST_SECONDS))
                if now >= due:
                    del self._due[mount.path]
                    self._update(mount)

    def _update(self, mount: Mount) -> None:
        assert isinstance(mount.tree, Renewable)
        try:
            newest = self._mounter.open_newest(mount.tree)
        except (PyparrotError, OSError) as error:
            self._complain(str(error))
            return
        if newest.identity == mount.tree.identity:
            self._mounter.close_tree(newest)
        else:
            self._mounter.mount(mount.path, newest)
            self._mounter.tidy()

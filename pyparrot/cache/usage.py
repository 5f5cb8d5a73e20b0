"""What is used of the objects, and what goes first when there is no room.

The ledger is only told what happens, of many objects at once; where it can't be written, such as on
a full disk, everything goes on without it. What is evicted is decided by the files that are there,
not by what the ledger knows: processes that were killed have told it nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Callable, TypeVar

from pyparrot.cache.names import ObjectName
from pyparrot.cache.use_notes import UseNotes

if TYPE_CHECKING:
    from pyparrot.cache.ledger import Ledger, Record

_FLUSH_COUNT = 256
_Result = TypeVar("_Result")


class Usage:
    """What was added and used, and the ledger in *directory*.

    *files* lists the objects' files; *held* names what pins hold, for when the ledger can't tell.
    """

    def __init__(
        self,
        directory: str,
        files: Callable[[], Iterator[tuple[ObjectName, os.stat_result]]],
        held: Callable[[], set[ObjectName]],
    ) -> None:
        self._directory = directory
        self._files = files
        self._held = held
        self._lock = threading.Lock()
        self._added: dict[ObjectName, int] = {}
        self._added_bytes = 0
        self._used: set[ObjectName] = set()
        self._notes = UseNotes(directory)
        self._ledger: Ledger | None = None

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def use(self, name: ObjectName) -> None:
        """Count an object as used now."""
        with self._lock:
            self._used.add(name)

    def add(self, name: ObjectName, size: int, enough: int) -> bool:
        """Count an object as added; gives whether it is time for `flush`.

        It is when many were added, or more than *enough* bytes (if that is not 0).
        """
        with self._lock:
            self._added[name] = size
            self._added_bytes += size
            return len(self._added) >= _FLUSH_COUNT or self._added_bytes > enough > 0

    def forget(self, names: Collection[ObjectName]) -> None:
        """Count objects as gone."""
        with self._lock:
            for name in names:
                self._added.pop(name, None)
        self._tell(lambda ledger: ledger.remove(names))

    @property
    def has_added(self) -> bool:
        """Whether objects were added of which the ledger does not know yet."""
        return bool(self._added)

    def flush(self) -> int | None:
        """Tell the ledger what was used and added.

        Gives the bytes of all objects if something was added; None if not, or if the ledger can't
        tell.
        """
        with self._lock:
            added, self._added, self._added_bytes = self._added, {}, 0
            used, self._used = self._used, set()
        # To open the ledger for this alone would make the end of many runs slow.
        if used and (added or self._ledger is not None or not self._notes.add(used)):
            self._tell(lambda ledger: ledger.use(used))
        if not added:
            return None
        size = self._tell(lambda ledger: ledger.add(added.items()))
        if size is None:
            with self._lock:
                self._added = {**added, **self._added}
        return size

    def victims(self, bytes_to_free: int, but: str = "") -> tuple[list[ObjectName], int]:
        """What has to go, *but* one object, to free so many bytes; and how many that frees."""
        gone, freed = [], 0
        for record in self._by_use():
            if freed >= bytes_to_free:
                break
            if record.name != but:
                freed += record.size
                gone.append(record.name)
        return gone, freed

    def _by_use(self) -> list[Record]:
        """The objects that may go, least recently used first."""
        from pyparrot.cache.ledger import Record

        known = self._tell(lambda ledger: {record.name: record for record in ledger.records()})
        stay = self._held() if known is None else set()
        found = []
        for name, size, used in self._files_and_times():
            record = (known or {}).get(name, Record(name, size, used, name in stay))
            if not record.pinned:
                found.append(record._replace(size=size, used=max(used, record.used)))
        return sorted(found, key=lambda record: record.used)

    # The ledger

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened when it is first needed: warm use never needs it."""
        from pyparrot.cache.ledger import FAILURES, Ledger

        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(self._directory)
                noted = self._notes.take()
                if noted:
                    with contextlib.suppress(*FAILURES):
                        self._ledger.use(noted)
            return self._ledger

    def _tell(self, ask: Callable[[Ledger], _Result]) -> _Result | None:
        """Let the ledger do something; None if it can't now."""
        from pyparrot.cache.ledger import FAILURES, is_damaged

        try:
            return ask(self.ledger)
        except FAILURES as error:
            if is_damaged(error):
                self._renew()
            return None

    def _renew(self) -> None:
        """Begin a new ledger; what was pinned is written down elsewhere, too."""
        from pyparrot.cache.ledger import FAILURES, Ledger

        with self._lock:
            self._ledger = None
            Ledger.remove_files(self._directory)
        with contextlib.suppress(*FAILURES):
            self.reconcile()
            self.ledger.pin(self._held(), True)

    def records(self) -> list[Record]:
        """What the ledger knows, least recently used first."""
        return list(self.ledger.records())

    def reconcile(self) -> None:
        """Make the ledger agree with the files."""
        self.ledger.reconcile(self._files_and_times())

    def pin(self, names: Iterable[ObjectName], pinned: bool) -> None:
        """Let objects that are there stay whatever happens, or no longer."""
        self.ledger.pin(names, pinned)

    def _files_and_times(self) -> Iterator[tuple[ObjectName, int, float]]:
        """Every object's name, size (bytes), and when it was used at the latest (unix seconds)."""
        for name, status in self._files():
            yield name, status.st_size, max(status.st_atime, status.st_ctime)

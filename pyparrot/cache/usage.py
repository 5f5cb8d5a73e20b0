"""What is used of the objects, and what goes first when there is no room.

The ledger is only told what happens, of many objects at once; where it can't be written, such as on
a full disk, everything goes on without it. What is evicted is decided by the files that are there,
not by what the ledger knows: processes that were killed have told it nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Callable, NamedTuple, TypeVar

from pyparrot.cache.names import ObjectName
from pyparrot.cache.use_notes import UseNotes
from pyparrot.errors import PyparrotError

if TYPE_CHECKING:
    from pyparrot.cache.ledger import Ledger, Record

SLACK, REST = "/slack", "/rest"
"""The ledger's rows that are no objects: what objects take beyond their sizes, and all else (mostly
views). No object has such a name."""

_FLUSH_COUNT = 256
_MOST_UNTOLD = 1 << 16
"""How many objects are kept in mind for a ledger that can't be written."""

_MOST_USED = 1 << 12
_HINT = "is there room, and may it be written to?"
_BLOCK = 4096
_Result = TypeVar("_Result")


def taken(size: int) -> int:
    """The bytes of disk space that a file of *size* bytes takes: whole blocks."""
    return -(-size // _BLOCK) * _BLOCK


class Victims(NamedTuple):
    """What has to go: objects, the *bytes* that frees, and when the last of them was *used*.

    *slack* is what the others take beyond their sizes, in bytes.
    """

    names: list[ObjectName]
    bytes: int
    used: float
    slack: int


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
        self._other: Counter[str] = Counter()
        self._since = [0, 0]  # objects and bytes since the ledger was told
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
            enough = len(self._used) >= _MOST_USED
        if enough:
            self._flush_used()

    def add(self, name: ObjectName, size: int, enough: int) -> bool:
        """Count an object as added; gives whether it is time for `flush`.

        It is when many were added, or more than *enough* bytes (if that is not 0).
        """
        with self._lock:
            self._added[name] = size
            self._other[SLACK] += taken(size) - size
            return self._count(taken(size), enough)

    def add_other(self, size: int, enough: int) -> bool:
        """Count *size* bytes of what is no object as added; gives the same as `add`."""
        with self._lock:
            self._other[REST] += size
            return self._count(size, enough)

    def _count(self, size: int, enough: int) -> bool:
        self._since[0] += 1
        self._since[1] += size
        return self._since[0] >= _FLUSH_COUNT or self._since[1] > enough > 0

    def forget(self, names: Collection[ObjectName]) -> None:
        """Count objects as gone."""
        with self._lock:
            for name in names:
                self._added.pop(name, None)
        self._tell(lambda ledger: ledger.remove(names))

    @property
    def has_added(self) -> bool:
        """Whether something was added of which the ledger does not know yet."""
        return bool(self._added or any(self._other.values()))

    @property
    def has_added_objects(self) -> bool:
        """The same of objects alone."""
        return bool(self._added)

    def flush(self) -> int | None:
        """Tell the ledger what was used and added.

        Gives the bytes of all that the cache holds if something was added; None if not. If the
        ledger can't tell they are counted.
        """
        self._flush_used()
        with self._lock:
            added, self._added = self._added, {}
            other, self._other = self._other, Counter()
            self._since = [0, 0]
        if not added and not other:
            return None
        size = self._tell(lambda ledger: ledger.add(added.items(), other))
        if size is None:
            with self._lock:
                if len(added) < _MOST_UNTOLD:
                    self._added = {**added, **self._added}
                self._other += other
            size = self._counted() + other[REST]
        return size

    def _flush_used(self) -> None:
        with self._lock:
            used, self._used = self._used, set()
        # To open the ledger for this alone would make the end of many runs slow.
        is_told = bool(self._added or self._other) or self._ledger is not None
        if used and (is_told or not self._notes.add(used)):
            self._tell(lambda ledger: ledger.use(used))

    def _counted(self) -> int:
        """The bytes of all objects, by their files."""
        return sum(taken(status.st_size) for _, status in self._files())

    def victims(self, bytes_to_free: int, but: str = "") -> Victims:
        """What has to go, *but* one object, to free so many bytes."""
        gone, freed, slack, last = [], 0, 0, 0.0
        for record in self._by_use():
            size = taken(record.size)
            if record.pinned or record.name == but or freed >= bytes_to_free:
                slack += size - record.size
            else:
                freed += size
                gone.append(record.name)
                last = record.used
        return Victims(gone, freed, last, slack)

    def _by_use(self) -> list[Record]:
        """The objects, least recently used first."""
        from pyparrot.cache.ledger import Record

        known = self._tell(lambda ledger: {record.name: record for record in ledger.records()})
        stay = self._held() if known is None else set()
        now = time.time()
        found = []
        for name, size, used in self._files_and_times():
            record = (known or {}).get(name, Record(name, size, used, name in stay))
            found.append(record._replace(size=size, used=min(now, max(used, record.used))))
        return sorted(found, key=lambda record: record.used)

    def total(self) -> int:
        """The bytes of all that the cache holds, as far as the ledger was told."""
        size = self._tell(lambda ledger: ledger.size)
        return self._counted() if size is None else size

    def other(self, row: str) -> int:
        """The bytes of what is no object (`SLACK` or `REST`), as they were counted."""
        return (self._tell(lambda ledger: ledger.other(row)) or 0) + self._other[row]

    def set_other(self, row: str, size: int) -> None:
        """Say what they were found to be."""
        with self._lock:
            self._other.pop(row, None)
        self._tell(lambda ledger: ledger.set_other(row, size))

    # The ledger

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened when it is first needed: warm use never needs it."""
        from pyparrot.cache.ledger import FAILURES, Ledger

        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(self._directory)
                if self._ledger.is_new:
                    self._fill(self._ledger)
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
        finally:
            self._close_for_thread()

    def _close_for_thread(self) -> None:
        """Give back the connection that each thread has of its own; most need it seldom."""
        if self._ledger is not None and threading.current_thread() is not threading.main_thread():
            self._ledger.close()

    def _renew(self) -> None:
        """Begin a new ledger; what was pinned is written down elsewhere, too."""
        from pyparrot.cache.ledger import FAILURES, Ledger

        with self._lock, contextlib.suppress(OSError):
            self._ledger = None
            Ledger.remove_files(self._directory)
        with contextlib.suppress(*FAILURES):
            self.ledger  # noqa: B018 (it is made)

    def _fill(self, ledger: Ledger) -> None:
        """Tell a new ledger what is there: another one may have been lost."""
        ledger.reconcile(self._files_and_times())
        ledger.pin(self._held(), True)

    def records(self) -> list[Record]:
        """What the ledger knows, least recently used first; `PyparrotError` if it can't tell."""
        return self._ask(lambda ledger: list(ledger.records()))

    def reconcile(self) -> None:
        """Make the ledger agree with the files; `PyparrotError` if it can't be written."""
        self._ask(lambda ledger: ledger.reconcile(self._files_and_times()))

    def pin(self, names: Iterable[ObjectName], pinned: bool) -> None:
        """Let objects that are there stay whatever happens, or no longer.

        `PyparrotError` if the ledger can't be written.
        """
        self._ask(lambda ledger: ledger.pin(names, pinned))

    def _ask(self, ask: Callable[[Ledger], _Result]) -> _Result:
        """Let the ledger do something that must not be left out; a damaged one is made anew."""
        from pyparrot.cache.ledger import FAILURES, is_damaged

        try:
            return ask(self.ledger)
        except FAILURES as error:
            try:
                if not is_damaged(error):
                    raise
                self._renew()
                return ask(self.ledger)
            except FAILURES as failure:
                raise PyparrotError(self._directory, f"the ledger: {failure}", _HINT) from None

    def _files_and_times(self) -> Iterator[tuple[ObjectName, int, float]]:
        """Every object's name, size (bytes), and when it was used at the latest (unix seconds)."""
        for name, status in self._files():
            yield name, status.st_size, max(status.st_atime, status.st_ctime)

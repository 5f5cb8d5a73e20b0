"""Checks all that is in the cache: is every object still what its name says?

Objects whose names have a checksum are checked here. How others are checked, only the module knows
that makes such objects: it registers a `Checker`. What nothing vouches for is dropped, for such a
byte must not be in the cache, and to fetch it again is cheaper than to be wrong; so is what is of
no kind that is known here.
"""

from __future__ import annotations

import contextlib
import os
from typing import Callable, NamedTuple, Optional

from pyparrot.cache.names import Kind, ObjectName, checksum
from pyparrot.cache.store import ObjectStore
from pyparrot.parallel import in_parallel
from pyparrot.progress import Progress

_PIECE = 1 << 20

Check = Callable[[ObjectName], Optional[bool]]
"""Whether an object is right; None if nothing vouches for it. `FileNotFoundError` if it is gone."""


class Checker(NamedTuple):
    """How objects of some *kinds* are checked.

    *prepare* is called when it is their turn, and gives the check. Those that *rest_on_others* come
    last: what they rest on is right then, or gone. Checks run on all cores unless *alone*.
    """

    kinds: tuple[Kind, ...]
    prepare: Callable[[ObjectStore], Check]
    rest_on_others: bool = False
    alone: bool = False


class Findings(NamedTuple):
    """How much was looked at, what was corrupt, and what nothing vouches for; both are gone."""

    objects: int
    bytes: int
    corrupt: tuple[ObjectName, ...]
    doubtful: tuple[ObjectName, ...]


def _checksums(store: ObjectStore) -> Check:
    def check(name: ObjectName) -> bool:
        import zlib

        assert name.parts is not None
        crc = 0
        with open(store.path(name), "rb") as file:
            while piece := file.read(_PIECE):
                crc = zlib.crc32(piece, crc)
        return name.parts.fields[-1] == checksum(crc)

    return check


_checkers: list[Checker] = []


def register(checker: Checker) -> None:
    """Have objects of some kinds be checked so."""
    _checkers.append(checker)


def verify(store: ObjectStore, progress: Progress) -> Findings:
    """Check all objects in *store*, and remove those that are not right."""
    store.reconcile()
    sizes = {name: status.st_size for name, status in store.files()}
    progress.expect(len(sizes))
    by_kind: dict[Kind | None, list[ObjectName]] = {}
    for name in sorted(sizes):
        by_kind.setdefault(name.kind, []).append(name)
    corrupt: list[ObjectName] = []
    doubtful: list[ObjectName] = []

    def judge(names: list[ObjectName], check: Check, threads: int) -> None:
        for name, future in in_parallel(check, names, threads):
            with contextlib.suppress(FileNotFoundError):  # evicted meanwhile: nothing is wrong
                found = future.result()
                if not found:
                    (doubtful if found is None else corrupt).append(name)
                    store.discard(name)
            progress.advance()

    cores = len(os.sched_getaffinity(0))
    for checker in sorted(_checkers, key=lambda checker: checker.rest_on_others):
        names = [name for kind in checker.kinds for name in by_kind.pop(kind, [])]
        if names:
            judge(names, checker.prepare(store), 1 if checker.alone else cores)
    for kind, names in by_kind.items():
        has_checksum = kind is not None and kind.has_checksum
        judge(names, _checksums(store) if has_checksum else lambda _: None, cores)
    return Findings(len(sizes), sum(sizes.values()), tuple(corrupt), tuple(doubtful))

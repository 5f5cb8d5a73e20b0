"""Fetches many files at once, before they are needed.

Files are independent of each other, so a few threads fetch side by side; what fails is collected,
and the others go on.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Callable, NamedTuple

from pyparrot.cache.names import ObjectName
from pyparrot.parallel import THREADS, Gate, in_parallel
from pyparrot.progress import Progress

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository
    from pyparrot.tree.base import Listed
    from pyparrot.tree.entries import Node

_SHORT = 64

Failed = Callable[[bytes, OSError], object]
"""Is told which path failed, and why."""

Got = Callable[[ObjectName], object]
"""Is told the name in the store of each content that is there."""


class Amount(NamedTuple):
    """How much content there is: different files, and their bytes (unpacked)."""

    files: int
    bytes: int


class FetchSummary(NamedTuple):
    """What a prefetch did; bytes are those of the files' content."""

    files: int
    fetched: int
    there: int
    failures: tuple[tuple[bytes, OSError], ...]


def readable_entries(repository: RemoteRepository, top: bytes, failed: Failed) -> Iterator[Listed]:
    """As `Tree.walk`, but a directory that can't be read is told to *failed*, and the walk
    goes on; a symlink at the top is followed."""
    from pyparrot.tree.base import Listed

    try:
        found = repository.lookup(top)
    except OSError as error:
        failed(top, error)
        return
    pending = [Listed(found.path, found.node)]
    while pending:
        listed = pending.pop()
        yield listed
        if stat.S_ISDIR(listed.node.mode):
            try:
                pending += reversed(list(repository.scandir(listed.path)))
            except OSError as error:
                failed(listed.path, error)


def survey(repository: RemoteRepository, tops: Iterable[bytes], failed: Failed) -> Amount:
    """How much `prefetch` has to do; this fetches the catalogs."""
    files = size = 0
    for listed in _contents(repository, tops, failed):
        files += 1
        size += listed.node.size
    return Amount(files, size)


def prefetch(
    repository: RemoteRepository,
    tops: Iterable[bytes],
    progress: Progress,
    got: Got = lambda _: None,
) -> FetchSummary:
    """Fetch all files at and below *tops*; *progress* counts files, *got* is told of each."""
    tops = list(tops)
    failures: list[tuple[bytes, OSError]] = []
    files = fetched = there = 0

    def fetch(listed: Listed) -> tuple[str, bool]:
        was_there = repository.is_cached(listed.node)
        return repository.body(listed.node, listed.path), was_there

    # The first of two walks learns how much it is: with all nodes in memory one would do.
    progress.expect(survey(repository, tops, lambda *failure: failures.append(failure)).files)
    contents = _contents(repository, tops, lambda *_: None)
    gate = Gate(THREADS)
    for listed, future in in_parallel(lambda item: gate.run(fetch, item), contents):
        try:
            file, was_there = future.result()
        except OSError as error:
            failures.append((listed.path, error))
        else:
            got(repository.store.name(file))
            files += 1
            fetched += 0 if was_there else listed.node.size
            there += listed.node.size if was_there else 0
        progress.advance()
    return FetchSummary(files, fetched, there, tuple(failures))


def _contents(
    repository: RemoteRepository, tops: Iterable[bytes], failed: Failed
) -> Iterator[Listed]:
    """The regular files at and below *tops*, each content once."""
    seen: set[object] = set()
    for top in tops:
        for listed in readable_entries(repository, top, failed):
            content = _content(listed.node)
            if stat.S_ISREG(listed.node.mode) and content not in seen:
                seen.add(content)
                yield listed


def _content(node: Node) -> object:
    """What two files with the same content have in common; small, for there may be millions."""
    return node.handle if len(node.handle) <= _SHORT else hash(node.handle)

"""Which directories get a catalog of their own.

Three reasons, as in CernVM-FS: a file ``.cvmfscatalog`` in the directory, a rule in
``.cvmfsdirtab`` at the root, or weight: a catalog with too many entries is split, one made that way
that has become too small goes away. Where a rule or weight decides, the directory gets the marker
files in the repository (as the official tools do it, whose checks want them).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from pyparrot.publish.input import MARKER, Item, Surveyed
from pyparrot.publish.settings import Settings
from pyparrot.sources.cvmfs.catalog_rows import FILE, CatalogEntry

AUTOMATIC_MARKER = b".cvmfsautocatalog"
RULES_FILE = b"/.cvmfsdirtab"

_MARKER_MODE = 0o100644
_BLANKS = " \t\r"


class Rules:
    """The content of a ``.cvmfsdirtab``: patterns of paths, and (``!``) patterns of exceptions.

    In a pattern ``*`` and ``?`` stay within one name; in an exception they may span slashes.
    """

    def __init__(self, text: bytes = b"") -> None:
        self._wanted: list[list[str]] = []
        self._unwanted: list[str] = []
        # Names are bytes: what else Unicode has for line ends and blanks may be part of one.
        for line in text.decode("latin-1").split("\n"):
            pattern = line.strip(_BLANKS)
            if pattern.startswith("!"):
                self._unwanted.append(pattern[1:].strip(_BLANKS))
            elif pattern and not pattern.startswith("#"):
                self._wanted.append(pattern.strip("/").split("/"))

    def match(self, path: bytes) -> bool:
        """Whether directory *path* is to have a catalog of its own."""
        text = path.decode("latin-1")
        names = text[1:].split("/")
        return any(
            len(names) == len(pattern) and all(map(fnmatchcase, names, pattern))
            for pattern in self._wanted
        ) and not any(fnmatchcase(text, pattern) for pattern in self._unwanted)


class Layout:
    """The directories of a new revision that are roots of nested catalogs.

    *published* are those that are so in the published tree.
    """

    def __init__(
        self,
        marked: Iterable[bytes] = (),
        ruled: Iterable[bytes] = (),
        automatic: Iterable[bytes] = (),
        published: frozenset[bytes] = frozenset(),
    ) -> None:
        self._markers: dict[bytes, tuple[bytes, ...]] = dict.fromkeys(ruled, (MARKER,))
        self._markers.update((path, (AUTOMATIC_MARKER, MARKER)) for path in automatic)
        self._roots = frozenset(marked).union(self._markers)
        self._above_changes = {
            ancestor for path in self._roots ^ published for ancestor in _ancestors(path)
        }

    def is_root(self, path: bytes) -> bool:
        """Whether directory *path* has a catalog of its own."""
        return path in self._roots

    def changes_below(self, path: bytes) -> bool:
        """Whether *path* or a directory below it gets or loses a catalog of its own."""
        return path in self._above_changes

    def with_markers(
        self, directory: bytes, entry: CatalogEntry, items: Iterator[Item]
    ) -> Iterator[Item]:
        """The *items* of a directory, and the marker files that it gets from us, in order."""
        names = self._markers.get(directory)
        if not names:
            return items
        markers = [Item(_marker(name, entry)) for name in names]
        return _each_once(heapq.merge(items, markers, key=lambda item: item.entry.name))


def _each_once(items: Iterator[Item]) -> Iterator[Item]:
    """The first of each name: a merge gives those of the source before ours."""
    before = None
    for item in items:
        if item.entry.name != before:
            before = item.entry.name
            yield item


def _ancestors(path: bytes) -> Iterator[bytes]:
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _marker(name: bytes, directory: CatalogEntry) -> CatalogEntry:
    return directory._replace(
        name=name, flags=FILE, mode=_MARKER_MODE, size=0, hardlinks=1, xattr=None
    )


def plan(
    survey: Iterable[Surveyed],
    rules: Rules,
    earlier: frozenset[bytes],
    settings: Settings,
    published: frozenset[bytes] = frozenset(),
) -> Layout:
    """The layout for what *survey* gives.

    *published* are the mountpoints of the published tree, *earlier* those that weight made.
    """
    directories = {surveyed.path: surveyed for surveyed in survey}
    marked = {path for path, surveyed in directories.items() if path and surveyed.marked}
    ruled = {path for path in directories if path and rules.match(path)} - marked
    automatic = set[bytes]()
    if settings.autocatalogs:
        automatic = _balance(directories, marked | ruled, earlier - {b""}, settings)
    return Layout(marked, ruled, automatic, published)


def _balance(
    directories: dict[bytes, Surveyed],
    fixed: set[bytes],
    earlier: frozenset[bytes],
    settings: Settings,
) -> set[bytes]:
    """From the leaves up, split off the heaviest directories of what has become too heavy.

    What was split off before stays so while it is heavy enough: catalogs that come and go
    would have clients load them anew.
    """
    automatic: set[bytes] = set()
    weights: dict[bytes, int] = {}  # of what a directory adds to its parent's catalog
    for path in reversed(directories):
        surveyed = directories[path]
        below = [(weights.pop(path + b"/" + name, 0), name) for name in surveyed.directories]
        weight = surveyed.entries + sum(child for child, _ in below)
        for child, name in sorted(below, reverse=True):
            if weight <= settings.autocatalogs_maximum or child < settings.autocatalogs_minimum:
                break
            automatic.add(path + b"/" + name)
            weight -= child
        if path in earlier and path not in fixed and weight >= settings.autocatalogs_minimum:
            automatic.add(path)
        weights[path] = 0 if path in fixed or path in automatic else weight
    return automatic

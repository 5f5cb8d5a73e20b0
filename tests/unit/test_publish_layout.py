"""Which directories get catalogs of their own: rules, markers and weight."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from pyparrot.publish.input import MARKER, Item, Surveyed
from pyparrot.publish.layout import AUTOMATIC_MARKER, Layout, Rules, plan
from pyparrot.publish.settings import Settings
from pyparrot.sources.cvmfs.catalog_rows import DIRECTORY, FILE, CatalogEntry

Tree = dict[bytes, int]
"""Directories and how many entries each has, their subdirectories included."""


@pytest.mark.parametrize(
    ("text", "path", "wanted"),
    [
        (b"", b"/a", False),
        (b"/a", b"/a", True),
        (b"a", b"/a", True),
        (b"/a/", b"/a", True),
        (b"  /a  \r\n", b"/a", True),
        (b"/a", b"/a/b", False),
        (b"/a", b"/A", False),
        (b"/*", b"/a", True),
        (b"/*", b"/a/b", False),
        (b"/*/*", b"/a/b", True),
        (b"/a/?", b"/a/b", True),
        (b"/a/?", b"/a/bc", False),
        (b"/[ab]/*", b"/b/c", True),
        (b"/[ab]/*", b"/c/c", False),
        (b"# /a", b"/a", False),
        (b"#\n\n/b\n/a", b"/a", True),
        (b"/*\n! /a", b"/a", False),
        (b"! /a\n/*", b"/a", False),
        (b"/*\n!/a", b"/b", True),
        (b"/*/*\n! *.svn", b"/a/.svn", False),
        (b"/*/*/*\n! /a*", b"/a/b/c", False),
        ("/ü*".encode(), "/üb".encode(), True),
        (b"/\xff*", b"/\xff\xfe", True),
        (b"/?", "/ü".encode(), False),
    ],
)
def test_rules(text: bytes, path: bytes, wanted: bool) -> None:
    assert Rules(text).match(path) is wanted


@given(st.binary(max_size=60), st.binary(max_size=20))
@example(b"[", b"[")
@example(b"/[!]\n![", b"a")
def test_any_rules_can_be_asked(text: bytes, path: bytes) -> None:
    assert Rules(text).match(b"/" + path) in (True, False)


def survey(tree: Tree, marked: Iterable[bytes] = ()) -> list[Surveyed]:
    """As a source gives it: parents first."""
    return [
        Surveyed(
            path,
            tuple(
                sorted(
                    other[len(path) + 1 :]
                    for other in tree
                    if other and other.rpartition(b"/")[0] == path
                )
            ),
            entries,
            path in marked,
        )
        for path, entries in sorted(tree.items(), key=lambda item: item[0].split(b"/"))
    ]


def weights(tree: Tree, layout: Layout) -> dict[bytes, int]:
    """How many entries each catalog holds, without those that layouts add."""
    found: dict[bytes, int] = {}
    for path, entries in tree.items():
        root = path
        while root and not layout.is_root(root):
            root = root.rpartition(b"/")[0]
        found[root] = found.get(root, 0) + entries
    return found


def configured(maximum: int, minimum: int, on: bool = True) -> Settings:
    return Settings(
        "a.b", "/a.b", autocatalogs=on, autocatalogs_maximum=maximum, autocatalogs_minimum=minimum
    )


@st.composite
def _trees(draw: st.DrawFn) -> Tree:
    tree: Tree = {b"": 0}
    for number in range(draw(st.integers(0, 25))):
        parent = draw(st.sampled_from(sorted(tree)))
        tree[parent + b"/%d" % number] = 0
    for path in tree:
        below = sum(1 for other in tree if other and other.rpartition(b"/")[0] == path)
        tree[path] = below + draw(st.integers(0, 30))
    return tree


_LIMITS = st.tuples(st.integers(5, 60), st.integers(2, 30)).filter(lambda pair: pair[0] > pair[1])


@given(_trees(), _LIMITS)
@budget(deadline=None)
def test_balance(tree: Tree, limits: tuple[int, int]) -> None:
    maximum, minimum = limits
    layout = plan(survey(tree), Rules(), frozenset(), configured(maximum, minimum))
    found = weights(tree, layout)
    assert not layout.is_root(b"")
    for path, weight in found.items():
        if path:
            assert weight >= minimum, "split off though it is light"
        if weight > maximum:
            # Only because nothing in it is heavy enough to stand alone.
            inside = [
                other
                for other in tree
                if other.startswith(path + b"/")
                and not layout.is_root(other)
                and _nearest_root(other, layout) == path
            ]
            for other in inside:
                assert _weight_below(tree, layout, other) < minimum


def _nearest_root(path: bytes, layout: Layout) -> bytes:
    while path and not layout.is_root(path):
        path = path.rpartition(b"/")[0]
    return path


def _weight_below(tree: Tree, layout: Layout, top: bytes) -> int:
    """What would move to a catalog at *top*."""
    root = _nearest_root(top, layout)
    return sum(
        entries
        for path, entries in tree.items()
        if (path == top or path.startswith(top + b"/")) and _nearest_root(path, layout) == root
    )


@given(_trees(), _LIMITS, st.randoms(use_true_random=False))
@budget(deadline=None)
def test_earlier_catalogs_stay(tree: Tree, limits: tuple[int, int], choice: object) -> None:
    maximum, minimum = limits
    heavy = {path for path in tree if path and tree[path] >= minimum}
    layout = plan(survey(tree), Rules(), frozenset(heavy), configured(maximum, minimum))
    # Whatever holds enough by itself stays, however far the rest is below the maximum.
    assert all(layout.is_root(path) for path in heavy)


@given(_trees(), _LIMITS)
@budget(deadline=None)
def test_a_second_look_changes_nothing(tree: Tree, limits: tuple[int, int]) -> None:
    """Catalogs that come and go would be loaded anew by every client."""
    values = configured(*limits)
    first = plan(survey(tree), Rules(), frozenset(), values)
    automatic = frozenset(path for path in tree if first.is_root(path))
    second = plan(survey(tree), Rules(), automatic, values)
    assert {path for path in tree if second.is_root(path)} == automatic


@given(_trees(), _LIMITS)
@budget(deadline=None)
def test_earlier_catalogs_that_became_light_go(tree: Tree, limits: tuple[int, int]) -> None:
    maximum, minimum = limits
    everything = frozenset(path for path in tree if path)
    layout = plan(survey(tree), Rules(), everything, configured(maximum, minimum))
    for path, weight in weights(tree, layout).items():
        assert not path or weight >= minimum


def test_automatic_catalogs_can_be_off() -> None:
    tree = {b"": 1, b"/a": 1000}
    values = configured(10, 2, on=False)
    layout = plan(survey(tree), Rules(), frozenset({b"/a"}), values)
    assert not layout.is_root(b"/a")
    assert plan(survey(tree), Rules(b"/a"), frozenset(), values).is_root(b"/a")
    assert plan(survey(tree, {b"/a"}), Rules(), frozenset(), values).is_root(b"/a")


def test_the_top_is_never_nested() -> None:
    tree = {b"": 1, b"/a": 0}
    layout = plan(survey(tree, {b""}), Rules(b"/\n*"), frozenset({b""}), configured(2, 1))
    assert not layout.is_root(b"")


def test_markers_come_with_the_reason() -> None:
    tree = {b"": 3, b"/marked": 1, b"/ruled": 0, b"/heavy": 50}
    values = configured(20, 10)
    layout = plan(survey(tree, {b"/marked"}), Rules(b"/ruled"), frozenset(), values)
    directory = CatalogEntry(b"x", DIRECTORY, 0o40755, 4096, 0, 0, 1, 2, xattr=b"x")
    own = Item(CatalogEntry(b".cvmfsb", FILE, 0o100600, 1, 0, 0, 0, 0))

    def names(path: bytes) -> list[bytes]:
        items = list(layout.with_markers(path, directory, iter([own])))
        for item in items:
            if item is not own:
                entry = item.entry
                assert (entry.flags, entry.size, entry.hardlinks, entry.xattr) == (FILE, 0, 1, None)
                assert (entry.uid, entry.gid) == (1, 2)
                assert item.file is None
        return [item.entry.name for item in items]

    assert names(b"/marked") == [b".cvmfsb"]
    assert names(b"/ruled") == [b".cvmfsb", MARKER]
    assert names(b"/heavy") == [AUTOMATIC_MARKER, b".cvmfsb", MARKER]
    assert names(b"/other") == [b".cvmfsb"]


@pytest.mark.parametrize("name", [MARKER, AUTOMATIC_MARKER])
def test_markers_are_never_doubled(name: bytes) -> None:
    """A copy of a published tree has such files; others get them after the first look."""
    tree = {b"": 1, b"/heavy": 50}
    layout = plan(survey(tree), Rules(), frozenset(), configured(20, 10))
    directory = CatalogEntry(b"heavy", DIRECTORY, 0o40755, 4096, 0, 0, 1, 2)
    own = Item(CatalogEntry(name, FILE, 0o100644, 0, 0, 0, 0, 0))
    listed = [item.entry.name for item in layout.with_markers(b"/heavy", directory, iter([own]))]
    assert sorted(set(listed)) == listed


def test_the_heaviest_go_first() -> None:
    tree = {b"": 3, b"/a": 30, b"/b": 60, b"/c": 40}
    layout = plan(survey(tree), Rules(), frozenset(), configured(75, 10))
    assert [path for path in sorted(tree) if layout.is_root(path)] == [b"/b"]

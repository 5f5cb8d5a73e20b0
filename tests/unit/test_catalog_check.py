"""What is wrong with a catalog in itself is found, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_check import check_structure, content_of, difference
from pyparrot.sources.cvmfs.catalog_counters import COUNTERS, CatalogCounters
from pyparrot.sources.cvmfs.catalog_rows import (
    CHUNKED,
    DIRECTORY,
    FILE,
    NESTED_MOUNTPOINT,
    NESTED_ROOT,
    CatalogEntry,
    Chunk,
    NestedCatalog,
)
from pyparrot.sources.cvmfs.hashes import Algorithm

DIGEST = bytes(range(20))


def entry(name: bytes, flags: int, *, size: int = 0, digest: bytes | None = None) -> CatalogEntry:
    mode = 0o040755 if flags & DIRECTORY else 0o100644
    return CatalogEntry(name, flags, mode, size, 0, 0, 0, 0, digest=digest)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with closing(Catalog.create(str(tmp_path / "catalog"))) as catalog:
        catalog.put([(b"", entry(b"", DIRECTORY)), (b"/d", entry(b"d", DIRECTORY))])
        yield catalog


def faults(catalog: Catalog, mountpoint: bytes = b"") -> list[tuple[bytes, str]]:
    found: list[tuple[bytes, str]] = []

    def fault(path: bytes, why: str) -> None:
        found.append((path, why))

    for path, file in check_structure(catalog, mountpoint, fault):
        content_of(catalog, path, file, fault)
    return found


def test_a_good_catalog(catalog: Catalog) -> None:
    catalog.put([(b"/d/f", entry(b"f", FILE, digest=DIGEST))])
    catalog.put([(b"/n", entry(b"n", DIRECTORY | NESTED_MOUNTPOINT))])
    catalog.put_nested(NestedCatalog(b"/n", Algorithm.SHA1.of(b""), 1))
    catalog.put([(b"/d/c", entry(b"c", FILE | CHUNKED, size=3))])
    catalog.put_chunks(b"/d/c", (Chunk(0, 2, DIGEST), Chunk(2, 1, DIGEST)))
    assert faults(catalog) == []


def test_each_fault_is_told_with_its_path(catalog: Catalog) -> None:
    catalog.put(
        [
            (b"/d/..", entry(b"..", FILE, digest=DIGEST)),
            (b"/d/f", entry(b"f", FILE)),
            (b"/n", entry(b"n", DIRECTORY | NESTED_MOUNTPOINT)),
            (b"/lost/f", entry(b"f", FILE, digest=DIGEST)),
            (b"/d/c", entry(b"c", FILE | CHUNKED, size=4)),
        ]
    )
    catalog.put_chunks(b"/d/c", (Chunk(0, 2, DIGEST), Chunk(3, 1, DIGEST)))
    assert sorted(faults(catalog)) == [
        (b"", "1 entries can't be reached from the catalog's root"),
        (b"/d/..", "a bad name"),
        (b"/d/c", "its chunks do not make up the file"),
        (b"/d/f", "no content"),
        (b"/n", "no such nested catalog"),
    ]


def test_the_catalog_of_another_directory(catalog: Catalog) -> None:
    assert faults(catalog, b"/elsewhere") == [
        (b"/elsewhere", "the catalog of another directory: /")
    ]


@pytest.mark.parametrize("flags", [FILE, DIRECTORY])
def test_a_nested_catalog_needs_its_own_root(tmp_path: Path, flags: int) -> None:
    with closing(Catalog.create(str(tmp_path / "nested"))) as catalog:
        catalog.set_property("root_prefix", b"/n")
        catalog.put([(b"/n", entry(b"n", flags))])
        assert faults(catalog, b"/n") == [(b"/n", "the catalog lacks its own root directory")]
        catalog.put([(b"/n", entry(b"n", DIRECTORY | NESTED_ROOT))])
        assert faults(catalog, b"/n") == []


def test_counters_that_are_not_recorded() -> None:
    counted = CatalogCounters(tuple(range(len(COUNTERS))))
    recorded = CatalogCounters((0, 7, *counted.values[2:-1], 0))
    assert difference(counted, counted) == ""
    first, last = COUNTERS[1], COUNTERS[-1]
    number = len(COUNTERS) - 1
    assert difference(recorded, counted) == f"{first} 7 not 1, {last} 0 not {number}"
    assert difference(recorded, counted, all_recorded=False) == f"{first} 7 not 1"

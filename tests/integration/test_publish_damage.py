"""Damaged repositories: ``check`` finds it, and publishing onto one leaves the last revision."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from typing import Callable

import pytest
from support.publishing import (
    FQRN,
    OTHER,
    Site,
    flip,
    objects_of,
)

from pyparrot.publish.repository import StoredRepository
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.hashes import Kind

# What Python prints of errors in finalizers would be more than one line.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


def test_manifest_with_any_bit_flipped(site: Site) -> None:
    """In every field, the hash, the separators and the signature."""
    good = site.manifest
    with site.unharmed():
        for byte in range(0, len(good), 11):
            site.overwrite(site.root / ".cvmfspublished", flip(good, 8 * byte + byte % 8))
            site.bad("tag", "add", FQRN, "x", why=r"\.cvmfspublished: (corrupt|its signature)")
        result = site.call("check", FQRN)
        assert result.status == 1
        assert ".cvmfspublished" in result.out
        site.restore()


def test_manifest_cut_off_anywhere(site: Site) -> None:
    good = site.manifest
    with site.unharmed():
        for length in range(0, len(good), 50):
            site.overwrite(site.root / ".cvmfspublished", good[:length])
            site.bad("tag", "add", FQRN, "x", why=r"\.cvmfspublished: (corrupt|its signature)")
        for content in (os.urandom(300), bytes(1 << 20), good + b"x"):
            site.overwrite(site.root / ".cvmfspublished", content)
            site.bad("info", FQRN, why=r"\.cvmfspublished: (corrupt|its signature)")
        site.overwrite(site.root / ".cvmfspublished", None)
        site.bad("info", FQRN, why=r"\.cvmfspublished: the repository lacks this file")
        site.restore()


def test_manifest_of_another_repository(site: Site) -> None:
    site.good("init", OTHER, "--storage", site.storage)
    foreign = (site.storage / OTHER / ".cvmfspublished").read_bytes()
    with site.unharmed():
        site.overwrite(site.root / ".cvmfspublished", foreign)
        site.bad("sync", FQRN, site.source, why=f"the manifest of another repository: {OTHER}")
        assert site.call("check", FQRN).status == 1
        site.restore()


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "first bit": lambda content: flip(content, 0),
    "middle bit": lambda content: flip(content, len(content) * 4),
    "last bit": lambda content: flip(content, len(content) * 8 - 1),
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "longer": lambda content: content + b"\0",
    "missing": lambda content: None,
}

KINDS = ("body", "chunk", "catalog", "nested catalog", "history", "certificate", "metainfo")


@pytest.mark.parametrize("kind", KINDS)
def test_check_finds_damage(site: Site, kind: str) -> None:
    file = objects_of(site)[kind]
    good = file.read_bytes()
    with site.unharmed():
        for name, damage in DAMAGE.items():
            site.overwrite(file, damage(good))
            result = site.call("check", FQRN)
            assert (result.status, result.err) == (1, ""), (name, result)
            assert str(file) in result.out, name
            assert all(line.isprintable() for line in result.out.splitlines())
            assert "counters" not in result.out, "what can't be read can't be counted"
            only = site.call("check", FQRN, "--current", "--quiet")
            assert only.status == 1
            assert str(file) in only.out
        site.restore()


@pytest.mark.parametrize("kind", ["catalog", "history", "certificate"])
@pytest.mark.parametrize("damage", ["middle bit", "truncated", "empty", "missing"])
def test_publishing_onto_damage(site: Site, kind: str, damage: str) -> None:
    """What a new revision builds on must be whole, or it would hide the loss."""
    file = objects_of(site)[kind]
    (site.source / "new").touch()
    with site.unharmed():
        site.overwrite(file, DAMAGE[damage](file.read_bytes()))
        why = f"{file.name}: (corrupt|the repository lacks)"
        site.bad("sync", FQRN, site.source, why=why)
        if kind != "history":
            site.bad("gc", FQRN, "--keep-days", "0", why=why)
        site.restore()


@pytest.mark.parametrize("content", [b"", b"garbage", os.urandom(5000), None])
def test_reference_log_is_damaged(site: Site, content: bytes | None) -> None:
    (site.source / "new").touch()
    with site.unharmed():
        site.overwrite(site.root / ".cvmfsreflog", content)
        site.bad("sync", FQRN, site.source, why=r"\.cvmfsreflog: corrupt")
        result = site.call("check", FQRN)
        assert result.status == 1
        assert ".cvmfsreflog" in result.out
        site.restore()


def test_check_compares_the_reference_log_with_the_manifest(site: Site) -> None:
    log, published = site.root / ".cvmfsreflog", site.root / ".cvmfspublished"
    with contextlib.closing(sqlite3.connect(log)) as database:
        database.execute("UPDATE refs SET timestamp = timestamp - 1")
        database.commit()
    # A publication that is cut off between the two leaves a newer log: no harm.
    site.check()
    before = published.stat().st_mtime_ns - 1
    os.utime(log, ns=(before, before))
    result = site.call("check", FQRN)
    assert result.status == 1
    assert result.out.startswith(f"{log}: corrupt: it does not have the hash in the manifest\n")
    site.publish_something()  # which signs the log anew, and checks


def test_check_counts_again(site: Site) -> None:
    """A catalog that lies about itself, published with valid signatures."""
    repository = StoredRepository.open(FQRN)
    with repository.writing() as publication:
        from pyparrot.publish.repository import Root

        current = publication.current
        file = repository.unpack_catalog(current.catalog)
        catalog = Catalog.open_to_write(file)
        recorded = catalog.counters("self")
        catalog.put_counters("self", recorded + recorded)
        catalog.close()
        content = Path(file).read_bytes()
        name = repository.put(content, Kind.CATALOG)
        publication.commit(Root(name, len(content), current.revision + 1))
    result = site.call("check", FQRN, "--current")
    assert result.status == 1
    assert re.search(r"catalog /: counters differ: regular \d+ not \d+", result.out)
    site.good("rollback", FQRN)
    assert site.call("check", FQRN, "--current").status == 0

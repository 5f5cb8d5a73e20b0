"""Requests for tags, revisions and garbage collection that can't be met."""

from __future__ import annotations

import re

import pytest
from support.publishing import (
    FQRN,
    Site,
    flip,
    objects_of,
)

from pyparrot.publish.repository import StoredRepository
from pyparrot.sources.cvmfs.hashes import Kind

# What Python prints of errors in finalizers would be more than one line.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


# Tags, revisions and owners


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("tag", "add", FQRN, "v1"), r"v1: there is such a tag already"),
        (("tag", "add", FQRN, "trunk"), "trunk: there is such a tag already"),
        (("tag", "add", FQRN, ""), "not a tag name"),
        (("tag", "add", FQRN, "a b"), "a b: not a tag name"),
        (("tag", "add", FQRN, "a/b"), "a/b: not a tag name"),
        (("tag", "add", FQRN, "a\nb"), r"a\\nb: not a tag name"),
        (("tag", "add", FQRN, "\udcff"), "not a tag name"),
        (("tag", "add", FQRN, "ä"), "not a tag name"),
        (("tag", "add", FQRN, "x" * 256), "not a tag name"),
        (("tag", "add", FQRN, "x", "--revision", "99"), "99: there is no such revision"),
        (("tag", "add", FQRN, "x", "--revision", "0"), "0: there is no such revision"),
        (("tag", "add", FQRN, "x", "--revision", "-1"), "revision"),
        (("tag", "add", FQRN, "x", "--revision", "v1"), "not a number: v1"),
        (("tag", "remove", FQRN, "trunk"), "trunk: this tag belongs to pyparrot"),
        (("tag", "remove", FQRN, "v1", "trunk-previous"), "trunk-previous: this tag belongs"),
        (("tag", "remove", FQRN, "v1", "v2"), "v2: no such tag"),
        (("tag", "remove", FQRN), "required: NAME"),
        (("rollback", FQRN, "v2"), r"v2: no such tag \(pyparrot publish tag list"),
        (("rollback", FQRN, "trunk"), "trunk: it names the current revision"),
        (("sync", FQRN, ".", "--tag", "v1"), "v1: there is such a tag already"),
        (("sync", FQRN, ".", "--tag", "a b"), "a b: not a tag name"),
        (("ingest", FQRN, "/dev/null", "--tag", "a b"), "null: not a complete tar file|a b: not a"),
        (("sync", FQRN, ".", "--owner", "nobody-there"), "--owner: no such user: nobody-there"),
        (("sync", FQRN, ".", "--owner", "0:nobody-there"), "--owner: no such group: nobody-there"),
        (("sync", FQRN, ".", "--owner", "4294967296"), "--owner: no such user: 4294967296"),
        (("sync", FQRN, ".", "--owner", "-1"), "owner"),
        (("sync", FQRN, ".", "--owner", "0:0:0"), "--owner: no such group: 0:0"),
        (("sync", FQRN, ".", "--owner", "\udcff"), "--owner: no such user"),
        (("sync", FQRN), "required: SOURCE_DIR"),
        (("gc", FQRN, "--keep-days", "x"), "not a number: x"),
        (("resign", FQRN, "--days", "999999999"), "."),
        (("resign", FQRN, "--new-certificate", "--certificate-days", "999999999"), "."),
        (("resign", FQRN, "--days", "1.5"), "not a number: 1.5"),
        (("check", FQRN, "extra\n"), r"not understood: extra\\n"),
        (("nonsense",), "invalid choice: 'nonsense'"),
        (("tag", "nonsense"), "invalid choice: 'nonsense'"),
        (("tag",), "required: ACTION"),
        ((), "required: ACTION"),
    ],
    ids=ascii,
)
def test_bad_requests(site: Site, words: tuple[str, ...], why: str) -> None:
    whitelist = (site.root / ".cvmfswhitelist").read_bytes()
    key_files = sorted((site.config / "keys").iterdir())
    with site.unharmed():
        site.bad(*words, why=why)
        assert (site.root / ".cvmfswhitelist").read_bytes() == whitelist
        assert sorted((site.config / "keys").iterdir()) == key_files


@pytest.mark.parametrize("message", ["two\nlines", "\udcff\udcfe", "bell\x07", "x" * 100_000])
def test_tag_descriptions_may_be_anything(site: Site, message: str) -> None:
    site.good("tag", "add", FQRN, "odd", "-m", message)
    listed = site.good("tag", "list", FQRN)
    assert len(listed.splitlines()) == 4
    assert all(line.isprintable() for line in listed.splitlines())
    site.good("tag", "list", FQRN, "--json")
    site.check()


def test_collecting_garbage_where_it_is_off(site: Site) -> None:
    with site.unharmed():
        text = site.settings.read_bytes() + b"CVMFS_GARBAGE_COLLECTION=false\n"
        site.overwrite(site.settings, text)
        why = r"its revisions are kept for ever \(set CVMFS_GARBAGE_COLLECTION=true in .*\.conf"
        site.bad("gc", FQRN, why=why)
        site.restore()


def test_rollback_when_there_is_no_way_back(vacant: Site) -> None:
    vacant.good("init", FQRN, "--storage", vacant.storage)
    first = vacant.manifest
    vacant.bad("rollback", FQRN, why="trunk-previous: no such tag")
    assert vacant.manifest == first
    vacant.publish_something()


def test_rollback_to_what_is_lost(site: Site) -> None:
    repository = StoredRepository.open(FQRN)
    tags = {tag.name: tag for tag in repository.tags(repository.manifest)}
    with site.unharmed():
        file = site.object(tags["v1"].catalog, Kind.CATALOG)
        site.overwrite(file, None)
        site.bad("rollback", FQRN, "v1", why=f"{file.name}: the repository lacks this object")
        site.restore()


def test_rollback_and_tags(site: Site) -> None:
    with site.catalog() as catalog:
        assert catalog.lookup(b"/later")
    site.good("tag", "add", FQRN, "v2")
    assert "removed tags: v2" in site.good("rollback", FQRN, "v1")
    with site.catalog() as catalog:
        assert not catalog.lookup(b"/later")
        assert catalog.revision == 4
    site.check()
    site.good("rollback", FQRN)
    with site.catalog() as catalog:
        assert catalog.lookup(b"/later")
    site.check()
    site.good("tag", "remove", FQRN, "v1")
    site.bad("rollback", FQRN, "v1", why="no such tag")
    site.publish_something()


# Garbage collection


def test_garbage_collection_keeps_what_is_needed(site: Site) -> None:
    source = site.base / "passing"
    source.mkdir()
    for number in range(3):
        (source / "file").write_bytes(b"passing by %d" % number)
        site.good("sync", FQRN, source)
    orphan = site.root / "data" / "ab" / ("c" * 38)
    orphan.write_bytes(b"of a run that was killed")
    stranger = site.root / "data" / "ab" / "README"
    stranger.write_bytes(b"not ours")
    before = {path for path in site.root.rglob("*") if path.is_file()}
    manifest = site.manifest
    said = site.good("gc", FQRN, "--keep-days", "0", "--dry-run")
    removed = re.search(r"would remove (\d+) objects", said)
    assert removed
    assert {path for path in site.root.rglob("*") if path.is_file()} == before
    assert site.manifest == manifest
    done = site.good("gc", FQRN, "--keep-days", "0")
    after = {path for path in site.root.rglob("*") if path.is_file()}
    assert orphan not in after
    assert stranger in after
    assert f"removed {removed[1]} objects" in done
    # The orphan, and the body, catalog and history of the first of the three passing revisions.
    assert int(removed[1]) >= 4
    site.check()
    site.good("rollback", FQRN, "v1")
    site.check()
    with site.catalog() as catalog:
        assert catalog.lookup(b"/large")
    site.publish_something()
    # Young revisions stay unless asked for.
    site.good("gc", FQRN)
    assert "removed 0 objects" in site.good("gc", FQRN)
    site.check()


def test_garbage_collection_removes_nothing_if_a_catalog_is_broken(site: Site) -> None:
    (site.root / "data" / "ab" / ("c" * 38)).write_bytes(b"an orphan")
    before = {path for path in site.root.rglob("*") if path.is_file()}
    nested = objects_of(site)["nested catalog"]
    with site.unharmed():
        site.overwrite(nested, flip(nested.read_bytes(), 99))
        site.bad("gc", FQRN, "--keep-days", "0", why=f"{nested.name}: corrupt")
        assert {path for path in site.root.rglob("*") if path.is_file()} == before
        site.restore()

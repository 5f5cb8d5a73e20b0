"""Published trees: single cases that random ones found, made small, and what can't be said."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from support import run_publish, run_pyparrot
from support.random_trees import (
    FQRN,
    TAR_TYPES,
    Laboratory,
    Repository,
    Templates,
    Tree,
    configured_in,
    publish_revisions,
)

from pyparrot.publish import repository as publisher
from pyparrot.sources.cvmfs.hashes import ContentHash


class Case(NamedTuple):
    """A member of a tar file in a few words: *what* is content, a link's target, or nothing."""

    name: str
    kind: str = "file"
    what: str = ""


def _archive(directory: Path, cases: Sequence[Case]) -> Path:
    file = directory / "archive"
    with tarfile.open(file, "w") as archive:
        for case in cases:
            info = tarfile.TarInfo(case.name)
            info.mtime = 1_600_000_000
            info.mode = 0o755
            info.type = tarfile.LNKTYPE if case.kind == "link" else TAR_TYPES[case.kind]
            content = b""
            if case.kind == "file":
                content = case.what.encode()
                info.size = len(content)
            info.linkname = case.what if case.kind in ("link", "symlink") else ""
            archive.addfile(info, io.BytesIO(content))
    return file


@pytest.fixture
def repository(templates: Templates, tmp_path: Path) -> Repository:
    return Laboratory(templates, tmp_path).repository()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


def _ingest_cases(repository: Repository, cases: Sequence[Case], *words: str) -> None:
    repository.publish("ingest", _archive(repository.base, cases), *words)


def _write(tree: Tree, path: bytes, content: bytes = b"") -> None:
    file = tree.directory + path
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as stream:
        stream.write(content)


def test_an_ingested_marker_moves_what_is_there_to_the_new_catalog(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/old", what="1"), Case("a/d/old"), Case("a/e/.cvmfscatalog")])
    _ingest_cases(repository, [Case("a/.cvmfscatalog")])
    published = repository.read()
    assert published.catalogs.keys() == {b"", b"/a", b"/a/e"}
    assert {b"/a/old", b"/a/d/old", b"/a/e/.cvmfscatalog"} <= published.facts().keys()


def test_deleting_a_marker_moves_its_catalog_to_the_one_above(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/old"), Case("a/d/old"), Case("a/.cvmfscatalog")])
    _ingest_cases(repository, [Case("b")], "--delete", "/a/.cvmfscatalog")
    published = repository.read()
    assert published.catalogs.keys() == {b""}
    assert {b"/a/old", b"/a/d/old"} <= published.facts().keys()


def test_ingesting_more_splits_off_what_is_there_too(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/old"), Case("a/d/old")])
    _ingest_cases(repository, [Case(f"a/new{number}") for number in range(20)])
    published = repository.read()
    assert published.catalogs.keys() == {b"", b"/a"}
    assert {b"/a/old", b"/a/d/old"} <= published.facts().keys()


def test_an_ingested_dirtab_rules_what_is_there(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/old")])
    _ingest_cases(repository, [Case(".cvmfsdirtab", what="/a\n")])
    published = repository.read()
    assert published.catalogs.keys() == {b"", b"/a"}
    assert b"/a/old" in published.facts()


def test_catalogs_that_an_ingestion_does_not_touch_are_not_even_read(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = [Case(f"{number}/{name}") for number in range(9) for name in (".cvmfscatalog", "old")]
    _ingest_cases(repository, [*marked, Case("1/below/.cvmfscatalog")])
    before = repository.read()
    wanted = {before.catalogs[path].hash for path in (b"", b"/1")}
    read = set()
    unpack = publisher.StoredRepository.unpack_catalog

    def unpack_noting(self: publisher.StoredRepository, name: ContentHash) -> str:
        read.add(str(name))
        return unpack(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(publisher.StoredRepository, "unpack_catalog", unpack_noting)
        _ingest_cases(repository, [Case("1/new")])
    assert read == wanted
    assert b"/1/new" in repository.read().facts()


def test_what_is_deleted_does_not_come_back_with_its_directories(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/b/old"), Case("a/b/c/old"), Case("a/d/old")])
    _ingest_cases(repository, [Case("a/b/c/new")], "--delete", "/a")
    assert repository.read().facts().keys() == {b"", b"/a", b"/a/b", b"/a/b/c", b"/a/b/c/new"}


def test_what_is_deleted_is_not_in_the_way_of_what_comes(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a"), Case("b")])
    _ingest_cases(repository, [Case("a/new")], "--delete", "/a")
    assert repository.read().facts().keys() == {b"", b"/a", b"/a/new", b"/b"}
    file = _archive(repository.base, [Case("c", "link", "b")])
    with configured_in(repository.base):
        result = run_pyparrot(["publish", "ingest", FQRN, str(file), "--delete", "/b"])
    assert "a hard link to /b, which is not there" in result.err


def test_link_groups_of_a_tar_file_stay_apart(repository: Repository) -> None:
    # The first group is overwritten: its number must not be given to a group that is still there.
    _ingest_cases(
        repository,
        [
            *(Case("a", what="1"), Case("b", "link", "a")),
            *(Case("c", what="2"), Case("d", "link", "c")),
            *(Case("a", what="3"), Case("b", what="4")),
            *(Case("e", what="5"), Case("f", "link", "e")),
        ],
    )
    facts = repository.read().facts()
    assert facts[b"/c"].links == facts[b"/d"].links == {b"/c", b"/d"}
    assert facts[b"/e"].links == facts[b"/f"].links == {b"/e", b"/f"}


def test_links_to_another_directory_are_links_of_each_other(repository: Repository) -> None:
    # As sync has it: the format has no links across directories, but these two share one.
    _ingest_cases(repository, [Case("p/x"), Case("q/a", "link", "p/x"), Case("q/b", "link", "p/x")])
    facts = repository.read().facts()
    assert facts[b"/p/x"].links == frozenset()
    assert facts[b"/q/a"].links == facts[b"/q/b"].links == {b"/q/a", b"/q/b"}


def test_a_tar_file_can_link_to_what_is_published(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a", what="1"), Case("b", "link", "a")])
    _ingest_cases(repository, [Case("c", "link", "a")])
    assert repository.read().facts()[b"/a"].links == {b"/a", b"/b", b"/c"}


@pytest.mark.parametrize("kind", ["symlink", "fifo"])
def test_hard_links_to_other_than_files(repository: Repository, kind: str) -> None:
    # GNU tar writes them; the format has no groups of such, so they become two of a kind.
    _ingest_cases(repository, [Case("a", kind, "target"), Case("b", "link", "a")])
    facts = repository.read().facts()
    assert facts[b"/a"] == facts[b"/b"]
    assert facts[b"/b"].type == kind


@pytest.mark.parametrize("many", [0, 100])
@pytest.mark.parametrize("earlier", [False, True])
def test_nothing_is_lost_behind_a_symlink(repository: Repository, earlier: bool, many: int) -> None:
    # Extracting it follows the link. Refusing it would do, too; but not losing it, nor the link.
    # With many files in between, the link's entry is sure to be stored before what is behind it.
    link = [Case("d/old"), Case("l", "symlink", "d")]
    behind = [*(Case(f"f{number}") for number in range(many)), Case("l/x", what="1")]
    if earlier:
        _ingest_cases(repository, link)
    file = _archive(repository.base, behind if earlier else link + behind)
    with configured_in(repository.base):
        result = run_pyparrot(["publish", "ingest", FQRN, str(file), "-q"])
    facts = repository.read().facts()
    if result.status == 0:
        assert facts[b"/l"].type == "symlink"
        assert b"/d/x" in facts
    else:
        assert result.err.count("\n") == 1


@pytest.mark.parametrize("many", [0, 100])
def test_nothing_is_lost_behind_a_file(repository: Repository, many: int) -> None:
    # Extracting it fails: a file can't be a directory.
    cases = [Case("l"), *(Case(f"f{number}") for number in range(many)), Case("l/x", what="1")]
    file = _archive(repository.base, cases)
    with configured_in(repository.base):
        result = run_pyparrot(["publish", "ingest", FQRN, str(file), "-q"])
    assert result.status != 0
    assert repository.read().facts().keys() == {b""}


@pytest.mark.parametrize("name", ["voilà", "Åland", "\x1cx", "a\x0bb"])
def test_rules_for_names_beyond_ascii(repository: Repository, tree: Tree, name: str) -> None:
    # In UTF-8 these end with the byte of a no-break space and begin with that of a line end.
    _write(tree, b"/" + name.encode() + b"/file")
    _write(tree, b"/.cvmfsdirtab", b"/" + name.encode() + b"\n")
    publish_revisions(repository, tree, [[]])


def test_a_file_named_as_the_automatic_marker_is_published_as_it_is(
    repository: Repository, tree: Tree
) -> None:
    _write(tree, b"/a/.cvmfsautocatalog", b"the user's own")
    for number in range(20):
        _write(tree, b"/a/%d" % number)
    publish_revisions(repository, tree, [[]])


def test_an_automatic_marker_at_the_root_means_nothing(repository: Repository, tree: Tree) -> None:
    _write(tree, b"/.cvmfsautocatalog")
    for number in range(5):
        _write(tree, b"/%d" % number)
    publish_revisions(repository, tree, [[]])


@pytest.mark.parametrize("rules", [b"", b"/a"])
def test_a_directory_named_as_the_marker_is_published_as_it_is(
    repository: Repository, tree: Tree, rules: bytes
) -> None:
    os.makedirs(tree.directory + b"/a/.cvmfscatalog")
    for number in range(1 if rules else 20):
        _write(tree, b"/a/%d" % number)
    if rules:
        _write(tree, b"/.cvmfsdirtab", rules)
    publish_revisions(repository, tree, [[]])


def test_attributes_too_long_for_the_format_are_left_out(
    repository: Repository, tree: Tree
) -> None:
    _write(tree, b"/a")
    try:
        os.setxattr(tree.directory + b"/a", "user.long", b"v" * 256)
        os.setxattr(tree.directory + b"/a", "user.short", b"v" * 255)
    except OSError:
        pytest.skip("this file system has no extended attributes")
    with configured_in(repository.base):
        result = run_publish("sync", FQRN, tree.directory)
    assert "user.long" in result.err
    assert repository.read().facts()[b"/a"].xattrs == {b"user.short": b"v" * 255}

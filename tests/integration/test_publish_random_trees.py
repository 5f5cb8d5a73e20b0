"""Random trees, published again and again, and read back by another reader."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.random_trees import (
    FQRN,
    STEPS,
    Kind,
    Step,
    Templates,
    Tree,
    bounded,
    laboratory,
    publish_revisions,
    rows_of,
    verify,
)

REVISIONS = st.lists(st.lists(STEPS, min_size=1, max_size=12), min_size=1, max_size=3)
FIRST = st.lists(STEPS, min_size=5, max_size=30)


@bounded(20)
@given(first=FIRST, more=REVISIONS)
def test_a_changing_tree_is_always_what_is_published(
    templates: Templates, first: list[Step], more: list[list[Step]]
) -> None:
    with laboratory(templates) as lab:
        tree = Tree(lab.directory / "tree")
        publish_revisions(lab.repository(), tree, [first, *more])


@bounded(12)
@given(first=FIRST, more=REVISIONS)
def test_changes_give_the_same_catalogs_as_a_fresh_start(
    templates: Templates, first: list[Step], more: list[list[Step]]
) -> None:
    # Without automatic catalogs, which depend on what was there before.
    with laboratory(templates) as lab:
        tree = Tree(lab.directory / "tree")
        grown = publish_revisions(lab.repository(CVMFS_AUTOCATALOGS="false"), tree, [first, *more])
        fresh = lab.repository(CVMFS_AUTOCATALOGS="false")
        fresh.publish("sync", os.fsdecode(tree.directory))
        assert rows_of(grown) == rows_of(verify(fresh, tree))


@pytest.mark.parametrize("compression", ["zlib", "none"])
@pytest.mark.parametrize("algorithm", ["sha1", "rmd160", "shake128"])
def test_every_hash_and_compression(templates: Templates, algorithm: str, compression: str) -> None:
    @bounded(2)
    @given(first=FIRST, second=st.lists(STEPS, min_size=1, max_size=12))
    def check(first: list[Step], second: list[Step]) -> None:
        with laboratory(templates) as lab:
            tree = Tree(lab.directory / "tree")
            repository = lab.repository(Kind(algorithm, compression))
            published = publish_revisions(repository, tree, [first, second])
            key = repository.base / "config" / "pyparrot" / "keys" / f"{FQRN}.pub"
            published.check_signatures(key)
            stored = {
                (row.algorithm, row.is_zlib)
                for catalog in published.catalogs.values()
                for row in catalog.rows.values()
                if row.is_regular
            }
            suffix = "" if algorithm == "sha1" else "-" + algorithm
            assert stored <= {(suffix, compression == "zlib")}

    check()

"""Tags: names for revisions, and the way back to one."""

from __future__ import annotations

import os
import time

from pyparrot.errors import PyparrotError
from pyparrot.publish.catalogs import Revision, stamp
from pyparrot.publish.content import BodyStore
from pyparrot.publish.repository import Root, StoredRepository
from pyparrot.sources.cvmfs import history
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.history import Tag
from pyparrot.sources.cvmfs.manifest import Manifest


def with_tag(tags: list[Tag], new: Tag) -> list[Tag]:
    """*tags* and *new*; raises if its name can't be used."""
    if not history.valid_name(new.name):
        raise PyparrotError(new.name, "not a tag name", "letters, digits and . _ - + : only")
    if new.name in history.AUTOMATIC or any(tag.name == new.name for tag in tags):
        raise PyparrotError(new.name, "there is such a tag already", "remove it first")
    return [*tags, new]


def newest_first(fqrn: str) -> list[Tag]:
    """All tags of a repository."""
    repository = StoredRepository.open(fqrn)
    return repository.tags(repository.manifest)[::-1]


def find(tags: list[Tag], name: str) -> Tag:
    """The tag of that name; raises if there is none."""
    for tag in tags:
        if tag.name == name:
            return tag
    raise PyparrotError(name, "no such tag", "pyparrot publish tag list FQRN shows them")


def add(fqrn: str, name: str, description: str, revision: int | None) -> Tag:
    """Name the current revision, or an earlier one by its number."""
    repository = StoredRepository.open(fqrn)
    with repository.writing() as publication:
        current = publication.current
        root = Root(current.catalog, current.catalog_size, current.revision)
        if revision is not None and revision != current.revision:
            root = _root_of(repository, current, revision)
        tag = Tag(name, root.catalog, root.revision, int(time.time()), description, root.size)
        publication.commit(tags=with_tag(repository.tags(current), tag))
        return tag


def remove(fqrn: str, names: list[str]) -> None:
    """Remove tags; what they named stays until the next garbage collection."""
    repository = StoredRepository.open(fqrn)
    with repository.writing() as publication:
        tags = repository.tags(publication.current)
        for name in names:
            if name in history.AUTOMATIC:
                raise PyparrotError(name, "this tag belongs to pyparrot, it can't be removed")
            find(tags, name)
        publication.commit(tags=[tag for tag in tags if tag.name not in names])


def rollback(fqrn: str, name: str) -> tuple[Manifest, Tag, list[Tag]]:
    """Publish what a tag names as a new revision.

    Tags of revisions after that one are removed, as CernVM-FS does it. Gives the new manifest, the
    tag and the removed ones.
    """
    repository = StoredRepository.open(fqrn)
    with repository.writing() as publication:
        current = publication.current
        tags = repository.tags(current)
        target = find(tags, name)
        if target.catalog == current.catalog:
            raise PyparrotError(name, f"it names the current revision, {current.revision}")
        kept = [t for t in tags if t.revision <= target.revision or t.name in history.AUTOMATIC]
        root = _renumbered(repository, current, target.catalog)
        manifest = publication.commit(root, kept)
        return manifest, target, [tag for tag in tags if tag not in kept]


def _renumbered(repository: StoredRepository, current: Manifest, catalog: ContentHash) -> Root:
    """The root catalog of an old revision as that of the next one."""
    file = repository.unpack_catalog(catalog)
    opened = Catalog.open_to_write(file)
    stamp(opened, Revision(current.revision + 1, int(time.time())), current.catalog)
    opened.close()
    size = os.stat(file).st_size
    stored: list[ContentHash] = []
    with BodyStore(repository.storage, repository.settings) as bodies:
        bodies.add_object(file, Kind.CATALOG, stored.append)
        bodies.finish()
    return Root(stored[0], size, current.revision + 1)


def _root_of(repository: StoredRepository, current: Manifest, revision: int) -> Root:
    """An earlier revision, found by following each catalog's predecessor."""
    for root in repository.revisions(current):
        if root.revision == revision:
            return root
    raise PyparrotError(str(revision), "there is no such revision any more")

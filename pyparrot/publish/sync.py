"""Publishes a new revision: what `sync` and `ingest` share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from pyparrot.errors import PyparrotError
from pyparrot.progress import Progress
from pyparrot.publish import keys
from pyparrot.publish.archive import ArchiveInput
from pyparrot.publish.build import Builder, Changes
from pyparrot.publish.catalogs import CatalogWriters, Revision
from pyparrot.publish.content import BodyStore
from pyparrot.publish.input import DirectoryInput, InputTree, Owner
from pyparrot.publish.layout import AUTOMATIC_MARKER, RULES_FILE, Layout, Rules, plan
from pyparrot.publish.preview import preview
from pyparrot.publish.pruned_tree import PrunedTree
from pyparrot.publish.repository import Publication, Root, StoredRepository
from pyparrot.publish.staging_tree import StagingTree, repository_path
from pyparrot.publish.tags import with_tag
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_tree import CatalogTree
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.history import Tag
from pyparrot.sources.cvmfs.manifest import Manifest


class PublicationOptions(NamedTuple):
    """How to publish: *distrust* reads the bodies of files that look unchanged, too."""

    owner: Owner = Owner()
    distrust: bool = False
    dry_run: bool = False
    tag: str | None = None
    message: str = ""


class Published(NamedTuple):
    """What was published; *manifest* is the old one after a dry run, or if nothing changed."""

    manifest: Manifest
    changes: Changes
    new_objects: int
    new_bytes: int
    published: bool


def sync(fqrn: str, directory: bytes, options: PublicationOptions, progress: Progress) -> Published:
    """Make a repository equal to *directory*.

    Raises `PyparrotError`; the last revision stays as it is then.
    """
    repository = StoredRepository.open(fqrn)
    input_tree = DirectoryInput(directory, options.owner, repository.settings.xattrs, progress)
    input_tree.refuse_to_contain(repository.settings.root, "the repository's own storage")
    input_tree.refuse_to_contain(keys.directory(), "the directory of your secret keys")
    with repository.writing() as publication, _tree(repository, publication) as old:
        rules = Rules(input_tree.body(RULES_FILE) or b"")
        if options.dry_run:
            return _preview(publication, input_tree, rules, old, options, progress)
        with BodyStore(repository.storage, repository.settings) as bodies:
            return _revise(publication, input_tree, rules, old, bodies, options, progress)


def ingest(
    fqrn: str,
    stream: IO[bytes],
    name: str,
    into: bytes,
    delete: Sequence[bytes],
    options: PublicationOptions,
    progress: Progress,
) -> Published:
    """Lay the content of a tar file over directory *into* of a repository.

    Before that, the paths in *delete* are removed. *name* is what messages call the tar file.
    Raises `PyparrotError`; the last revision stays as it is then.
    """
    repository = StoredRepository.open(fqrn)
    with repository.writing() as publication, _tree(repository, publication) as old:
        removed = [repository_path(path) for path in delete]
        for path in removed:
            if not path or old.lookup(path) is None:
                raise PyparrotError(path or b"/", "there is nothing to delete")
        remaining = PrunedTree(old, removed)
        with BodyStore(repository.storage, repository.settings) as bodies:
            staged = StagingTree(repository.scratch_file(), bodies, remaining, options.owner)
            staged.read(stream, name, repository_path(into), progress)
            input_tree = ArchiveInput(remaining, staged)
            rules = Rules(_rules_after(repository, staged.catalog, remaining))
            return _revise(publication, input_tree, rules, old, bodies, options, progress)


@contextlib.contextmanager
def _tree(repository: StoredRepository, publication: Publication) -> Iterator[CatalogTree]:
    old = repository.tree(publication.current.catalog)
    try:
        yield old
    finally:
        old.close()


def _layout(
    repository: StoredRepository, input_tree: InputTree, rules: Rules, old: CatalogTree
) -> Layout:
    survey = list(input_tree.survey())
    kept = {surveyed.path for surveyed in survey if surveyed.kept}
    published = set[bytes]()
    automatic = set[bytes]()
    pending = [b""]
    while pending:
        mountpoint = pending.pop()
        if old.catalog(mountpoint).catalog.lookup(mountpoint + b"/" + AUTOMATIC_MARKER):
            automatic.add(mountpoint)
        nested = old.nested(mountpoint).keys()
        published |= nested
        pending += nested - kept
    return plan(survey, rules, frozenset(automatic), repository.settings, frozenset(published))


def _revise(
    publication: Publication,
    input_tree: InputTree,
    rules: Rules,
    old: CatalogTree,
    bodies: BodyStore,
    options: PublicationOptions,
    progress: Progress,
) -> Published:
    repository, current = publication.repository, publication.current
    tags = repository.tags(current)
    if options.tag is not None:
        # Before the work, so that a name that can't be used doesn't cost any.
        with_tag(tags, Tag(options.tag, current.catalog, 0, 0))
    layout = _layout(repository, input_tree, rules, old)
    now = int(time.time())
    revision = Revision(current.revision + 1, now)
    writers = CatalogWriters(repository.storage, bodies, repository.settings, revision, old)
    finished, changes = Builder(input_tree, old, layout, writers, progress, options.distrust).run()
    root = Root(current.catalog, current.catalog_size, current.revision)
    if finished.changed:
        root = Root(finished.hash, finished.size, revision.number)
    names = [] if options.tag is None else [(options.tag, options.message)]
    if finished.changed and repository.settings.auto_tag:
        names.append((time.strftime("generic-%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)), ""))
    for name, message in names:
        tags = with_tag(tags, Tag(name, root.catalog, root.revision, now, message, root.size))
    published = finished.changed or bool(names)
    if published:
        publication.commit(root if finished.changed else None, tags)
    return Published(publication.current, changes, bodies.new_objects, bodies.new_bytes, published)


def _preview(
    publication: Publication,
    input_tree: InputTree,
    rules: Rules,
    old: CatalogTree,
    options: PublicationOptions,
    progress: Progress,
) -> Published:
    repository = publication.repository
    layout = _layout(repository, input_tree, rules, old)
    changes = preview(input_tree, old, layout, repository, options.distrust, progress)
    return Published(publication.current, changes, 0, 0, False)


def _rules_after(repository: StoredRepository, staged: Catalog, remaining: PrunedTree) -> bytes:
    """The content that ``.cvmfsdirtab`` will have in the new revision."""
    entry = staged.lookup(RULES_FILE) or remaining.lookup(RULES_FILE)
    if entry is None or not entry.is_regular or entry.digest is None:
        return b""
    name = ContentHash(entry.digest, entry.algorithm)
    return repository.storage.read_body(name, Kind.BODY, entry.compression)

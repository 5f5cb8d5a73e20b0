"""Garbage collection: removes the objects that no kept revision needs.

Mark and sweep. All kept catalogs are read before anything is removed, so a broken repository
loses nothing; the reference log forgets the other revisions before their objects go.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from pyparrot.errors import PyparrotError
from pyparrot.progress import Progress
from pyparrot.publish.object_marks import (
    KIND_OF_REFERENCE,
    catalogs,
    mark,
    mark_of_body,
    mark_of_file,
    marks_of_roots,
)
from pyparrot.publish.repository import Publication, StoredRepository
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.manifest import Manifest

_DAY = 24 * 3600


class Collected(NamedTuple):
    """What was kept and removed: numbers of revisions and objects, and bytes on disk."""

    revisions: int
    kept: int
    removed: int
    removed_bytes: int


def collect(
    fqrn: str, *, keep_days: int, keep_revisions: int, dry_run: bool, progress: Progress
) -> Collected:
    """Remove what is needed neither by a tag nor by a recent revision.

    Recent are the current revision, the newest *keep_revisions*, and all that were current within
    the last *keep_days*.
    """
    repository = StoredRepository.open(fqrn)
    if not repository.settings.garbage_collection:
        raise PyparrotError(
            fqrn,
            "its revisions are kept for ever",
            f"set CVMFS_GARBAGE_COLLECTION=true in {repository.settings.file}",
        )
    with repository.writing() as publication:
        roots = _kept_roots(repository, publication.current, keep_days, keep_revisions)
        needed: set[bytes] = set()
        for name, catalog in catalogs(repository, roots):
            needed.add(mark(name, Kind.CATALOG))
            needed.update(map(mark_of_body, catalog.objects()))
            progress.advance()
        needed |= marks_of_roots(publication.current)
        if not dry_run:
            _forget(publication, needed)
            needed |= marks_of_roots(publication.current)
        return _sweep(repository, needed, len(roots), dry_run, progress)


def _kept_roots(
    repository: StoredRepository, current: Manifest, keep_days: int, keep_revisions: int
) -> set[ContentHash]:
    roots = {tag.catalog for tag in repository.tags(current)}
    oldest = time.time() - keep_days * _DAY
    replaced = time.time()
    for position, root in enumerate(repository.revisions(current)):
        # A revision was current until the next one was made.
        if position > 0 and position >= keep_revisions and replaced <= oldest:
            break
        roots.add(root.catalog)
        replaced = root.timestamp
    return roots


def _forget(publication: Publication, needed: set[bytes]) -> None:
    """Remove from the reference log what is about to be deleted."""
    unneeded = frozenset(
        reference.hash
        for reference in publication.repository.references()
        if mark(reference.hash, KIND_OF_REFERENCE[reference.type]) not in needed
    )
    if unneeded:
        publication.commit(forget=unneeded)


def _sweep(
    repository: StoredRepository,
    needed: set[bytes],
    revisions: int,
    dry_run: bool,
    progress: Progress,
) -> Collected:
    kept = removed = removed_bytes = 0
    for name, file in repository.storage.objects():
        found = mark_of_file(name)
        if found is None:
            continue
        progress.advance()
        if found in needed:
            kept += 1
            continue
        removed += 1
        removed_bytes += file.stat(follow_symlinks=False).st_size
        if not dry_run:
            os.unlink(file.path)
    return Collected(revisions, kept, removed, removed_bytes)

"""A repository that is published from here: what it is now, and how a new state replaces it.

The order of `commit` is what makes a crash harmless: everything that a new manifest needs is on
disk before the manifest is, and the manifest is replaced by one rename.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from pyparrot.errors import PyparrotError, from_os_error, naming
from pyparrot.publish import keys, settings, signed_files
from pyparrot.publish.settings import Settings
from pyparrot.publish.storage import Storage
from pyparrot.sources.cvmfs import history, manifest, reflog
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_tree import CatalogTree
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.history import TRUNK, TRUNK_PREVIOUS, Tag
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.reflog import Reference, ReferenceType


class Root(NamedTuple):
    """A root catalog: its hash, uncompressed size in bytes, revision, and when made (unix)."""

    catalog: ContentHash
    size: int
    revision: int
    timestamp: int = 0


class StoredRepository:
    """One repository and how it is configured; `open` finds it by name."""

    def __init__(self, configured: Settings) -> None:
        self.settings = configured
        self.fqrn = configured.fqrn
        self.storage = Storage(configured.root)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._serial = itertools.count()

    @classmethod
    def open(cls, fqrn: str) -> StoredRepository:
        """The repository of that name; `PyparrotError` if none is published from here."""
        return cls(settings.load(fqrn))

    @property
    def manifest(self) -> Manifest:
        """The current manifest, its signature checked."""
        return signed_files.read_manifest(self.storage, self.fqrn)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Publication]:
        """Be the only writer; raises unless clients will accept what is published."""
        signing = keys.load_signing_keys(self.fqrn)
        with self.storage.lock():
            current = self.manifest
            master = keys.load_public_key(keys.key_file(self.fqrn, "pub"))
            signed_files.check_keys(
                signing, signed_files.read_whitelist(self.storage, self.fqrn, master)
            )
            try:
                yield Publication(self, current, signing)
            except sqlite3.OperationalError as error:
                if "full" not in str(error):
                    raise
                full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.storage.temporary)
                raise from_os_error(full) from None

    def scratch_file(self) -> str:
        """A name for a new file that is gone when this process ends.

        The writer's are beside the objects, where the next one clears away what is left of a
        process that was killed.
        """
        if self.storage.locked:
            return self.storage.temporary_file()
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="pyparrot-")
        return os.path.join(self._scratch.name, str(next(self._serial)))

    def tags(self, current: Manifest) -> list[Tag]:
        """All tags, oldest first."""
        if current.history is None:
            return []
        file = self.unpack(current.history, Kind.HISTORY)
        try:
            return history.read(file)
        except BROKEN as error:
            path = self.storage.path(current.history, Kind.HISTORY)
            raise PyparrotError(path, f"corrupt: {error}") from None
        finally:
            os.unlink(file)

    def revisions(self, current: Manifest) -> Iterator[Root]:
        """The current revision and those before it, newest first, as far as they are stored."""
        name: ContentHash | None = current.catalog
        while name and os.path.exists(self.storage.path(name, Kind.CATALOG)):
            with self.open_catalog(name) as catalog:
                yield Root(name, catalog.size, catalog.revision, catalog.last_modified)
                name = catalog.previous_revision

    def references(self) -> list[Reference]:
        """What the reference log lists."""
        path = os.path.join(self.storage.root, reflog.FILE_NAME)
        try:
            return reflog.read(path)
        except (OSError, *BROKEN) as error:
            why = getattr(error, "strerror", None) or error
            raise PyparrotError(path, f"corrupt: {why}") from None

    def object_name(self, content: bytes) -> ContentHash:
        """The name of one of the objects that are always compressed."""
        return self.settings.algorithm.of(Compression.ZLIB.pack(content))

    def put(self, content: bytes, kind: Kind) -> ContentHash:
        """Store one of the objects that are always compressed; gives its name."""
        packed = Compression.ZLIB.pack(content)
        name = self.settings.algorithm.of(packed)
        self.storage.put(name, kind, packed)
        return name

    def tree(self, root: ContentHash) -> CatalogTree:
        """The tree of a revision."""
        return CatalogTree(root, self.unpack_catalog)

    def unpack_catalog(self, name: ContentHash) -> str:
        """A file with the content of a catalog; it belongs to the caller."""
        return self.unpack(name, Kind.CATALOG)

    def unpack(self, name: ContentHash, kind: Kind) -> str:
        """A file with the unpacked content of an object; it belongs to the caller."""
        content = self.storage.read(name, kind)
        file = self.scratch_file()
        with naming(file), open(file, "xb") as output:
            output.write(content)
        return file

    @contextlib.contextmanager
    def open_catalog(self, name: ContentHash) -> Iterator[Catalog]:
        """A catalog, to read."""
        file = self.unpack_catalog(name)
        catalog = Catalog.open(file)
        try:
            yield catalog
        finally:
            catalog.close()
            with contextlib.suppress(FileNotFoundError):  # the lock was given back before
                os.unlink(file)


class Publication:
    """The right to change a repository; made by `StoredRepository.writing`."""

    def __init__(
        self, repository: StoredRepository, current: Manifest, signing: keys.SigningKeys
    ) -> None:
        self.repository = repository
        self.current = current
        self._signing = signing
        self._storage = repository.storage
        self._settings = repository.settings

    def commit(
        self,
        root: Root | None = None,
        tags: list[Tag] | None = None,
        forget: frozenset[ContentHash] = frozenset(),
    ) -> Manifest:
        """Publish: *root* as a new revision if given, *tags* as the tags, both as they were else.

        References in *forget* are dropped from the reference log.
        """
        now = max(int(time.time()), self.current.published)
        repository = self.repository
        if tags is None:
            tags = repository.tags(self.current)
        if root is not None:
            tags = _move_trunk(tags, self.current, root, now)
        else:
            root = Root(self.current.catalog, self.current.catalog_size, self.current.revision)
        new = self.current._replace(
            catalog=root.catalog,
            catalog_size=root.size,
            revision=root.revision,
            ttl=self._settings.ttl,
            published=now,
            certificate=self.repository.put(self._signing.pem, Kind.CERTIFICATE),
            history=self._put_history(tags),
            garbage_collectable=self._settings.garbage_collection,
        )
        new = new._replace(reflog=self._write_reflog(new, forget))
        self._replace_manifest(new)
        return new

    def _replace_manifest(self, new: Manifest) -> None:
        self._storage.sync()
        text = signed_files.sign_manifest(new, self._signing, self._settings.algorithm)
        self._storage.replace_file(manifest.FILE_NAME, text)
        self.current = new

    def _put_history(self, tags: list[Tag]) -> ContentHash:
        if self.current.history and tags == self.repository.tags(self.current):
            return self.current.history
        file = self._storage.temporary_file()
        history.write(file, self.repository.fqrn, tags, self.current.history)
        return self.repository.put(_take(file), Kind.HISTORY)

    def _write_reflog(self, new: Manifest, forget: frozenset[ContentHash]) -> ContentHash:
        references = [r for r in self.repository.references() if r.hash not in forget]
        listed = {reference.hash for reference in references}
        for name, kind in roots_of(new):
            if name not in listed:
                references.append(Reference(name, kind, new.published))
        file = self._storage.temporary_file()
        reflog.write(file, self.repository.fqrn, references)
        content = _take(file)
        self._storage.replace_file(reflog.FILE_NAME, content)
        return self._settings.algorithm.of(content)


def roots_of(published: Manifest) -> list[tuple[ContentHash, ReferenceType]]:
    """What the reference log has to list for a manifest."""
    roots = [
        (published.catalog, ReferenceType.CATALOG),
        (published.certificate, ReferenceType.CERTIFICATE),
        (published.history, ReferenceType.HISTORY),
        (published.metainfo, ReferenceType.METAINFO),
    ]
    return [(name, kind) for name, kind in roots if name]


def _move_trunk(tags: list[Tag], current: Manifest, root: Root, now: int) -> list[Tag]:
    """The tags after *root* has become the newest revision."""
    kept = [tag for tag in tags if tag.name not in history.AUTOMATIC]
    previous = Tag(
        TRUNK_PREVIOUS,
        current.catalog,
        current.revision,
        current.published,
        "default undo target",
        current.catalog_size,
    )
    head = Tag(TRUNK, root.catalog, root.revision, now, "current HEAD", root.size)
    return [*kept, previous, head]


def _take(file: str) -> bytes:
    with open(file, "rb") as stream:
        content = stream.read()
    os.unlink(file)
    return content

"""Which revision of a repository is opened: the newest that is known, or a fixed one."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.errors import PyparrotError
from pyparrot.sources.cvmfs import history, trust_cache
from pyparrot.sources.cvmfs.catalog import DEFAULT_TTL
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.history import Tag
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.manifest_fetcher import ManifestFetcher
from pyparrot.transport import TransportError

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.config import Configuration
    from pyparrot.sources.cvmfs.objects import Objects


class Wanted(NamedTuple):
    """Which revision to open: the newest, or a fixed one. At most one is given.

    *date* is the newest tagged revision not after it (unix seconds).
    """

    tag: str | None = None
    date: int | None = None
    revision: int | None = None
    root_hash: ContentHash | None = None

    @property
    def newest(self) -> bool:
        """Whether the newest revision is wanted."""
        return not any(value is not None for value in self)


class Revisions:
    """The revisions of the repository that is configured, as its servers and *store* know them.

    *refresh* asks the servers even if the TTL of the known manifest has not passed. *warnings*
    gets a line about what was not as it should be, such as a server that can't be reached.
    """

    def __init__(
        self,
        configuration: Configuration,
        store: ObjectStore,
        objects: Objects,
        fetcher: ManifestFetcher,
        refresh: bool,
        warnings: list[str],
    ) -> None:
        self._configuration = configuration
        self._name = configuration.fqrn
        self._store = store
        self._objects = objects
        self._fetcher = fetcher
        self._refresh = refresh
        self._warnings = warnings
        self.manifest: Manifest | None = None
        """The newest manifest that is known, if one was needed so far."""

    def find(self, wanted: Wanted) -> ContentHash:
        """The hash of the root catalog of a revision."""
        if wanted.root_hash is not None:
            return wanted.root_hash
        self.manifest = self._current_manifest()
        if wanted.newest or wanted.revision == self.manifest.revision:
            return self.manifest.catalog
        return _choose(self._name, self.tags(), wanted).catalog

    def resume(self) -> None:
        """Go on without asking: what the cache knows is what was found before."""
        known = trust_cache.read(self._store, self._name)
        self.manifest = None if known is None else known.manifest

    def tags(self) -> list[Tag]:
        """The repository's tags, oldest first."""
        if self.manifest is None:
            self.manifest = self._current_manifest()
        if self.manifest.history is None:
            return []
        file = self._objects.metadata(self.manifest.history, Kind.HISTORY)
        try:
            return history.read(file)
        except BROKEN as error:
            raise PyparrotError(self._name, f"bad tag database: {error}") from None

    def ttl(self) -> float:
        """After how many seconds there may be a newer revision than the newest that is known."""
        return DEFAULT_TTL if self.manifest is None else self._ttl_of(self.manifest)

    def _current_manifest(self) -> Manifest:
        """The newest manifest: the known one while its TTL has not passed, else the servers'."""
        origin = trust_cache.Origin.of(self._configuration)
        before = trust_cache.read(self._store, self._name)
        same_keys = False
        if before is not None and before.origin is not None:
            if before.origin == origin and not self._refresh and self._is_fresh(before):
                return before.manifest
            same_keys = before.origin.keys == origin.keys
        try:
            raw, manifest = self._fetcher.fetch()
        except TransportError as error:
            if before is None or not same_keys:
                raise
            why = f"offline, revision {before.manifest.revision}: {error.why}"
            self._warnings.append(f"{self._name}: {why}")
            return before.manifest
        if before is not None and _older(manifest, before.manifest):
            has = f"the servers have revision {manifest.revision}"
            newer = before.manifest.revision
            if not same_keys:
                why = f"{has}, but this cache has seen {newer}, signed for other master keys"
                raise PyparrotError(self._name, why, "use another --cache")
            self._warnings.append(f"{self._name}: {has}, the newer {newer} is kept")
            return before.manifest
        trust_cache.write(self._store, self._name, raw, origin)
        return manifest

    def _is_fresh(self, before: trust_cache.Accepted) -> bool:
        age = time.time() - before.accepted
        # A file from the future would never expire.
        return 0 <= age < self._ttl_of(before.manifest)

    def _ttl_of(self, manifest: Manifest) -> float:
        minutes = self._configuration.number("CVMFS_MAX_TTL", 0, minimum=0)
        return min(manifest.ttl or DEFAULT_TTL, minutes * 60 if minutes else float("inf"))


def _older(manifest: Manifest, before: Manifest) -> bool:
    return manifest.revision < before.revision or manifest.published < before.published


def _choose(fqrn: str, tags: list[Tag], wanted: Wanted) -> Tag:
    if wanted.tag is not None:
        found = [tag for tag in tags if tag.name == wanted.tag]
        what = f"no tag {wanted.tag}"
    elif wanted.revision is not None:
        found = [tag for tag in tags if tag.revision == wanted.revision]
        what = f"no tag names revision {wanted.revision}"
    else:
        date = wanted.date or 0
        found = [tag for tag in tags if tag.timestamp <= date]
        what = "no tag is so old"
    if not found:
        raise PyparrotError(fqrn, what, f"pyparrot repo info {fqrn} lists the tags")
    return max(found, key=lambda tag: (tag.timestamp, tag.revision))


def configured(configuration: Configuration) -> Wanted:
    """The revision that the parameters ask for."""
    root_hash = configuration.get("CVMFS_ROOT_HASH")
    date = configuration.get("CVMFS_REPOSITORY_DATE")
    try:
        return Wanted(
            tag=configuration.get("CVMFS_REPOSITORY_TAG") or None,
            date=_unix_time(date) if date else None,
            root_hash=ContentHash.parse(root_hash) if root_hash else None,
        )
    except ValueError as error:
        raise PyparrotError(configuration.fqrn, str(error)) from None


def _unix_time(text: str) -> int:
    parsed = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return int(parsed.replace(tzinfo=timezone.utc).timestamp())

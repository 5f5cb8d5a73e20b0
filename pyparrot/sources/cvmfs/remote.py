"""A CernVM-FS repository on HTTP servers, at one revision."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import printable
from pyparrot.single_flight import SingleFlight
from pyparrot.sources.cvmfs import servers
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.handles import Body, catalog_name, catalog_size
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.history import Tag
from pyparrot.sources.cvmfs.indexing import build_index
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.manifest_fetcher import ManifestFetcher
from pyparrot.sources.cvmfs.object_names import index_name
from pyparrot.sources.cvmfs.objects import Objects
from pyparrot.sources.cvmfs.revisions import Revisions, Wanted, configured
from pyparrot.tree.base import Tree, damage_is_an_io_error
from pyparrot.tree.damage import is_damage
from pyparrot.tree.index import ROOT_HASH, BadIndexError, Index
from pyparrot.tree.snapshot import Found, NeedIndex, Snapshot

if TYPE_CHECKING:
    from pyparrot.config import Configuration
    from pyparrot.tree.entries import Node

__all__ = ["RemoteRepository", "Wanted", "default_mountpoint"]

_MOUNT_DIRECTORY = b"/cvmfs/"


class RemoteRepository(Tree):
    """A repository, opened: its manifest is verified (or a root hash was given) and its root
    catalog is at hand.

    It is seen at *mountpoint*, as absolute symlinks in it have it (``/cvmfs/FQRN``).
    *refresh* asks the servers even if the TTL of the known manifest has not passed. With *pin* it
    is at the revision of the tree whose `pin` that was, and no server is asked for it. *warnings*
    tell what was not as it should be, such as a server that can't be reached.

    Of `pyparrot.sources.capabilities` it has all.
    """

    warnings: list[str]

    def __init__(
        self,
        configuration: Configuration,
        store: ObjectStore,
        wanted: Wanted | None = None,
        environment: Mapping[bytes, bytes] | None = None,
        refresh: bool = False,
        mountpoint: bytes | None = None,
        pin: str | None = None,
    ) -> None:
        self.name = configuration.fqrn
        self.configuration = configuration
        self.store = store
        self.warnings = []
        self.transport = servers.transport(configuration)
        self.external = servers.external_transport(configuration)
        self.objects = Objects(store, self.transport, self.external)
        self._flights: SingleFlight[str, Index] = SingleFlight()
        self._environment = environment
        self._renewed = False
        self._mountpoint = mountpoint or default_mountpoint(self.name)
        self._wanted = wanted or configured(configuration)
        fetcher = ManifestFetcher(configuration, self.transport, self.objects, self.warnings)
        self._revisions = Revisions(
            configuration, store, self.objects, fetcher, refresh, self.warnings
        )
        try:
            if pin is None:
                self.root = self._revisions.find(self._wanted)
            else:
                self.root = ContentHash.parse(pin)
                self._revisions.resume()
            root = self._root_index()
            if pin is None:
                fetcher.check_revision(root.revision)
        except BaseException:
            self.close()
            raise
        self.snapshot = Snapshot(root, self._mountpoint, environment)
        self.device = _device(self.name)
        self.identity = f"{self.name} {self.root}".encode()

    def close(self) -> None:
        """Close connections, and bring the cache's ledger up to date."""
        self.transport.close()
        if self.external is not None:
            self.external.close()
        self.objects.close()
        self.store.flush()

    # Catalogs and bodies

    def fetch_index(self, need: NeedIndex) -> Index:
        """The index of a nested catalog."""
        with damage_is_an_io_error(need.mountpoint):
            name, stated = catalog_name(need.handle), catalog_size(need.handle)
        return self._index(name, need.root_hash, need.mountpoint, stated)

    def body(self, node: Node, path: bytes) -> str:
        """The local file with a file's content."""
        return self.objects.body(_body_of(node, path), path)

    def use(self, node: Node) -> None:
        """As `pyparrot.sources.capabilities.CountsUse`."""
        with contextlib.suppress(OSError):
            self.is_cached(node)

    def is_cached(self, node: Node) -> bool:
        """Whether a file's content is in the cache; it counts as used now."""
        return self.objects.cached(_body_of(node, node.name))

    def discard(self, file: str) -> None:
        """Throw away a content that is damaged."""
        self.store.discard(self.store.name(file))

    def renew(self) -> bool:
        """Make the indexes anew, as one of them is damaged; once, for then it is no accident."""
        if self._renewed:
            return False
        self._renewed = True
        for index in self.snapshot.indexes():
            self.store.discard(self.store.name(index.file))
        self.snapshot = Snapshot(self._root_index(), self._mountpoint, self._environment)
        return True

    def _root_index(self) -> Index:
        manifest = self.manifest
        is_named = manifest is not None and manifest.catalog == self.root
        stated = manifest.catalog_size if manifest is not None and is_named else 0
        return self._index(self.root, ROOT_HASH, b"", stated)

    def _index(self, name: ContentHash, root_hash: int, path: bytes, stated: int) -> Index:
        key = index_name(name, root_hash)

        def make() -> Index:
            with self.store.alone(key):
                # Others may have made it meanwhile.
                return self._find_index(key, root_hash, path) or self._build(
                    key, name, root_hash, path, stated
                )

        return self._find_index(key, root_hash, path) or self._flights.run(key, make)

    def _find_index(self, key: ObjectName, root_hash: int, path: bytes) -> Index | None:
        found = self.store.find(key)
        if found is None:
            return None
        try:
            index = Index(found, path)
            if index.root_hash == root_hash:
                return index
            # Damaged. It would not be found where it is wanted, and be wanted again and again.
        except (BadIndexError, OSError) as error:
            if not is_damage(error):
                raise
        self.store.discard(key)
        return None

    def _build(
        self, key: ObjectName, name: ContentHash, root_hash: int, path: bytes, stated: int
    ) -> Index:
        def read(file: str) -> Index:
            return Index(self.store.make(lambda output: write(file, output)), path)

        def write(file: str, output: str) -> ObjectName:
            with contextlib.closing(Catalog.open(file)) as catalog:
                # It speaks of its own revision's paths, which are others below a bind mountpoint.
                root = catalog.mountpoint
                if not path.endswith(root):
                    raise BadIndexError(f"catalog {name}: it is the one of {printable(root)}")
                build_index(catalog, name, root, root_hash, output)
            return key

        try:
            return self.objects.read(name, Kind.CATALOG, read, stated)
        except BROKEN as error:
            where = os.fsdecode(path) or "/"
            raise OSError(errno.EIO, f"{self.name}: bad catalog at {where}: {error}") from None

    # Which revision

    @property
    def manifest(self) -> Manifest | None:
        """The newest manifest that is known, if one was needed so far."""
        return self._revisions.manifest

    def tags(self) -> list[Tag]:
        """The repository's tags, oldest first."""
        return self._revisions.tags()

    def pin(self) -> str:
        """As `pyparrot.sources.capabilities.Pinned`."""
        return str(self.root)

    def ttl(self) -> float | None:
        """As `pyparrot.sources.capabilities.Renewable`."""
        return self._revisions.ttl() if self._wanted.newest else None

    def newest(self) -> RemoteRepository:
        """As `pyparrot.sources.capabilities.Renewable`."""
        return RemoteRepository(
            self.configuration,
            self.store,
            self._wanted,
            self._environment,
            refresh=True,
            mountpoint=self._mountpoint,
        )

    # What is to be said of it

    def transferred(self) -> tuple[int, int]:
        """As `pyparrot.sources.capabilities.Transported`; external files are not counted."""
        statistics = self.transport.statistics
        return statistics.requests, statistics.bytes

    def magic_xattr(self, found: Found, name: bytes) -> bytes | None:
        """As `pyparrot.sources.capabilities.MagicXattrs`."""
        from pyparrot.sources.cvmfs import magic_xattrs

        return magic_xattrs.value(self, found, name)

    def describe(self) -> dict[str, Any]:
        """As `pyparrot.sources.capabilities.Describes`."""
        from pyparrot.sources.cvmfs import describe

        return describe.repository(self)

    def describe_content(self, node: Node) -> dict[str, Any]:
        """As `pyparrot.sources.capabilities.Describes`."""
        from pyparrot.sources.cvmfs import describe

        return describe.content(_body_of(node, node.name))

    def describe_index(self, index: Index) -> str:
        """The hash of the catalog that *index* was made of."""
        return str(catalog_name(index.handle))

    def describe_nested(self, node: Node) -> str:
        """The hash of the catalog that is mounted at *node*."""
        return str(catalog_name(node.handle))


def _body_of(node: Node, path: bytes) -> Body:
    with damage_is_an_io_error(path):
        return Body.of(node)


def default_mountpoint(fqrn: str) -> bytes:
    """Where a repository is seen unless the user wants it elsewhere."""
    return _MOUNT_DIRECTORY + fqrn.encode()


def _device(name: str) -> int:
    """A device number for a repository, the same in every session."""
    import zlib

    return os.makedev(0x7B0 | zlib.crc32(name.encode()) & 0xF, zlib.crc32(name.encode()) >> 12)

"""A CernVM-FS repository on HTTP servers, at one revision."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Callable, NamedTuple

from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError, printable
from pyparrot.single_flight import SingleFlight
from pyparrot.sources.cvmfs import history, trust_cache
from pyparrot.sources.cvmfs import manifest as manifests
from pyparrot.sources.cvmfs import whitelist as whitelists
from pyparrot.sources.cvmfs.blacklist import Blacklist
from pyparrot.sources.cvmfs.catalog import DEFAULT_TTL, Catalog
from pyparrot.sources.cvmfs.database import BROKEN
from pyparrot.sources.cvmfs.hashes import ContentHash, Kind
from pyparrot.sources.cvmfs.history import Tag
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.object_names import index_name
from pyparrot.sources.cvmfs.objects import Objects
from pyparrot.transport import (
    Corrupt,
    Policy,
    ProxyGroups,
    Transport,
    TransportError,
    parse_servers,
)
from pyparrot.tree.base import Repository
from pyparrot.tree.index import ROOT_HASH, BadCatalogError, Index, Node, build
from pyparrot.tree.snapshot import NeedCatalog, Snapshot

if TYPE_CHECKING:
    from pyparrot.config import Configuration
    from pyparrot.sources.cvmfs import signature
    from pyparrot.sources.cvmfs.signed_text import SignedText

_Check = Callable[[bytes], None]
"""Raises `PyparrotError` if it does not accept the bytes."""

_LETTER_LIMIT = 1 << 20
_LONGEST = 24 * 3600
"""The most that a parameter in seconds may be."""
_EXTERNAL = 8
_MOUNT_DIRECTORY = b"/cvmfs/"


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


class RemoteRepository(Repository):
    """A repository, opened: its manifest is verified (or a root hash was given) and its root
    catalog is at hand.

    It is seen at *mountpoint*, as absolute symlinks in it have it (``/cvmfs/FQRN``).
    *refresh* asks the servers even if the TTL of the known manifest has not passed. *warnings*
    tell what was not as it should be, such as a server that can't be reached.
    """

    def __init__(
        self,
        configuration: Configuration,
        store: ObjectStore,
        wanted: Wanted | None = None,
        environment: Mapping[bytes, bytes] | None = None,
        refresh: bool = False,
        mountpoint: bytes | None = None,
    ) -> None:
        self.name = configuration.fqrn
        self.configuration = configuration
        self.store = store
        self.warnings: list[str] = []
        self.transport = _transport(configuration)
        self.external = _external_transport(configuration)
        self.objects = Objects(store, self.transport, self.external)
        self._flights: SingleFlight[str, Index] = SingleFlight()
        self.manifest: Manifest | None = None
        self._blacklist = _read_blacklist(configuration)
        self._refresh = refresh
        wanted = wanted or _configured(configuration)
        self._newest = wanted.newest
        try:
            self.root = self._find_root(wanted)
            root = self._index(self.root, ROOT_HASH, b"")
            self._check_revision(root.revision)
        except BaseException:
            self.close()
            raise
        self.snapshot = Snapshot(root, mountpoint or default_mountpoint(self.name), environment)
        self.device = _device(self.name)
        self.identity = f"{self.name} {self.root}".encode()

    def close(self) -> None:
        """Close connections, and bring the cache's ledger up to date."""
        self.transport.close()
        if self.external is not None:
            self.external.close()
        self.store.flush()

    # Catalogs and bodies

    def catalog(self, need: NeedCatalog) -> Index:
        """The index of a nested catalog."""
        return self._index(need.name, need.root_hash, need.mountpoint)

    def body(self, node: Node, path: bytes) -> str:
        """The local file with a file's content."""
        return self.objects.body(node, path, bool(node.flags & _EXTERNAL))

    def use(self, node: Node) -> None:
        """Count a file's content as used now."""
        self.objects.cached(node)

    def _index(self, name: ContentHash, root_hash: int, path: bytes) -> Index:
        key = index_name(name, root_hash)

        def make() -> Index:
            with self.store.alone(key):
                # Others may have made it meanwhile.
                return self._find_index(key, path) or self._build(key, name, root_hash, path)

        return self._find_index(key, path) or self._flights.run(key, make)

    def _find_index(self, key: ObjectName, path: bytes) -> Index | None:
        found = self.store.find(key)
        if found is not None:
            with contextlib.suppress(BadCatalogError, OSError):
                return Index(found, path)
        return None

    def _build(self, key: ObjectName, name: ContentHash, root_hash: int, path: bytes) -> Index:
        def make(output: str) -> ObjectName:
            file = self.objects.metadata(name, Kind.CATALOG)
            with contextlib.closing(Catalog.open(file)) as catalog:
                # It speaks of its own revision's paths, which are others below a bind mountpoint.
                root = catalog.mountpoint
                if not path.endswith(root):
                    raise BadCatalogError(f"catalog {name}: it is the one of {printable(root)}")
                build(catalog, name, root, root_hash, output)
            return key

        try:
            return Index(self.store.make(make), path)
        except BROKEN as error:
            where = os.fsdecode(path) or "/"
            raise OSError(errno.EIO, f"{self.name}: bad catalog at {where}: {error}") from None

    # Which revision

    def _find_root(self, wanted: Wanted) -> ContentHash:
        if wanted.root_hash is not None:
            return wanted.root_hash
        self.manifest = self._current_manifest()
        if wanted.newest or wanted.revision == self.manifest.revision:
            return self.manifest.catalog
        return _choose(self.name, self.tags(), wanted).catalog

    def tags(self) -> list[Tag]:
        """The repository's tags, oldest first."""
        if self.manifest is None:
            self.manifest = self._current_manifest()
        if self.manifest.history is None:
            return []
        file = self.objects.metadata(self.manifest.history, Kind.HISTORY)
        try:
            return history.read(file)
        except BROKEN as error:
            raise PyparrotError(self.name, f"bad tag database: {error}") from None

    def _current_manifest(self) -> Manifest:
        """The newest manifest: the known one while it may be trusted, else the servers'."""
        origin = trust_cache.Origin.of(self.configuration)
        before = trust_cache.read(self.store, self.name)
        same_keys = False
        if before is not None and before.origin is not None:
            if before.origin == origin and not self._refresh and self._is_fresh(before):
                return before.manifest
            same_keys = before.origin.keys == origin.keys
        try:
            raw, manifest = self._fetch_manifest()
        except TransportError as error:
            if before is None or not same_keys:
                raise
            why = f"offline, revision {before.manifest.revision}: {error.why}"
            self.warnings.append(f"{self.name}: {why}")
            return before.manifest
        if before is not None and _older(manifest, before.manifest):
            has = f"the servers have revision {manifest.revision}"
            newer = before.manifest.revision
            if not same_keys:
                why = f"{has}, but this cache has seen {newer}, signed for other master keys"
                raise PyparrotError(self.name, why, "use another --cache")
            self.warnings.append(f"{self.name}: {has}, the newer {newer} is kept")
            return before.manifest
        trust_cache.write(self.store, self.name, raw, origin)
        return manifest

    def _is_fresh(self, before: trust_cache.Known) -> bool:
        age = time.time() - before.accepted
        # A file from the future would never expire.
        return 0 <= age < min(before.manifest.ttl or DEFAULT_TTL, self._longest_ttl())

    @property
    def ttl(self) -> float | None:
        """After how many seconds there may be a newer revision; None if the revision is fixed."""
        if not self._newest:
            return None
        assert self.manifest is not None
        return min(self.manifest.ttl or DEFAULT_TTL, self._longest_ttl())

    def _longest_ttl(self) -> float:
        minutes = self.configuration.number("CVMFS_MAX_TTL", 0, minimum=0)
        return minutes * 60 if minutes else float("inf")

    def _fetch_manifest(self) -> tuple[bytes, Manifest]:
        from pyparrot.sources.cvmfs import trust

        masters = self._master_keys()
        accepted: list[tuple[Manifest, signature.Certificate]] = []

        def check_manifest(raw: bytes) -> None:
            letter = trust.read_letter(raw, manifests.FILE_NAME)
            manifest = trust.read_manifest(letter, self.name, manifests.FILE_NAME)
            certificate = self._certificate(manifest)
            trust.check_manifest(letter, certificate, manifests.FILE_NAME)
            accepted.append((manifest, certificate))

        raw = self._fetch_checked(manifests.FILE_NAME, check_manifest)
        manifest, certificate = accepted[-1]
        whitelist: list[whitelists.Whitelist] = []

        def check_whitelist(raw: bytes) -> None:
            letter: SignedText = trust.read_letter(raw, whitelists.FILE_NAME)
            read = trust.read_whitelist(letter, self.name, masters, whitelists.FILE_NAME)
            trust.check_whitelist(read, datetime.now(timezone.utc), whitelists.FILE_NAME)
            whitelist.append(read)

        self._fetch_checked(whitelists.FILE_NAME, check_whitelist)
        trust.check_certificate(certificate, whitelist[-1], self._blacklist, self.name)
        self._check_revision(manifest.revision)
        return raw, manifest

    def _fetch_checked(self, path: str, check: _Check) -> bytes:
        """Fetch a signed file; what its *check* refuses is asked of the next server, too."""
        sink = _Checked(check)
        try:
            self.transport.fetch(path, sink, limit=_LETTER_LIMIT)
        except TransportError:
            if sink.refused is not None:
                raise sink.refused from None
            raise
        return bytes(sink.content)

    def _certificate(self, manifest: Manifest) -> signature.Certificate:
        from pyparrot.sources.cvmfs import trust

        assert manifest.certificate is not None
        file = self.objects.metadata(manifest.certificate, Kind.CERTIFICATE)
        with open(file, "rb") as stream:
            return trust.read_certificate(stream.read(), str(manifest.certificate))

    def _master_keys(self) -> Sequence[signature.PublicKey]:
        from pyparrot.sources.cvmfs import signature

        keys: list[signature.PublicKey] = []
        problems: list[str] = []
        for file in self.configuration.key_files():
            try:
                with open(file, "rb") as stream:
                    keys.append(signature.load_public_key(stream.read()))
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                problems.append(f"{file}: not a usable master key: {why}")
        if not keys:
            why = "no master key is known for this repository"
            hint = "--key FILE, or CVMFS_PUBLIC_KEY"
            raise PyparrotError(self.name, "; ".join(problems) or why, hint)
        self.warnings += problems
        return keys

    def _check_revision(self, revision: int) -> None:
        first = self._blacklist.first_revision(self.name)
        if revision < first:
            why = f"revision {revision} is blacklisted, as are all below {first}"
            raise PyparrotError(self.name, why)


def _read_blacklist(configuration: Configuration) -> Blacklist:
    file = configuration.get("CVMFS_BLACKLIST") or "/etc/cvmfs/blacklist"
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            return Blacklist.parse(stream.read())
    except FileNotFoundError:
        return Blacklist()


class _Checked:
    """A sink that keeps what comes, and lets *check* judge it."""

    def __init__(self, check: _Check) -> None:
        self._check = check
        self.content = bytearray()
        self.refused: PyparrotError | None = None

    def reset(self) -> None:
        self.content.clear()

    def write(self, data: bytes) -> None:
        self.content += data

    def finish(self) -> None:
        try:
            self._check(bytes(self.content))
        except PyparrotError as error:
            self.refused = error
            raise Corrupt(error.why) from None


def default_mountpoint(fqrn: str) -> bytes:
    """Where a repository is seen unless somebody wants it elsewhere."""
    return _MOUNT_DIRECTORY + fqrn.encode()


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


def _configured(configuration: Configuration) -> Wanted:
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


def _transport(configuration: Configuration) -> Transport:
    url = configuration.get("CVMFS_SERVER_URL")
    if not url:
        raise PyparrotError(
            configuration.fqrn,
            "no server is known for this repository",
            "--server URL, or CVMFS_SERVER_URL",
        )
    return _new_transport(configuration, url, "CVMFS_")


def _external_transport(configuration: Configuration) -> Transport | None:
    """What fetches external files; None if no server for them is configured."""
    url = configuration.get("CVMFS_EXTERNAL_URL")
    return _new_transport(configuration, url, "CVMFS_EXTERNAL_") if url else None


def _new_transport(configuration: Configuration, url: str, common: str) -> Transport:
    number = partial(configuration.number, maximum=_LONGEST)
    proxies = configuration.get(f"{common}HTTP_PROXY") or "DIRECT"
    fallback = configuration.get(f"{common}FALLBACK_PROXY") or ""
    policy = Policy(
        timeout=number(f"{common}TIMEOUT", 5, minimum=1),
        timeout_direct=number(f"{common}TIMEOUT_DIRECT", 10, minimum=1),
        low_speed_limit=configuration.number("CVMFS_LOW_SPEED_LIMIT", 1024, minimum=0),
        retries=number("CVMFS_MAX_RETRIES", 1, minimum=0),
        backoff_init=number("CVMFS_BACKOFF_INIT", 2, minimum=0),
        backoff_max=number("CVMFS_BACKOFF_MAX", 10, minimum=0),
        proxy_reset_after=number("CVMFS_PROXY_RESET_AFTER", 300, minimum=0),
        host_reset_after=number("CVMFS_HOST_RESET_AFTER", 1800, minimum=0),
        follow_redirects=configuration.boolean("CVMFS_FOLLOW_REDIRECTS", False),
    )
    return Transport(parse_servers(url), ProxyGroups.parse(proxies, fallback), policy)


def _device(name: str) -> int:
    """A device number for a repository, the same in every session."""
    import zlib

    return os.makedev(0x7B0 | zlib.crc32(name.encode()) & 0xF, zlib.crc32(name.encode()) >> 12)

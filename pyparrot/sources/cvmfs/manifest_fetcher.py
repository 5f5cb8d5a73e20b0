"""Gets a repository's newest manifest from its servers, and follows the chain of trust to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Callable

from pyparrot.errors import PyparrotError
from pyparrot.sources.cvmfs import manifest as manifests
from pyparrot.sources.cvmfs import whitelist as whitelists
from pyparrot.sources.cvmfs.blacklist import Blacklist
from pyparrot.sources.cvmfs.hashes import Kind
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.transport import Corrupt, Transport, TransportError
from pyparrot.tree.damage import open_regular

if TYPE_CHECKING:
    from pyparrot.config import Configuration
    from pyparrot.sources.cvmfs import signature
    from pyparrot.sources.cvmfs.objects import Objects

_Check = Callable[[bytes], None]
"""Raises `PyparrotError` if it does not accept the bytes."""

_SIGNED_LIMIT = 1 << 20
"""The most bytes that a signed file may have."""


class ManifestFetcher:
    """Fetches and verifies the manifest of the repository that is configured.

    *warnings* gets a line about each master key that can't be used.
    """

    def __init__(
        self,
        configuration: Configuration,
        transport: Transport,
        objects: Objects,
        warnings: list[str],
    ) -> None:
        self._configuration = configuration
        self._name = configuration.fqrn
        self._transport = transport
        self._objects = objects
        self._warnings = warnings
        self._blacklist = _read_blacklist(configuration)

    def fetch(self) -> tuple[bytes, Manifest]:
        """The newest manifest as it came, and what it says.

        `TransportError` if no server can be reached, `PyparrotError` if it is not to be trusted.
        """
        from pyparrot.sources.cvmfs import trust_chain

        masters = self._master_keys()
        accepted: list[tuple[Manifest, signature.Certificate]] = []

        def check_manifest(raw: bytes) -> None:
            signed = trust_chain.read_signed(raw, manifests.FILE_NAME)
            manifest = trust_chain.read_manifest(signed, self._name, manifests.FILE_NAME)
            certificate = self._certificate(manifest)
            trust_chain.check_manifest(signed, certificate, manifests.FILE_NAME)
            accepted.append((manifest, certificate))

        raw = self._fetch_checked(manifests.FILE_NAME, check_manifest)
        manifest, certificate = accepted[-1]
        whitelist: list[whitelists.Whitelist] = []

        def check_whitelist(raw: bytes) -> None:
            signed = trust_chain.read_signed(raw, whitelists.FILE_NAME)
            read = trust_chain.read_whitelist(signed, self._name, masters, whitelists.FILE_NAME)
            trust_chain.check_whitelist(read, datetime.now(timezone.utc), whitelists.FILE_NAME)
            whitelist.append(read)

        self._fetch_checked(whitelists.FILE_NAME, check_whitelist)
        trust_chain.check_certificate(certificate, whitelist[-1], self._blacklist, self._name)
        self.check_revision(manifest.revision)
        return raw, manifest

    def check_revision(self, revision: int) -> None:
        """`PyparrotError` if this revision is blacklisted."""
        first = self._blacklist.first_revision(self._name)
        if revision < first:
            why = f"revision {revision} is blacklisted, as are all below {first}"
            raise PyparrotError(self._name, why)

    def _fetch_checked(self, path: str, check: _Check) -> bytes:
        """Fetch a signed file; what its *check* refuses is asked of the next server, too."""
        sink = _Checked(check)
        try:
            self._transport.fetch(path, sink, limit=_SIGNED_LIMIT)
        except TransportError:
            if sink.refused is not None:
                raise sink.refused from None
            raise
        return bytes(sink.content)

    def _certificate(self, manifest: Manifest) -> signature.Certificate:
        from pyparrot.sources.cvmfs import trust_chain

        name = manifest.certificate
        assert name is not None

        def read(file: str) -> signature.Certificate:
            with open_regular(file) as stream:
                return trust_chain.read_certificate(stream.read(), str(name))

        return self._objects.read(name, Kind.CERTIFICATE, read)

    def _master_keys(self) -> Sequence[signature.PublicKey]:
        from pyparrot.sources.cvmfs import signature

        keys: list[signature.PublicKey] = []
        problems: list[str] = []
        for file in self._configuration.key_files():
            try:
                with open(file, "rb") as stream:
                    keys.append(signature.load_public_key(stream.read()))
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                problems.append(f"{file}: not a usable master key: {why}")
        if not keys:
            why = "no master key is known for this repository"
            hint = "--key FILE, or CVMFS_PUBLIC_KEY"
            raise PyparrotError(self._name, "; ".join(problems) or why, hint)
        self._warnings += problems
        return keys


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

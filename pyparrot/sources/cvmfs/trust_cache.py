"""The newest manifest that a cache has seen of a repository: with it, warm use asks no server.

``manifests/FQRN`` in the cache is the manifest as it came, ``origins/FQRN`` says which servers and
master keys it came from. A user who names others wants to know what those say, whatever the TTL.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.errors import PyparrotError
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.signed_text import SignedText
from pyparrot.tree.damage import is_damage

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.config import Configuration

_LIMIT = 1 << 20


class Origin(NamedTuple):
    """Digests of the configured servers, and of the master keys that may sign."""

    servers: str
    keys: str

    @classmethod
    def of(cls, configuration: Configuration) -> Origin:
        """The servers and keys that are configured."""
        keys = hashlib.sha256()
        for file in configuration.key_files():
            with contextlib.suppress(OSError), open(file, "rb") as stream:
                keys.update(_digest(stream.read(_LIMIT)).encode())
        servers = configuration.get("CVMFS_SERVER_URL") or ""
        return cls(_digest(servers.encode("utf-8", "surrogateescape")), keys.hexdigest())


class Accepted(NamedTuple):
    """A manifest that was accepted, when (unix seconds), and its origin; None if that was lost."""

    manifest: Manifest
    accepted: float
    origin: Origin | None


def read(store: ObjectStore, fqrn: str) -> Accepted | None:
    """What is known of a repository."""
    found = _read(store, "manifests", fqrn)
    if found is None:
        return None
    raw, accepted = found
    try:
        signed = SignedText.parse(raw)
        manifest = Manifest.parse(signed.text)
        is_known = manifest.fqrn == fqrn and signed.intact
    except (ValueError, PyparrotError):  # no one's, or by an algorithm that is not there
        return None
    if not is_known:
        return None
    return Accepted(manifest, accepted, _read_origin(store, fqrn, raw))


def write(store: ObjectStore, fqrn: str, raw: bytes, origin: Origin) -> None:
    """Keep a manifest that was accepted now, if the cache can be written to."""
    store.keep_file(os.path.join("manifests", fqrn), raw)
    store.keep_file(os.path.join("origins", fqrn), " ".join([*origin, _digest(raw)]).encode())


def _read_origin(store: ObjectStore, fqrn: str, raw: bytes) -> Origin | None:
    found = _read(store, "origins", fqrn)
    words = found[0].decode("ascii", "replace").split() if found is not None else []
    # Two files are not written at once: this one says which manifest it speaks of.
    return Origin(*words[:2]) if len(words) == 3 and words[2] == _digest(raw) else None


def _read(store: ObjectStore, *names: str) -> tuple[bytes, float] | None:
    """A small file's content, and when it was written (unix seconds).

    None if it is not there, or is damaged; what is damaged is removed, so that it can be written
    anew.
    """
    try:
        file = store.open_file(*names)
        if file is not None:
            with file:
                return file.read(_LIMIT), os.fstat(file.fileno()).st_mtime
    except OSError as error:
        if not is_damage(error):
            raise
    store.remove_file(*names)
    return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

"""The signed files of a repository, manifest and whitelist: reading, checking, signing them.

Nothing is published unless clients will accept it.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from pyparrot.errors import PyparrotError
from pyparrot.publish.keys import SigningKeys
from pyparrot.publish.storage import Storage
from pyparrot.sources.cvmfs import manifest as manifests
from pyparrot.sources.cvmfs import signature, trust_chain
from pyparrot.sources.cvmfs import whitelist as whitelists
from pyparrot.sources.cvmfs.blacklist import Blacklist
from pyparrot.sources.cvmfs.hashes import Algorithm, Kind
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.signed_text import SignedText
from pyparrot.sources.cvmfs.whitelist import Whitelist, fingerprint


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _read_signed(storage: Storage, name: str) -> tuple[SignedText, str]:
    path = os.path.join(storage.root, name)
    try:
        return trust_chain.read_signed(storage.read_file(name), path), path
    except FileNotFoundError:
        raise PyparrotError(path, "the repository lacks this file") from None


def read_manifest(storage: Storage, fqrn: str) -> Manifest:
    """The manifest, its signature checked against the certificate that it names."""
    signed, path = _read_signed(storage, manifests.FILE_NAME)
    manifest = trust_chain.read_manifest(signed, fqrn, path)
    trust_chain.check_manifest(signed, certificate_of(storage, manifest), path)
    return manifest


def certificate_of(storage: Storage, manifest: Manifest) -> signature.Certificate:
    """The certificate that a manifest names."""
    assert manifest.certificate is not None
    pem = storage.read(manifest.certificate, Kind.CERTIFICATE)
    return trust_chain.read_certificate(pem, storage.path(manifest.certificate, Kind.CERTIFICATE))


def check_manifest_certificate(storage: Storage, manifest: Manifest, whitelist: Whitelist) -> None:
    """Raise unless the whitelist lists the certificate that signed the manifest."""
    path = os.path.join(storage.root, manifests.FILE_NAME)
    trust_chain.check_certificate(certificate_of(storage, manifest), whitelist, Blacklist(), path)


def read_whitelist(storage: Storage, fqrn: str, master: signature.PublicKey) -> Whitelist:
    """The whitelist, its signature checked with the master key's public half."""
    signed, path = _read_signed(storage, whitelists.FILE_NAME)
    return trust_chain.read_whitelist(signed, fqrn, [master], path)


def check_keys(keys: SigningKeys, whitelist: Whitelist) -> None:
    """Raise unless clients will accept what *keys* sign."""
    fqrn = whitelist.fqrn
    resign = f"pyparrot publish resign {fqrn}"
    if keys.expired(_now()):
        expired = f"{keys.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        raise PyparrotError(
            fqrn, f"the certificate expired on {expired}", f"{resign} --new-certificate"
        )
    try:
        trust_chain.check_whitelist(whitelist, _now(), fqrn)
        trust_chain.check_certificate(keys.certificate, whitelist, Blacklist(), fqrn)
    except trust_chain.TrustError as error:
        raise PyparrotError(fqrn, error.why, resign) from None


def sign_manifest(manifest: Manifest, keys: SigningKeys, algorithm: Algorithm) -> bytes:
    """The manifest as a file."""
    text = manifest.encode()
    text_hash = algorithm.of(text)
    signed = signature.sign_manifest(str(text_hash).encode(), keys.key)
    return SignedText(text, text_hash, signed).encode()


def sign_whitelist(
    fqrn: str,
    keys: SigningKeys,
    master: signature.PrivateKey,
    days: int,
    algorithm: Algorithm,
    *others: signature.Certificate,
) -> bytes:
    """A whitelist for the certificate in *keys* and *others*, valid for *days*, as a file."""
    now = _now().replace(microsecond=0)
    certificates = [keys.der, *map(signature.certificate_der, others)]
    fingerprints = tuple(fingerprint(der, algorithm) for der in certificates)
    text = Whitelist(fqrn, now, now + timedelta(days=days), fingerprints).encode()
    text_hash = algorithm.of(text)
    signed = signature.sign_whitelist(str(text_hash).encode(), master)
    return SignedText(text, text_hash, signed).encode()

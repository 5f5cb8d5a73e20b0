"""Checks that what is about to be published will be believed, and signs it."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from pyparrot.errors import PyparrotError
from pyparrot.repository.cvmfs import manifest as manifests
from pyparrot.repository.cvmfs import signature
from pyparrot.repository.cvmfs import whitelist as whitelists
from pyparrot.repository.cvmfs.hashes import Algorithm, Kind
from pyparrot.repository.cvmfs.letter import Letter
from pyparrot.repository.cvmfs.manifest import Manifest
from pyparrot.repository.cvmfs.whitelist import Whitelist, fingerprint

from .keys import SigningKeys
from .storage import Storage


def _now() -> datetime:
    return datetime.now(timezone.utc)


def read_letter(storage: Storage, name: str) -> Letter:
    """A signed file at the repository's root; `PyparrotError` if missing, cut off or altered."""
    path = os.path.join(storage.root, name)
    try:
        letter = Letter.parse(storage.read_file(name))
    except FileNotFoundError:
        raise PyparrotError(path, "the repository lacks this file") from None
    except ValueError as error:
        raise PyparrotError(path, f"corrupt: {error}") from None
    if not letter.intact:
        raise PyparrotError(path, "corrupt: its text does not have the hash that was signed")
    return letter


def read_manifest(storage: Storage, fqrn: str) -> Manifest:
    """The manifest, its signature checked against the certificate that it names."""
    path = os.path.join(storage.root, manifests.FILE_NAME)
    letter = read_letter(storage, manifests.FILE_NAME)
    try:
        manifest = Manifest.parse(letter.text)
    except ValueError as error:
        raise PyparrotError(path, f"corrupt: {error}") from None
    if manifest.fqrn != fqrn:
        raise PyparrotError(path, f"the manifest of another repository: {manifest.fqrn}")
    if manifest.certificate is None:
        raise PyparrotError(path, "corrupt: it names no certificate")
    certificate = signature.load_certificate(storage.read(manifest.certificate, Kind.CERTIFICATE))
    key = signature.certificate_key(certificate)
    if not signature.manifest_signature_valid(letter.signed, letter.signature, key):
        raise PyparrotError(path, "its signature is not by the certificate that it names")
    return manifest


def read_whitelist(storage: Storage, fqrn: str, master: signature.PublicKey) -> Whitelist:
    """The whitelist, its signature checked with the master key's public half."""
    path = os.path.join(storage.root, whitelists.FILE_NAME)
    letter = read_letter(storage, whitelists.FILE_NAME)
    try:
        whitelist = Whitelist.parse(letter.text)
    except ValueError as error:
        raise PyparrotError(path, f"corrupt: {error}") from None
    if whitelist.fqrn != fqrn:
        raise PyparrotError(path, f"the whitelist of another repository: {whitelist.fqrn}")
    if not signature.whitelist_signature_valid(letter.signed, letter.signature, master):
        raise PyparrotError(path, "wrong key: it is not signed by this repository's master key")
    return whitelist


def check_keys(keys: SigningKeys, whitelist: Whitelist) -> None:
    """Raise unless clients will accept what *keys* sign."""
    fqrn = whitelist.fqrn
    resign = f"pyparrot publish resign {fqrn}"
    if whitelist.expired(_now()):
        expired = f"{whitelist.expires:%Y-%m-%d %H:00} UTC"
        raise PyparrotError(fqrn, f"the whitelist expired on {expired}", resign)
    if keys.expired(_now()):
        expired = f"{keys.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        raise PyparrotError(
            fqrn, f"the certificate expired on {expired}", f"{resign} --new-certificate"
        )
    listed = whitelist.fingerprints
    if not any(fingerprint(keys.der, f.algorithm) == f for f in listed):
        raise PyparrotError(fqrn, "wrong key: the whitelist does not list its certificate", resign)


def sign_manifest(manifest: Manifest, keys: SigningKeys, algorithm: Algorithm) -> bytes:
    """The manifest as a file."""
    text = manifest.encode()
    text_hash = algorithm.of(text)
    signed = signature.sign_manifest(str(text_hash).encode(), keys.key)
    return Letter(text, text_hash, signed).encode()


def sign_whitelist(
    fqrn: str, keys: SigningKeys, master: signature.PrivateKey, days: int, algorithm: Algorithm
) -> bytes:
    """A whitelist for the certificate in *keys*, valid for *days* from now, as a file."""
    now = _now().replace(microsecond=0)
    text = Whitelist(
        fqrn, now, now + timedelta(days=days), (fingerprint(keys.der, algorithm),)
    ).encode()
    text_hash = algorithm.of(text)
    signed = signature.sign_whitelist(str(text_hash).encode(), master)
    return Letter(text, text_hash, signed).encode()

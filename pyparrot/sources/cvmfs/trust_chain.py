"""The chain of trust: master key, whitelist, certificate, manifest; the rest hangs on hashes.

Source: CernVM-FS ``manifest_fetch.cc`` and ``whitelist.cc``. Every check names the link of the
chain that broke: *where* is the file or URL that the bytes came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pyparrot.errors import PyparrotError
from pyparrot.sources.cvmfs import signature
from pyparrot.sources.cvmfs.blacklist import Blacklist
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.signed_text import SignedText
from pyparrot.sources.cvmfs.whitelist import Whitelist, fingerprint


class TrustError(PyparrotError):
    """Something in the chain of trust does not hold."""


def read_signed(raw: bytes, where: str) -> SignedText:
    """Take a signed file apart; its text has the hash that was signed."""
    try:
        signed = SignedText.parse(raw)
    except ValueError as error:
        raise TrustError(where, f"corrupt: {error}") from None
    if not signed.intact:
        raise TrustError(where, "corrupt: its text does not have the hash that was signed")
    return signed


def read_manifest(signed: SignedText, fqrn: str, where: str) -> Manifest:
    """What a manifest says; it is the one of repository *fqrn* and names a certificate."""
    try:
        manifest = Manifest.parse(signed.text)
    except ValueError as error:
        raise TrustError(where, f"corrupt: {error}") from None
    if manifest.fqrn != fqrn:
        raise TrustError(where, f"the manifest of another repository: {manifest.fqrn}")
    if manifest.certificate is None:
        raise TrustError(where, "corrupt: it names no certificate")
    return manifest


def read_certificate(pem: bytes, where: str) -> signature.Certificate:
    """A certificate with an RSA key."""
    try:
        certificate = signature.load_certificate(pem)
        signature.certificate_key(certificate)
    except ValueError:
        raise TrustError(where, "corrupt: not a certificate") from None
    return certificate


def check_manifest(signed: SignedText, certificate: signature.Certificate, where: str) -> None:
    """Raise unless the manifest is signed by *certificate*."""
    key = signature.certificate_key(certificate)
    if not signature.manifest_signature_valid(signed.signed, signed.signature, key):
        raise TrustError(where, "its signature is not by the certificate that it names")


def read_whitelist(
    signed: SignedText, fqrn: str, masters: Sequence[signature.PublicKey], where: str
) -> Whitelist:
    """What a whitelist says; it is the one of *fqrn*, signed by one of the master keys."""
    try:
        whitelist = Whitelist.parse(signed.text)
    except ValueError as error:
        raise TrustError(where, f"corrupt: {error}") from None
    if whitelist.fqrn != fqrn:
        raise TrustError(where, f"the whitelist of another repository: {whitelist.fqrn}")
    if not any(
        signature.whitelist_signature_valid(signed.signed, signed.signature, key) for key in masters
    ):
        raise TrustError(where, "wrong key: it is signed by no master key that is known here")
    return whitelist


def check_whitelist(whitelist: Whitelist, now: datetime, where: str) -> None:
    """Raise if the whitelist is no longer valid."""
    if whitelist.expired(now):
        raise TrustError(where, f"the whitelist expired on {whitelist.expires:%Y-%m-%d %H:00} UTC")


def check_certificate(
    certificate: signature.Certificate, whitelist: Whitelist, blacklist: Blacklist, where: str
) -> None:
    """Raise unless the whitelist lists the certificate and the blacklist does not."""
    der = signature.certificate_der(certificate)
    if not any(fingerprint(der, f.algorithm) == f for f in whitelist.fingerprints):
        raise TrustError(where, "wrong key: the whitelist does not list this certificate")
    if blacklist.lists(der):
        raise TrustError(where, "the certificate is blacklisted")

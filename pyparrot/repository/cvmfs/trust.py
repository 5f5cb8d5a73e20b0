"""The chain of trust: master key, whitelist, certificate, manifest; the rest hangs on hashes.

Source: CernVM-FS ``manifest_fetch.cc`` and ``whitelist.cc``. Every check names the link of the
chain that broke: *where* is the file or URL that the bytes came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pyparrot.errors import PyparrotError

from . import signature
from .hashes import ContentHash
from .letter import Letter
from .manifest import Manifest
from .whitelist import Whitelist, fingerprint, fingerprint_text


class TrustError(PyparrotError):
    """Something in the chain of trust does not hold."""


def read_letter(raw: bytes, where: str) -> Letter:
    """Take a signed file apart; its text has the hash that was signed."""
    try:
        letter = Letter.parse(raw)
    except ValueError as error:
        raise TrustError(where, f"corrupt: {error}") from None
    if not letter.intact:
        raise TrustError(where, "corrupt: its text does not have the hash that was signed")
    return letter


def read_manifest(letter: Letter, fqrn: str, where: str) -> Manifest:
    """What a manifest says; it is the one of repository *fqrn* and names a certificate."""
    try:
        manifest = Manifest.parse(letter.text)
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


def check_manifest(letter: Letter, certificate: signature.Certificate, where: str) -> None:
    """Raise unless the manifest is signed by *certificate*."""
    key = signature.certificate_key(certificate)
    if not signature.manifest_signature_valid(letter.signed, letter.signature, key):
        raise TrustError(where, "its signature is not by the certificate that it names")


def read_whitelist(
    letter: Letter, fqrn: str, masters: Sequence[signature.PublicKey], where: str
) -> Whitelist:
    """What a whitelist says; it is the one of *fqrn*, signed by one of the master keys."""
    try:
        whitelist = Whitelist.parse(letter.text)
    except ValueError as error:
        raise TrustError(where, f"corrupt: {error}") from None
    if whitelist.fqrn != fqrn:
        raise TrustError(where, f"the whitelist of another repository: {whitelist.fqrn}")
    if not any(
        signature.whitelist_signature_valid(letter.signed, letter.signature, key) for key in masters
    ):
        raise TrustError(where, "wrong key: it is signed by no master key that is known here")
    return whitelist


def check_whitelist(whitelist: Whitelist, now: datetime, where: str) -> None:
    """Raise if the whitelist is no longer valid."""
    if whitelist.expired(now):
        raise TrustError(where, f"the whitelist expired on {whitelist.expires:%Y-%m-%d %H:00} UTC")


def check_certificate(certificate: signature.Certificate, whitelist: Whitelist, where: str) -> None:
    """Raise unless the whitelist lists the certificate."""
    der = signature.certificate_der(certificate)
    if not any(fingerprint(der, f.algorithm) == f for f in whitelist.fingerprints):
        raise TrustError(where, "wrong key: the whitelist does not list this certificate")


class Blacklist(NamedTuple):
    """Certificates and revisions that are not to be trusted any more.

    Source: CernVM-FS ``catalog_mgr_client.cc`` and ``signature.cc``: lines of a fingerprint, or of
    ``<fqrn N``, which refuses the revisions of a repository below N.
    """

    fingerprints: frozenset[str] = frozenset()
    oldest_revisions: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Blacklist:
        """Read a blacklist; lines that are neither are ignored, as the official client does."""
        fingerprints, revisions = set(), []
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if words[:1] and words[0].startswith("<") and len(words) == 2 and words[1].isdecimal():
                revisions.append((words[0][1:], int(words[1])))
            elif words:
                fingerprints.add(_plain(words[0]))
        return cls(frozenset(fingerprints), tuple(revisions))

    def check(
        self, certificate: signature.Certificate, whitelist: Whitelist, revision: int, where: str
    ) -> None:
        """Raise if the certificate or the revision is on the list."""
        der = signature.certificate_der(certificate)
        for listed in whitelist.fingerprints:
            found: ContentHash = fingerprint(der, listed.algorithm)
            if _plain(fingerprint_text(found)) in self.fingerprints:
                raise TrustError(where, "the certificate is blacklisted")
        for fqrn, oldest in self.oldest_revisions:
            if fqrn == whitelist.fqrn and revision < oldest:
                raise TrustError(
                    where, f"revision {revision} is blacklisted, as are all below {oldest}"
                )


def _plain(fingerprint_line: str) -> str:
    return fingerprint_line.replace(":", "").lower()

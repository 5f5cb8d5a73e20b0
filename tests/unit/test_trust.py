"""The chain of trust, link by link: each check takes what is right and nothing else."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from pyparrot.errors import PyparrotError
from pyparrot.publish.keys import SigningKeys
from pyparrot.publish.signed_files import sign_manifest, sign_whitelist
from pyparrot.sources.cvmfs import signature, trust_chain
from pyparrot.sources.cvmfs.blacklist import Blacklist
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.signed_text import SignedText
from pyparrot.sources.cvmfs.trust_chain import TrustError
from pyparrot.sources.cvmfs.whitelist import Whitelist, fingerprint, fingerprint_text

FQRN = "sw.example.org"
WHERE = "http://127.0.0.1/x"
NOBODY = Blacklist()
NOON = datetime(2030, 5, 6, 12, 34, 56, tzinfo=timezone.utc)


class People(NamedTuple):
    """A master key, what signs manifests, and the same of somebody else."""

    master: signature.PrivateKey
    signing: SigningKeys
    other_master: signature.PrivateKey
    other: SigningKeys


def signing_keys() -> SigningKeys:
    key = signature.new_private_key()
    return SigningKeys(key, signature.new_certificate(key, FQRN, NOON, 10))


@pytest.fixture(scope="module")
def people() -> People:
    return People(
        signature.new_private_key(), signing_keys(), signature.new_private_key(), signing_keys()
    )


def manifest(**changes: object) -> Manifest:
    something = Algorithm.SHA1.of(b"something")
    good = Manifest(FQRN, something, 100, 7, 240, 1_700_000_000, certificate=something)
    return good._replace(**changes)  # type: ignore[arg-type]


def whitelist(
    *certificates: signature.Certificate,
    expires: datetime = NOON,
    algorithm: Algorithm = Algorithm.SHA1,
) -> Whitelist:
    listed = (fingerprint(signature.certificate_der(each), algorithm) for each in certificates)
    return Whitelist(FQRN, NOON, expires, tuple(listed))


def believe(raw: bytes, certificate: signature.Certificate) -> None:
    """All checks of a manifest."""
    signed = trust_chain.read_signed(raw, WHERE)
    trust_chain.read_manifest(signed, FQRN, WHERE)
    trust_chain.check_manifest(signed, certificate, WHERE)


# Letters


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_good_signed_text(people: People, algorithm: Algorithm) -> None:
    raw = sign_manifest(manifest(), people.signing, algorithm)
    signed = trust_chain.read_signed(raw, WHERE)
    assert trust_chain.read_manifest(signed, FQRN, WHERE) == manifest()
    trust_chain.check_manifest(signed, people.signing.certificate, WHERE)


def test_no_bit_of_a_signed_text_may_change(people: People) -> None:
    raw = sign_manifest(manifest(), people.signing, Algorithm.SHA1)
    for place in range(len(raw)):
        damaged = raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :]
        with pytest.raises(TrustError) as caught:
            believe(damaged, people.signing.certificate)
        assert str(caught.value).startswith(WHERE)
        assert "\n" not in str(caught.value)


def test_no_letter_may_be_cut(people: People) -> None:
    raw = sign_manifest(manifest(), people.signing, Algorithm.SHA1)
    for end in range(len(raw)):
        with pytest.raises(TrustError):
            believe(raw[:end], people.signing.certificate)


@pytest.mark.parametrize("extra", [b"\0", b"x" * 100, b"x" * 5000])
def test_nothing_may_follow_a_signature(people: People, extra: bytes) -> None:
    raw = sign_manifest(manifest(), people.signing, Algorithm.SHA1) + extra
    signed = trust_chain.read_signed(raw, WHERE)
    with pytest.raises(TrustError, match="signature"):
        trust_chain.check_manifest(signed, people.signing.certificate, WHERE)


@pytest.mark.parametrize("raw", [b"", b"--\n", b"--", b"a\n--\n", b"\xff" * 99, b"x\n--\nhash\ns"])
def test_what_is_no_letter(raw: bytes) -> None:
    with pytest.raises(TrustError, match="corrupt"):
        trust_chain.read_signed(raw, WHERE)


# Manifests


def signed_text_of(text: bytes) -> SignedText:
    return SignedText(text, Algorithm.SHA1.of(text), b"signature")


def test_another_repository_s_manifest() -> None:
    signed = signed_text_of(manifest(fqrn="other.example.org").encode())
    with pytest.raises(TrustError, match=r"another repository: other\.example\.org"):
        trust_chain.read_manifest(signed, FQRN, WHERE)


@pytest.mark.parametrize(
    ("found", "replaced"),
    [
        (b"\nS7\n", b"\nS-7\n"),
        (b"\nS7\n", b"\nS" + b"9" * 30 + b"\n"),
        (b"\nS7\n", b"\n"),
        (b"\nRd41d", b"\nRd41e"),
        (b"C", b"C../../etc/passwd"),
        (b"\nX", b"\nX/"),
        (f"\nN{FQRN}\n".encode(), b"\n"),
        (f"\nN{FQRN}\n".encode(), b"\nN\xc3\xa9\n"),
    ],
)
def test_manifests_that_can_t_be(found: bytes, replaced: bytes) -> None:
    text = manifest().encode()
    assert found in text
    with pytest.raises(TrustError, match="corrupt"):
        trust_chain.read_manifest(signed_text_of(text.replace(found, replaced, 1)), FQRN, WHERE)


def test_a_manifest_without_a_certificate() -> None:
    with pytest.raises(TrustError, match="names no certificate"):
        trust_chain.read_manifest(signed_text_of(manifest(certificate=None).encode()), FQRN, WHERE)


def test_a_manifest_by_another_key(people: People) -> None:
    raw = sign_manifest(manifest(), people.other, Algorithm.SHA1)
    signed = trust_chain.read_signed(raw, WHERE)
    with pytest.raises(TrustError, match="signature"):
        trust_chain.check_manifest(signed, people.signing.certificate, WHERE)


def test_a_whitelist_s_signature_is_none_for_a_manifest(people: People) -> None:
    """With and without DigestInfo: the two kinds of signatures don't stand for each other."""
    text = manifest().encode()
    hashed = str(Algorithm.SHA1.of(text)).encode()
    plain = signature.sign_whitelist(hashed, people.signing.key)
    signed = SignedText(text, Algorithm.SHA1.of(text), plain)
    with pytest.raises(TrustError, match="signature"):
        trust_chain.check_manifest(signed, people.signing.certificate, WHERE)


# Whitelists


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_good_whitelist(people: People, algorithm: Algorithm) -> None:
    raw = sign_whitelist(FQRN, people.signing, people.master, 30, algorithm)
    signed = trust_chain.read_signed(raw, WHERE)
    masters = [people.other_master.public_key(), people.master.public_key()]
    read = trust_chain.read_whitelist(signed, FQRN, masters, WHERE)
    trust_chain.check_certificate(people.signing.certificate, read, NOBODY, WHERE)
    trust_chain.check_whitelist(read, datetime.now(timezone.utc), WHERE)


def test_a_whitelist_by_another_key(people: People) -> None:
    raw = sign_whitelist(FQRN, people.signing, people.other_master, 30, Algorithm.SHA1)
    signed = trust_chain.read_signed(raw, WHERE)
    for masters in ([], [people.master.public_key()]):
        with pytest.raises(TrustError, match="wrong key"):
            trust_chain.read_whitelist(signed, FQRN, masters, WHERE)


def test_another_repository_s_whitelist(people: People) -> None:
    raw = sign_whitelist("other.example.org", people.signing, people.master, 30, Algorithm.SHA1)
    with pytest.raises(TrustError, match="another repository"):
        trust_chain.read_whitelist(
            trust_chain.read_signed(raw, WHERE), FQRN, [people.master.public_key()], WHERE
        )


@pytest.mark.parametrize(
    ("now", "valid"),
    [
        # It expires at 12:34:56, and what counts is the hour: valid while now is before 12 o'clock.
        (NOON.replace(hour=11, minute=59, second=59), True),
        (NOON.replace(hour=11, minute=0, second=0), True),
        (NOON.replace(hour=12, minute=0, second=0), False),
        (NOON.replace(hour=12, minute=34, second=55), False),
        (NOON, False),
        (NOON.replace(hour=13), False),
        (NOON - timedelta(days=1), True),
        (NOON + timedelta(days=1) - timedelta(hours=12), False),
        (NOON - timedelta(days=400), True),
        # The same moments elsewhere on earth.
        (datetime(2030, 5, 6, 13, 59, 59, tzinfo=timezone(timedelta(hours=2))), True),
        (datetime(2030, 5, 6, 14, 0, 0, tzinfo=timezone(timedelta(hours=2))), False),
    ],
)
def test_the_hour_of_expiry(now: datetime, valid: bool) -> None:
    if valid:
        trust_chain.check_whitelist(whitelist(), now, WHERE)
    else:
        with pytest.raises(TrustError, match="expired on 2030-05-06 12:00 UTC"):
            trust_chain.check_whitelist(whitelist(), now, WHERE)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"20300506123456\n",
        b"20300506123456\nE20300506123456\n",
        b"20300506123456\nE20300599123456\nNsw.example.org\n",
        b"20300506123456\nNsw.example.org\nE20300506123456\n",
        b"20300506123456\nEnever\nNsw.example.org\n",
        b"\xff\nE20300506123456\nNsw.example.org\n",
        b"20300506123456\nE20300506123456\nNsw.example.org\n" + b"x" * (2 << 20),
    ],
)
def test_whitelists_that_can_t_be(text: bytes, people: People) -> None:
    with pytest.raises(TrustError, match="corrupt"):
        trust_chain.read_whitelist(signed_text_of(text), FQRN, [people.master.public_key()], WHERE)


def test_fingerprints_in_a_whitelist(people: People) -> None:
    der = people.signing.der
    sha1 = fingerprint_text(fingerprint(der, Algorithm.SHA1))
    for line in (
        sha1,
        sha1.lower(),
        sha1.replace(":", ""),
        f"{sha1} # of the release manager",
        f"{sha1}#comment",
        fingerprint_text(fingerprint(der, Algorithm.SHAKE128)),
        fingerprint_text(fingerprint(der, Algorithm.RMD160)).lower(),
    ):
        text = f"20300506123456\nE20300506123456\nN{FQRN}\n\n# comment\nVsomething\n{line}\n"
        read = Whitelist.parse(text.encode())
        assert len(read.fingerprints) == 1, line
        trust_chain.check_certificate(people.signing.certificate, read, NOBODY, WHERE)
        with pytest.raises(TrustError, match="does not list"):
            trust_chain.check_certificate(people.other.certificate, read, NOBODY, WHERE)


@pytest.mark.parametrize("damage", ["short", "long", "wrong algorithm", "empty"])
def test_fingerprints_that_are_none(damage: str, people: People) -> None:
    sha1 = fingerprint_text(fingerprint(people.signing.der, Algorithm.SHA1))
    line = {
        "short": sha1[:-3],
        "long": f"{sha1}:00",
        "wrong algorithm": f"{sha1}-SHAKE128",
        "empty": "",
    }[damage]
    text = f"20300506123456\nE20300506123456\nN{FQRN}\n{line}\n"
    with pytest.raises(TrustError, match="does not list"):
        trust_chain.check_certificate(
            people.signing.certificate, Whitelist.parse(text.encode()), NOBODY, WHERE
        )


# Certificates


def certificate_with(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOON)
        .not_valid_after(NOON + timedelta(days=1))
        .sign(key, algorithm)
        .public_bytes(serialization.Encoding.PEM)
    )


def pem(der: bytes) -> bytes:
    import base64

    lines = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"-----END CERTIFICATE-----\n"


RSA_KEYS = bytes.fromhex("06092a864886f70d010101")  # the identifier of keys for RSA, in DER


def test_certificates_that_are_none(people: People) -> None:
    der = people.signing.der
    assert der.count(RSA_KEYS) == 1
    for content in (
        b"",
        b"garbage",
        pem(b""),
        pem(der[:-1]),
        pem(der[: len(der) // 2]),
        people.signing.pem[:-30],
        signature.public_pem(people.signing.key.public_key()),
        certificate_with(ed25519.Ed25519PrivateKey.generate()),
        certificate_with(ec.generate_private_key(ec.SECP256R1())),
        # A kind of key that nobody has heard of, and a key that is none.
        pem(der.replace(RSA_KEYS, RSA_KEYS[:-1] + b"\x7f")),
        pem(der.replace(RSA_KEYS, bytes.fromhex("0609") + bytes(9))),
        pem(der.replace(bytes.fromhex("02820101"), bytes.fromhex("02820100"), 1)),
    ):
        with pytest.raises(PyparrotError, match="not a certificate") as caught:
            trust_chain.read_certificate(content, WHERE)
        assert str(caught.value).startswith(WHERE)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_damaged_certificate_is_refused_or_another_one(people: People) -> None:
    """A forger may send any bytes as certificate: nothing but a clear error may come of it."""
    raw = sign_manifest(manifest(), people.signing, Algorithm.SHA1)
    good = whitelist(people.signing.certificate)
    der = people.signing.der

    def believe_all(certificate_pem: bytes) -> None:
        certificate = trust_chain.read_certificate(certificate_pem, WHERE)
        believe(raw, certificate)
        trust_chain.check_certificate(certificate, good, NOBODY, WHERE)

    for place in range(len(der)):
        damaged = der[:place] + bytes([der[place] ^ 1 << place % 8]) + der[place + 1 :]
        with pytest.raises(TrustError):
            believe_all(pem(damaged))


def test_dates_in_a_certificate_say_nothing(people: People) -> None:
    """As in CernVM-FS: what counts is the whitelist."""
    key = people.signing.key
    for begin in (datetime(2001, 1, 1, tzinfo=timezone.utc), datetime(2040, 1, 1)):
        certificate = signature.new_certificate(key, FQRN, begin, 1)
        read = trust_chain.read_certificate(signature.certificate_pem(certificate), WHERE)
        trust_chain.check_certificate(read, whitelist(certificate), NOBODY, WHERE)


# Blacklists


def refused(text: str, people: People) -> bool:
    """Whether a blacklist has the certificate that the whitelist has, too."""
    certificate = people.signing.certificate
    said = ""
    try:
        trust_chain.check_certificate(
            certificate, whitelist(certificate), Blacklist.parse(text), FQRN
        )
    except TrustError as error:
        said = str(error)
    assert said in ("", f"{FQRN}: the certificate is blacklisted")
    return bool(said)


def test_fingerprints_on_a_blacklist(people: People) -> None:
    ours = fingerprint_text(fingerprint(people.signing.der, Algorithm.SHA1))
    others = fingerprint_text(fingerprint(people.other.der, Algorithm.SHA1))
    for line in (
        ours,
        ours.lower(),
        ours.replace(":", ""),
        f"  {ours}  ",
        f"{ours} # stolen",
        f"{ours}#stolen",
        f"{ours} stolen",
        f"# a comment\n\n{others}\n{ours}\r\n",
    ):
        assert refused(line, people), line
    for line in ("", "\n\n", f"# {ours}", others, ours[:-3], f"{others} {ours}", "garbage <>"):
        assert not refused(line, people), line


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_blacklist_may_use_any_algorithm(algorithm: Algorithm, people: People) -> None:
    """A certificate is the same, whichever of its fingerprints the list names."""
    assert refused(fingerprint_text(fingerprint(people.signing.der, algorithm)), people)
    assert not refused(fingerprint_text(fingerprint(people.other.der, algorithm)), people)


@pytest.mark.parametrize(
    ("line", "first_good"),
    [
        (f"<{FQRN} 7", 7),
        (f"<{FQRN} 0", 0),
        (f"<{FQRN}   12  # since then it is repaired", 12),
        (f"<{FQRN}\t12", 12),
        (f"<{FQRN} 3\n<{FQRN} 9\n<{FQRN} 5", 9),
        ("<other.example.org 100", 0),
        (f"<{FQRN}.de 100", 0),
        (f"# <{FQRN} 100", 0),
        (f"<{FQRN}", 0),
        (f"<{FQRN} many", 0),
        (f"<{FQRN} -1", 0),
    ],
)
def test_revisions_on_a_blacklist(line: str, first_good: int) -> None:
    assert Blacklist.parse(line).first_revision(FQRN) == first_good


def test_a_blacklist_of_garbage_is_read(people: People) -> None:
    Blacklist.parse("\0\n" + "x" * 100_000 + "\n<\n< 1\n<<<\n\ufffd" + zlib.compress(b"").hex())
    assert not refused("\0\n<\n< 1\n<<<\n\ufffd", people)

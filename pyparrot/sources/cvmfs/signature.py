"""Keys and signatures, on the `cryptography` library.

Source: CernVM-FS ``crypto/signature.cc``. Two kinds, both RSA with PKCS #1 v1.5 padding: a manifest
is signed with SHA-1 and DigestInfo by the certificate's key, a whitelist without DigestInfo by the
master key. Some OpenSSL configurations refuse SHA-1 signatures, so the DigestInfo is put before the
hash here, and what the library signs and recovers is plain data in both cases.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.x509.oid import NameOID

PrivateKey = rsa.RSAPrivateKey
PublicKey = rsa.RSAPublicKey
Certificate = x509.Certificate

KEY_BITS = 2048

_PKCS1 = padding.PKCS1v15()
_SHA1_INFO = bytes.fromhex("3021300906052b0e03021a05000414")


def new_private_key() -> PrivateKey:
    """A fresh RSA key as the official tools make it."""
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def load_private_key(pem: bytes) -> PrivateKey:
    """Read a private key; `ValueError` if it is no RSA key in PEM without password."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")
    return key


def load_public_key(pem: bytes) -> PublicKey:
    """Read a public key; `ValueError` if it is no RSA key in PEM."""
    try:
        key = serialization.load_pem_public_key(pem)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("not an RSA key")
    return key


def load_certificate(pem: bytes) -> Certificate:
    """Read a certificate in PEM; `ValueError` if it is none."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except (UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise ValueError(str(error)) from None


def private_pem(key: PrivateKey) -> bytes:
    """A private key as a file holds it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def public_pem(key: PublicKey) -> bytes:
    """A public key as a file holds it."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def certificate_pem(certificate: Certificate) -> bytes:
    """A certificate as a file holds it."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def certificate_der(certificate: Certificate) -> bytes:
    """The bytes that a fingerprint is made of."""
    return certificate.public_bytes(serialization.Encoding.DER)


def certificate_key(certificate: Certificate) -> PublicKey:
    """The key in a certificate; `ValueError` if it is no RSA key."""
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("not an RSA key")
    return key


def new_certificate(key: PrivateKey, fqrn: str, now: datetime, days: int) -> Certificate:
    """A self-signed certificate for a repository's signing key, valid for *days* from *now*."""
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"{fqrn} CernVM-FS Release Managers"[:64])]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )


def sign_manifest(signed: bytes, key: PrivateKey) -> bytes:
    """The signature of a manifest."""
    return key.sign(_with_digest_info(signed), _PKCS1, utils.NoDigestInfo())


def sign_whitelist(signed: bytes, key: PrivateKey) -> bytes:
    """The signature of a whitelist."""
    return key.sign(signed, _PKCS1, utils.NoDigestInfo())


def manifest_signature_valid(signed: bytes, signature: bytes, key: PublicKey) -> bool:
    """Whether *signature* is the certificate's signature of a manifest."""
    return _recover(signature, key) == _with_digest_info(signed)


def whitelist_signature_valid(signed: bytes, signature: bytes, key: PublicKey) -> bool:
    """Whether *signature* is the master key's signature of a whitelist."""
    return _recover(signature, key) == signed


def _with_digest_info(signed: bytes) -> bytes:
    """What PKCS #1 v1.5 pads in a SHA-1 signature (RFC 8017, section 9.2, note 1)."""
    return _SHA1_INFO + hashlib.sha1(signed, usedforsecurity=False).digest()


def _recover(signature: bytes, key: PublicKey) -> bytes | None:
    try:
        return key.recover_data_from_signature(signature, _PKCS1, utils.NoDigestInfo())
    except InvalidSignature:
        return None

"""The keys of a repository: files in ``keys/`` below the configuration directory.

``<fqrn>.masterkey`` signs the whitelist, ``<fqrn>.pub`` is its public half and goes to clients;
``<fqrn>.crt`` and ``<fqrn>.key`` sign manifests. The names are CernVM-FS's.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Callable, NamedTuple, TypeVar

from pyparrot.errors import PyparrotError
from pyparrot.repository.cvmfs import signature

from .settings import config_directory

_Key = TypeVar("_Key")

_PRIVATE = 0o600
_PUBLIC = 0o644


class SigningKeys(NamedTuple):
    """What signs manifests."""

    key: signature.PrivateKey
    certificate: signature.Certificate

    @property
    def der(self) -> bytes:
        """The certificate's bytes, for fingerprints."""
        return signature.certificate_der(self.certificate)

    @property
    def pem(self) -> bytes:
        """The certificate as clients get it."""
        return signature.certificate_pem(self.certificate)

    def expired(self, now: datetime) -> bool:
        """Whether the certificate is no longer valid at *now*."""
        return now >= self.certificate.not_valid_after_utc


def key_file(fqrn: str, extension: str) -> str:
    """Where the key of that kind (``masterkey``, ``pub``, ``crt``, ``key``) is kept."""
    return os.path.join(config_directory(), "keys", f"{fqrn}.{extension}")


def create(
    fqrn: str, certificate_days: int, master: signature.PrivateKey | None
) -> list[tuple[str, bytes, int]]:
    """New keys as (file, content, mode), not yet written; *master* is used if it is given."""
    master = master or signature.new_private_key()
    key = signature.new_private_key()
    certificate = signature.new_certificate(
        key, fqrn, datetime.now(timezone.utc).replace(microsecond=0), certificate_days
    )
    return [
        (key_file(fqrn, "masterkey"), signature.private_pem(master), _PRIVATE),
        (key_file(fqrn, "pub"), signature.public_pem(master.public_key()), _PUBLIC),
        (key_file(fqrn, "key"), signature.private_pem(key), _PRIVATE),
        (key_file(fqrn, "crt"), signature.certificate_pem(certificate), _PRIVATE),
    ]


def save(files: list[tuple[str, bytes, int]]) -> None:
    """Write key files; never over one that is there, and all of them or none."""
    for file, _, _ in files:
        if os.path.lexists(file):
            raise PyparrotError(file, "exists already", "move it away if it is not needed")
    written = []
    try:
        for file, content, mode in files:
            os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(file, flags, mode)
            written.append(file)
            with open(descriptor, "wb") as stream:
                stream.write(content)
    except BaseException:
        remove(written)
        raise


def remove(files: list[str]) -> None:
    """Take back what `save` wrote."""
    for file in files:
        os.unlink(file)


def load_signing_keys(fqrn: str) -> SigningKeys:
    """The certificate and its key; `PyparrotError` if they are missing, broken or not a pair."""
    key_path, certificate_path = key_file(fqrn, "key"), key_file(fqrn, "crt")
    key = _load(key_path, signature.load_private_key)
    certificate = _load(certificate_path, _rsa_certificate)
    if signature.certificate_key(certificate).public_numbers() != key.public_key().public_numbers():
        raise PyparrotError(key_path, f"wrong key: it is not the one of {certificate_path}")
    return SigningKeys(key, certificate)


def load_master_key(file: str) -> signature.PrivateKey:
    """A master key; `PyparrotError` if it is missing or broken."""
    return _load(file, signature.load_private_key)


def load_master_pair(fqrn: str) -> signature.PrivateKey:
    """A repository's master key; `PyparrotError` if its ``.pub`` is not the one of it."""
    path, public_path = key_file(fqrn, "masterkey"), key_file(fqrn, "pub")
    master, public = load_master_key(path), load_public_key(public_path)
    if master.public_key().public_numbers() != public.public_numbers():
        raise PyparrotError(path, f"wrong key: it is not the one of {public_path}")
    return master


def load_public_key(file: str) -> signature.PublicKey:
    """A master key's public half; `PyparrotError` if it is missing or broken."""
    return _load(file, signature.load_public_key)


def replace_certificate(fqrn: str, certificate_days: int) -> SigningKeys:
    """A new certificate for the same key, in the place of the old one, which is kept beside it."""
    key_path, path = key_file(fqrn, "key"), key_file(fqrn, "crt")
    key = _load(key_path, signature.load_private_key)
    now = datetime.now(timezone.utc).replace(microsecond=0)
    certificate = signature.new_certificate(key, fqrn, now, certificate_days)
    save([(path + ".new", signature.certificate_pem(certificate), _PRIVATE)])
    if os.path.exists(path):
        os.replace(path, f"{path}.until-{now:%Y%m%dT%H%M%SZ}")
    os.rename(path + ".new", path)
    return SigningKeys(key, certificate)


def _rsa_certificate(pem: bytes) -> signature.Certificate:
    certificate = signature.load_certificate(pem)
    signature.certificate_key(certificate)
    return certificate


def _load(file: str, parse: Callable[[bytes], _Key]) -> _Key:
    try:
        with open(file, "rb") as stream:
            return parse(stream.read())
    except FileNotFoundError:
        raise PyparrotError(
            file, "no such key", "the keys come from pyparrot publish init"
        ) from None
    except ValueError as error:
        raise PyparrotError(file, f"not a usable key: {str(error).splitlines()[0]}") from None

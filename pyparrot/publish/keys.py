"""The keys of a repository: files in ``keys/`` below the configuration directory.

``<fqrn>.masterkey`` signs the whitelist, ``<fqrn>.pub`` is its public half and goes to clients;
``<fqrn>.crt`` and ``<fqrn>.key`` sign manifests. The names are CernVM-FS's.
"""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timezone
from typing import Callable, NamedTuple, TypeVar

from pyparrot.errors import PyparrotError, naming
from pyparrot.publish.settings import config_directory
from pyparrot.sources.cvmfs import signature

_Key = TypeVar("_Key")

_PRIVATE = 0o600
_PUBLIC = 0o644


class KeyFile(NamedTuple):
    """A key as a file."""

    path: str
    content: bytes
    mode: int


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


def directory() -> str:
    """Where all keys are kept."""
    return os.path.join(config_directory(), "keys")


def key_file(fqrn: str, extension: str) -> str:
    """Where the key of that kind (``masterkey``, ``pub``, ``crt``, ``key``) is kept."""
    return os.path.join(directory(), f"{fqrn}.{extension}")


def create(fqrn: str, certificate_days: int, master: signature.PrivateKey | None) -> list[KeyFile]:
    """New keys, not yet written; *master* is used if it is given."""
    master = master or signature.new_private_key()
    key = signature.new_private_key()
    certificate = signature.new_certificate(
        key, fqrn, datetime.now(timezone.utc).replace(microsecond=0), certificate_days
    )
    return [
        KeyFile(key_file(fqrn, "masterkey"), signature.private_pem(master), _PRIVATE),
        KeyFile(key_file(fqrn, "pub"), signature.public_pem(master.public_key()), _PUBLIC),
        KeyFile(key_file(fqrn, "key"), signature.private_pem(key), _PRIVATE),
        KeyFile(key_file(fqrn, "crt"), signature.certificate_pem(certificate), _PRIVATE),
    ]


def check_absent(files: list[KeyFile]) -> None:
    """Raise if one of *files* is there."""
    for file, _, _ in files:
        if os.path.lexists(file):
            raise PyparrotError(file, "exists already", "move it away if it is not needed")


def save(files: list[KeyFile]) -> None:
    """Write key files; never over one that is there, and all of them or none."""
    check_absent(files)
    written = []
    try:
        for new in files:
            os.makedirs(os.path.dirname(new.path), mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(new.path, flags, new.mode)
            written.append(new)
            with naming(new.path), open(descriptor, "wb") as stream:
                stream.write(new.content)
                stream.flush()
                os.fsync(descriptor)
    except BaseException:
        remove(written)
        raise


def remove(files: list[KeyFile]) -> None:
    """Remove those of *files* that are there."""
    for file, _, _ in files:
        with contextlib.suppress(FileNotFoundError):
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


def renewed(signing: SigningKeys, fqrn: str, certificate_days: int) -> SigningKeys:
    """The same key with a new certificate, not yet written."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    certificate = signature.new_certificate(signing.key, fqrn, now, certificate_days)
    return SigningKeys(signing.key, certificate)


def replace_certificate(fqrn: str, signing: SigningKeys) -> None:
    """Put the certificate of *signing* in the place of the old one, which is kept beside it."""
    path = key_file(fqrn, "crt")
    now = datetime.now(timezone.utc)
    with open(path, "rb") as old:
        save([KeyFile(f"{path}.until-{now:%Y%m%dT%H%M%S.%fZ}", old.read(), _PRIVATE)])
    new = KeyFile(path + ".new", signing.pem, _PRIVATE)
    remove([new])  # of a process that was killed
    save([new])
    os.replace(new.path, path)


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

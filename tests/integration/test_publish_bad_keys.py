"""Keys, certificates and whitelists that are missing, wrong or too old."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Callable, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from support.publishing import (
    FQRN,
    OTHER,
    Site,
)

from pyparrot.publish import keys, signed_files
from pyparrot.publish.repository import StoredRepository
from pyparrot.sources.cvmfs import signature
from pyparrot.sources.cvmfs.hashes import Algorithm, Kind

# What Python prints of errors in finalizers would be more than one line.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="session")
def other_keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The key files of another repository."""
    base = tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(base))
        files = keys.create(FQRN, 3650, None)
    return {Path(file).suffix[1:]: content for file, content, _ in files}


def _encrypted(pem: bytes) -> bytes:
    return signature.load_private_key(pem).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def _elliptic_certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    valid = signature.new_certificate(signature.new_private_key(), FQRN, signed_files._now(), 10)
    builder = x509.CertificateBuilder(
        valid.issuer,
        valid.subject,
        key.public_key(),
        valid.serial_number,
        valid.not_valid_before_utc,
        valid.not_valid_after_utc,
    )
    return signature.certificate_pem(builder.sign(key, hashes.SHA256()))


def _other_kind_of_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


GARBAGE = b"-----BEGIN RSA PRIVATE KEY-----\nnot base64 \xff\n-----END RSA PRIVATE KEY-----\n"
# A key of an elliptic curve that no library knows: a failure of its own kind in `cryptography`.
UNKNOWN_CURVE = (
    b"-----BEGIN PRIVATE KEY-----\n"
    b"MB4CAQAwEwYHKoZIzj0CAQYIKoZIzj0DAX8EBDACAQE=\n-----END PRIVATE KEY-----\n"
)

Keys = dict[str, bytes]


class BadKey(NamedTuple):
    """What stands in the place of a key file, and what is said of it."""

    name: str
    extension: str
    content: Callable[[bytes, Keys], bytes | None]
    why: str


BAD_KEYS = [
    BadKey("key of another", "key", lambda own, other: other["key"], "wrong key: it is not the"),
    BadKey("certificate of another", "crt", lambda own, other: other["crt"], "wrong key"),
    BadKey("public key of another", "pub", lambda own, other: other["pub"], "wrong key"),
    BadKey("no key", "key", lambda own, other: None, r"sw.example.org.key: no such key \(the keys"),
    BadKey("no certificate", "crt", lambda own, other: None, "sw.example.org.crt: no such key"),
    BadKey("no public key", "pub", lambda own, other: None, "sw.example.org.pub: no such key"),
    *(
        BadKey(f"{name} {extension}", extension, lambda own, other, content=content: content, why)  # type: ignore[misc]
        for name, content, why in [
            ("empty", b"", "not a usable key"),
            ("garbage", GARBAGE, "not a usable key"),
            ("random", os.urandom(1000), "not a usable key"),
            ("ed25519", _other_kind_of_key(), "not a usable key"),
            ("unknown curve", UNKNOWN_CURVE, "not a usable key"),
        ]
        for extension in ("key", "crt", "pub")
    ),
    BadKey("truncated", "key", lambda own, other: own[: len(own) // 2], "not a usable key"),
    BadKey("password", "key", lambda own, other: _encrypted(own), "not a usable key.*ncrypted"),
    BadKey("elliptic", "crt", lambda own, other: _elliptic_certificate(), "not a usable key"),
    BadKey("key as certificate", "crt", lambda own, other: other["key"], "not a usable key"),
]


@pytest.mark.parametrize("bad", BAD_KEYS, ids=[bad.name for bad in BAD_KEYS])
def test_bad_keys(site: Site, other_keys: Keys, bad: BadKey) -> None:
    file = site.key(bad.extension)
    with site.unharmed():
        site.overwrite(file, bad.content(file.read_bytes(), other_keys))
        site.bad("sync", FQRN, site.source, why=bad.why)
        site.bad("tag", "add", FQRN, "x", why=bad.why)
        site.restore()


def test_both_keys_of_another(site: Site, other_keys: Keys) -> None:
    with site.unharmed():
        site.overwrite(site.key("key"), other_keys["key"])
        site.overwrite(site.key("crt"), other_keys["crt"])
        why = r"wrong key: the whitelist does not list \S+ certificate \(pyparrot publish resign"
        site.bad("sync", FQRN, site.source, why=why)
        site.bad("gc", FQRN, why=why)
        site.bad("rollback", FQRN, why=why)
        site.restore()


def test_resign_makes_other_keys_good(site: Site, other_keys: Keys) -> None:
    site.key("key").write_bytes(other_keys["key"])
    site.key("crt").write_bytes(other_keys["crt"])
    site.good("resign", FQRN)
    # Clients check the manifest against the certificate that it names: that one must be listed.
    repository = StoredRepository.open(FQRN)
    master = keys.load_public_key(keys.key_file(FQRN, "pub"))
    listed = signed_files.read_whitelist(repository.storage, FQRN, master).fingerprints
    named = repository.manifest.certificate
    assert named is not None
    pem = repository.storage.read(named, Kind.CERTIFICATE)
    der = signature.certificate_der(signature.load_certificate(pem))
    assert Algorithm.SHA1.of(der) in listed
    site.publish_something()


def test_check_knows_what_clients_will_believe(site: Site, other_keys: Keys) -> None:
    """A whitelist that lists the certificate in ``keys/``, but not the manifest's."""
    site.overwrite(site.key("key"), other_keys["key"])
    site.overwrite(site.key("crt"), other_keys["crt"])
    whitelist = signed_files.sign_whitelist(
        FQRN,
        keys.load_signing_keys(FQRN),
        keys.load_master_key(keys.key_file(FQRN, "masterkey")),
        30,
        Algorithm.SHA1,
    )
    site.overwrite(site.root / ".cvmfswhitelist", whitelist)
    result = site.call("check", FQRN)
    assert result.status == 1, result
    assert "whitelist" in result.out


@pytest.mark.parametrize("new", [[], ["--new-certificate"]], ids=["whitelist", "certificate"])
def test_resign_with_another_master_key(site: Site, other_keys: Keys, new: list[str]) -> None:
    """Clients have the old one's public half: they would believe nothing any more."""
    whitelist = (site.root / ".cvmfswhitelist").read_bytes()
    certificate = site.key("crt").read_bytes()
    with site.unharmed():
        site.overwrite(site.key("masterkey"), other_keys["masterkey"])
        site.bad("resign", FQRN, *new, why="wrong key")
        assert (site.root / ".cvmfswhitelist").read_bytes() == whitelist
        assert site.key("crt").read_bytes() == certificate
        site.restore()


def test_resign_without_master_key(site: Site) -> None:
    """It may be kept off the server: all but signing the whitelist works."""
    kept = site.key("masterkey").read_bytes()
    site.key("masterkey").unlink()
    site.publish_something()
    with site.unharmed():
        site.bad("resign", FQRN, why=r"sw.example.org.masterkey: no such key")
    site.key("masterkey").write_bytes(kept)
    site.good("resign", FQRN)


def _whitelist(
    site: Site, fqrn: str = FQRN, days: int = 30, extension: str = "crt", master: Keys | None = None
) -> bytes:
    pem = master["masterkey"] if master else site.key("masterkey").read_bytes()
    signing = keys.load_signing_keys(FQRN)
    key = signature.load_private_key(pem)
    return signed_files.sign_whitelist(fqrn, signing, key, days, Algorithm.SHA1)


BAD_WHITELISTS: dict[str, tuple[Callable[[Site, Keys], bytes | None], str]] = {
    "expired": (
        lambda site, other: _whitelist(site, days=-1),
        r"the whitelist expired on 20\d\d-\d\d-\d\d \d\d:\d\d UTC \(pyparrot publish resign",
    ),
    "wrong master": (
        lambda site, other: _whitelist(site, master=other),
        "whitelist: wrong key",
    ),
    "another's": (
        lambda site, other: _whitelist(site, OTHER),
        f"the whitelist of another repository: {OTHER}",
    ),
    "missing": (lambda site, other: None, "whitelist: the repository lacks this file"),
    "empty": (lambda site, other: b"", "whitelist: corrupt"),
    "cut off": (lambda site, other: _whitelist(site)[:-100], "wrong key"),
    "only text": (lambda site, other: _whitelist(site)[:100], "whitelist: corrupt"),
    "altered": (
        lambda site, other: _whitelist(site).replace(b"\nE2", b"\nE3"),
        "corrupt: its text does not have the hash",
    ),
    "garbage": (lambda site, other: os.urandom(500), "whitelist: corrupt"),
    "manifest": (lambda site, other: site.manifest, "whitelist: corrupt"),
}


@pytest.mark.parametrize("name", BAD_WHITELISTS)
def test_bad_whitelists(site: Site, other_keys: Keys, name: str) -> None:
    make, why = BAD_WHITELISTS[name]
    with site.unharmed():
        site.overwrite(site.root / ".cvmfswhitelist", make(site, other_keys))
        site.bad("sync", FQRN, site.source, why=why)
        result = site.call("check", FQRN)
        assert result.status == 1
        assert re.search(why, result.out)
        # A new signature is the way out of each.
        site.good("resign", FQRN)
        site.check()


def test_expired_certificate(vacant: Site) -> None:
    init = ("init", FQRN, "--storage", vacant.storage)
    vacant.good(*init, "--certificate-days", "0")
    before = vacant.manifest
    why = r"the certificate expired on \S+ \S+ UTC \(pyparrot .* resign \S+ --new-certificate\)"
    vacant.bad("sync", FQRN, vacant.source, why=why)
    assert vacant.manifest == before
    assert vacant.call("check", FQRN).status == 1
    vacant.good("resign", FQRN)
    vacant.bad("sync", FQRN, vacant.source, why=why)
    old = vacant.key("crt").read_bytes()
    vacant.good("resign", FQRN, "--new-certificate")
    vacant.check()
    vacant.publish_something()
    assert vacant.key("crt").read_bytes() != old
    kept = list(vacant.key("crt").parent.glob("*.crt.until-*"))
    assert [file.read_bytes() for file in kept] == [old]
    # Another one within the same second must not lose anything.
    second = vacant.key("crt").read_bytes()
    vacant.good("resign", FQRN, "--new-certificate")
    kept = list(vacant.key("crt").parent.glob("*.crt.until-*"))
    assert {file.read_bytes() for file in kept} == {old, second}
    vacant.check()
    vacant.good("info", FQRN)


def test_expired_whitelist(vacant: Site) -> None:
    vacant.good("init", FQRN, "--storage", vacant.storage, "--whitelist-days", "0")
    vacant.bad("sync", FQRN, vacant.source, why=r"the whitelist expired .* \(pyparrot .* resign")
    vacant.good("resign", FQRN, "--days", "1")
    vacant.publish_something()

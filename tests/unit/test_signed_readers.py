"""The readers of signed files, and of what the cache knows of them, take any bytes.

They refuse with the exceptions that they promise, and with one line; nothing else may come out.
"""

from __future__ import annotations

import base64
import functools
import os
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyparrot.cache.store import ObjectStore
from pyparrot.cli._output import time_text
from pyparrot.errors import PyparrotError
from pyparrot.publish.keys import SigningKeys
from pyparrot.publish.signed_files import sign_manifest, sign_whitelist
from pyparrot.sources.cvmfs import signature, trust_cache, trust_chain
from pyparrot.sources.cvmfs.blacklist import Blacklist
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.manifest import Manifest

FQRN = "sw.example.org"
NOW = datetime(2030, 5, 6, 12, 34, 56, tzinfo=timezone.utc)
SOMETHING = Algorithm.SHA1.of(b"something")
GOOD = Manifest(FQRN, SOMETHING, 100, 7, 240, 1_700_000_000, certificate=SOMETHING)
ORIGIN = trust_cache.Origin("a" * 64, "b" * 64)

_relaxed = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@functools.lru_cache
def people() -> tuple[signature.PrivateKey, SigningKeys]:
    key = signature.new_private_key()
    return (
        signature.new_private_key(),
        SigningKeys(key, signature.new_certificate(key, FQRN, NOW, 10)),
    )


@functools.lru_cache
def good_files() -> tuple[bytes, bytes, bytes]:
    """A manifest, a whitelist and a certificate (DER)."""
    master, signing = people()
    der = signature.certificate_der(signing.certificate)
    return (
        sign_manifest(GOOD, signing, Algorithm.SHA1),
        sign_whitelist(FQRN, signing, master, 10, Algorithm.SHA1),
        der,
    )


@st.composite
def changed(draw: st.DrawFn, which: int) -> bytes:
    """A good file in which some pieces are others; or anything."""
    content = bytearray(good_files()[which])
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 20)))
        piece = draw(st.binary(max_size=8) | st.text(max_size=4).map(_encoded))
        content[start:end] = piece
    return bytes(content) if draw(st.integers(0, 9)) else draw(st.binary(max_size=300))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def assert_one_line(error: PyparrotError) -> None:
    assert "\n" not in str(error)
    assert str(error).isprintable()


@given(changed(0))
@settings(parent=_relaxed)
def test_manifests(raw: bytes) -> None:
    _, signing = people()
    try:
        signed = trust_chain.read_signed(raw, "where")
        trust_chain.read_manifest(signed, FQRN, "where")
        trust_chain.check_manifest(signed, signing.certificate, "where")
    except PyparrotError as error:
        assert_one_line(error)


@given(changed(1))
@settings(parent=_relaxed)
def test_whitelists(raw: bytes) -> None:
    master, signing = people()
    try:
        signed = trust_chain.read_signed(raw, "where")
        read = trust_chain.read_whitelist(signed, FQRN, [master.public_key()], "where")
        trust_chain.check_whitelist(read, NOW, "where")
        trust_chain.check_certificate(signing.certificate, read, Blacklist(), "where")
    except PyparrotError as error:
        assert_one_line(error)


@given(st.integers(0, 10**19 - 1))
@settings(parent=_relaxed)
def test_times_that_a_manifest_can_say(seconds: int) -> None:
    text = GOOD._replace(published=seconds).encode()
    assert time_text(Manifest.parse(text).published).isprintable()


@given(changed(2))
@settings(parent=_relaxed)
def test_certificates(der: bytes) -> None:
    raw, _, _ = good_files()
    body = base64.encodebytes(der)
    pem = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
    try:
        certificate = trust_chain.read_certificate(pem, "where")
        trust_chain.check_manifest(trust_chain.read_signed(raw, "where"), certificate, "where")
    except PyparrotError as error:
        assert_one_line(error)


@given(st.text(max_size=200) | st.from_regex(r"<[^ ]* [0-9٣]{1,3}(#.*)?", fullmatch=True))
@settings(parent=_relaxed)
def test_blacklists(text: str) -> None:
    parsed = Blacklist.parse(text)
    assert parsed.first_revision(FQRN) >= 0
    parsed.lists(b"certificate")


def test_a_blacklist_with_a_huge_number() -> None:
    assert Blacklist.parse(f"<{FQRN} {'9' * 10_000}").first_revision(FQRN) == 0


@pytest.mark.parametrize("name", ["manifests", "origins"])
def test_what_others_can_write_to_is_not_known(name: str, tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path / "cache"))
    trust_cache.write(store, FQRN, good_files()[0], ORIGIN)
    file = Path(store.file(name, FQRN))
    file.chmod(0o666)
    known = trust_cache.read(store, FQRN)
    assert known is None if name == "manifests" else known is not None and known.origin is None
    assert not file.exists()


@given(changed(0), st.binary(max_size=200) | st.text(max_size=100).map(_encoded))
@settings(parent=_relaxed)
def test_what_the_cache_knows(raw: bytes, origin: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = ObjectStore(os.path.join(directory, "cache"))
        trust_cache.write(store, FQRN, good_files()[0], ORIGIN)
        known = trust_cache.read(store, FQRN)
        assert known is not None
        assert known.origin == ORIGIN
        Path(store.file("origins", FQRN)).write_bytes(origin)
        known = trust_cache.read(store, FQRN)
        assert known is not None
        assert known.origin is None
        Path(store.file("manifests", FQRN)).write_bytes(raw)
        known = trust_cache.read(store, FQRN)
        assert known is None or known.manifest.fqrn == FQRN
        trust_cache.write(store, FQRN, good_files()[0], ORIGIN)
        known = trust_cache.read(store, FQRN)
        assert known is not None
        assert known.manifest == GOOD

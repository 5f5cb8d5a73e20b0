"""Names of objects: what kind each is, and the two that must not be confused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyparrot.libc.copies
import pyparrot.sources.directory  # noqa: F401 (both register kinds)
from pyparrot.cache.names import CHECKSUM, Kind, ObjectName, checksum, register
from pyparrot.sources.cvmfs import hashes
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash
from pyparrot.sources.cvmfs.object_names import (
    INDEX_FORMAT,
    chunked_name,
    index_name,
    stored_name,
)
from pyparrot.tree.index import ROOT_HASH

HASH = "0123456789abcdef0123456789abcdef01234567"
KINDS = {
    HASH: "files",
    f"{HASH}-rmd160": "files",
    f"{HASH}-shake128": "files",
    f"{HASH}W": "chunked files",
    f"{HASH}C": "catalogs",
    f"{HASH}-rmd160C": "catalogs",
    f"{HASH}H": "tag databases",
    f"{HASH}X": "certificates",
    f"{HASH}M": "descriptions",
    f"{HASH}C.0123456789abcdef.1": "indexes",
    f"{HASH}-shake128C.0123456789abcdef.12": "indexes",
    f"{HASH}L.01234567": "copies of local files",
    f"{HASH}S.1d2c38.89abcdef1234.01234567": "copies of C libraries",
    "0123456789abcdefS.1d2c38.89abcdef1234.01234567": "copies of C libraries",
}


@pytest.mark.parametrize(("name", "plural"), KINDS.items())
def test_kinds(name: str, plural: str) -> None:
    kind, parts = ObjectName(name).kind, ObjectName(name).parts
    assert kind is not None
    assert parts is not None
    assert kind.plural == plural
    assert kind.name(parts.hash, *parts.fields) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "strange",
        "aabb",
        HASH[1:],
        HASH.upper(),
        f"{HASH}P",  # chunks are never kept
        f"{HASH}Z",
        f"{HASH}CC",
        f"{HASH}C.1.1",
        f"{HASH}C.0123456789abcdef",
        f"{HASH}C.0123456789abcdef.x",
        f"{HASH}C.0123456789abcdef.1.",
        f"{HASH}\n",
        f"{HASH}/../x",
        # What was written before names had checksums.
        f"{HASH}L",
        f"{HASH}P.1d2c38.89abcdef1234",
    ],
)
def test_what_is_of_no_kind(name: str) -> None:
    assert ObjectName(name).kind is None


@given(st.text())
def test_any_text_may_be_looked_at(text: str) -> None:
    name = ObjectName(text)
    assert name == text
    if name.kind is not None:
        assert name.parts is not None
        assert name.kind.name(name.parts.hash, *name.parts.fields) == text


def test_a_name_is_a_text() -> None:
    assert json.dumps([ObjectName("aa")]) == '["aa"]'
    assert "aa" in {ObjectName("aa"), ObjectName("bb")}


@pytest.mark.parametrize("algorithm", Algorithm)
def test_names_of_what_servers_have(algorithm: Algorithm) -> None:
    content = ContentHash(bytes(range(20)), algorithm)
    for kind in hashes.Kind:
        if kind is not hashes.Kind.CHUNK:
            assert stored_name(content, kind) == f"{content}{kind.value}"
    with pytest.raises(KeyError):
        stored_name(content, hashes.Kind.CHUNK)


def test_names_stay_as_they_are() -> None:
    """A cache that exists is used on."""
    content = ContentHash(bytes(20), Algorithm.SHA1)
    assert index_name(content, ROOT_HASH) == f"{'0' * 40}C.{ROOT_HASH:016x}.{INDEX_FORMAT}"
    chunks = [(0, 5, bytes(20)), (5, 7, b"x" * 20)]
    name = chunked_name(chunks, Algorithm.RMD160, Compression.NONE)
    assert name == "a29ba02d69e64113aba14d33ed586f63cefc02d3W"


def test_what_a_name_begins_with() -> None:
    kind = Kind("things", "T", ("[0-9]+", CHECKSUM))
    assert kind.has_checksum
    assert kind.name(HASH, 5, checksum(0xAB)) == f"{HASH}T.5.000000ab"
    assert kind.name(HASH, 5, checksum(0xAB)).startswith(kind.beginning(HASH, 5))
    assert not kind.name(HASH, 55, checksum(0xAB)).startswith(kind.beginning(HASH, 5))
    assert not Kind("things", "T", ("[0-9]+",)).has_checksum


def test_two_kinds_have_different_names() -> None:
    known = ObjectName(HASH).kind
    assert known is not None
    assert register(known) is known
    with pytest.raises(ValueError, match="files have the same names as other files"):
        register(Kind("other files"))

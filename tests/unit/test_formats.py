"""The files of a repository: written and read again, real ones read, and garbage refused.

What is read may come from anybody: a parser raises nothing but `ValueError` (databases:
`sqlite3.Error` too), whatever the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import zlib
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from pyparrot.errors import PyparrotError
from pyparrot.sources.cvmfs import history, reflog, signature, xattrs
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.compression import Compression, inflate
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash, Kind
from pyparrot.sources.cvmfs.history import Tag
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.reflog import Reference, ReferenceType
from pyparrot.sources.cvmfs.signed_text import SEPARATOR, SignedText
from pyparrot.sources.cvmfs.whitelist import Whitelist, fingerprint, fingerprint_text

FQRN = "sw.example.org"
REPOSITORIES = ("test.cern.ch", "feat.cern.ch", "ext.cern.ch")

_relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

_HASHES = st.builds(
    ContentHash, st.binary(min_size=20, max_size=20), st.sampled_from(list(Algorithm))
)
_NUMBERS = st.integers(0, 10**18)
_MANIFESTS = st.builds(
    Manifest,
    fqrn=st.from_regex(r"[a-z0-9.-]{1,60}", fullmatch=True),
    catalog=_HASHES,
    catalog_size=_NUMBERS,
    revision=_NUMBERS,
    ttl=_NUMBERS,
    published=_NUMBERS,
    certificate=st.none() | _HASHES,
    history=st.none() | _HASHES,
    metainfo=st.none() | _HASHES,
    reflog=st.none() | _HASHES,
    garbage_collectable=st.booleans(),
    alternative_path=st.booleans(),
)
_TIMES = st.datetimes(
    datetime(1000, 1, 1), datetime(9999, 12, 31), timezones=st.just(timezone.utc)
).map(lambda time: time.replace(microsecond=0))
_WHITELISTS = st.builds(
    Whitelist,
    fqrn=st.from_regex(r"[a-z0-9.-]{1,60}", fullmatch=True),
    issued=_TIMES,
    expires=_TIMES,
    fingerprints=st.lists(_HASHES, max_size=4).map(tuple),
)
_LETTERS = st.builds(
    lambda lines, text_hash, sign: SignedText(
        b"".join(line + b"\n" for line in lines), text_hash, sign
    ),
    st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line and line != b"--")),
    _HASHES,
    st.binary(min_size=1, max_size=300),
)

A_HASH = Algorithm.SHA1.of(b"a")
A_MANIFEST = Manifest(FQRN, A_HASH, 1, 2, 3, 4, A_HASH, A_HASH, A_HASH, A_HASH)
A_WHITELIST = Whitelist(
    FQRN,
    datetime(2020, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    datetime(2020, 2, 1, 3, 4, 5, tzinfo=timezone.utc),
    (A_HASH, Algorithm.SHAKE128.of(b"a")),
)


# Garbage


class Parser(NamedTuple):
    """One that garbage is given to, something good, and what holds for all that it accepts."""

    parse: Callable[[bytes], Any]
    good: bytes
    holds: Callable[[bytes, Any], bool]


def _never(_raw: bytes, _value: object) -> bool:
    """For what nothing but the real thing may be accepted; *good* is only its beginning."""
    return False


def _survives(parse: Callable[[bytes], Any]) -> Callable[[bytes, Any], bool]:
    """What was accepted is written so that it is read again."""
    return lambda _raw, value: bool(parse(value.encode()) == value)


def _accounts_for_all(raw: bytes, value: dict[bytes, bytes]) -> bool:
    parts = [part for item in value.items() for part in item]
    size = 2 + sum(1 + len(part) for part in parts)
    # The last of several attributes of one name counts.
    return all(part in raw for part in parts) and (size == len(raw) or len(value) < raw[1])


PARSERS: dict[str, Parser] = {
    "letter": Parser(
        SignedText.parse,
        SignedText(b"text\n", A_HASH, b"signature").encode(),
        lambda raw, value: value.encode() == raw,
    ),
    "manifest": Parser(Manifest.parse, A_MANIFEST.encode(), _survives(Manifest.parse)),
    "whitelist": Parser(Whitelist.parse, A_WHITELIST.encode(), _survives(Whitelist.parse)),
    "xattrs": Parser(
        xattrs.unpack, xattrs.pack({b"user.a": b"1", b"user.b": b""}) or b"", _accounts_for_all
    ),
    "zlib": Parser(
        lambda raw: inflate(raw, 1000),
        zlib.compress(b"hello" * 20),
        lambda raw, value: value == zlib.decompress(raw),
    ),
    "hash": Parser(
        lambda raw: ContentHash.parse(raw.decode("latin-1")),
        str(A_HASH).encode(),
        lambda raw, value: str(value).encode() == raw,
    ),
    "certificate": Parser(signature.load_certificate, b"-----BEGIN CERTIFICATE-----\n", _never),
    "private key": Parser(signature.load_private_key, b"-----BEGIN PRIVATE KEY-----\n", _never),
    "public key": Parser(signature.load_public_key, b"-----BEGIN PUBLIC KEY-----\n", _never),
}


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
@settings(parent=_relaxed, max_examples=150)
def test_parsers_refuse_with_value_errors_or_make_sense_of_it(
    name: str, data: st.DataObject
) -> None:
    parse, good, holds = PARSERS[name]
    kind = data.draw(st.sampled_from(["random", "damaged", "cut"]))
    raw = bytearray(good)
    if kind == "random":
        raw = bytearray(data.draw(st.binary(max_size=400)))
    elif kind == "cut":
        raw = raw[: data.draw(st.integers(0, len(good)))]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            raw[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        value = parse(bytes(raw))
    except ValueError:
        # The good one, which may come out of it by chance, is accepted.
        assert bytes(raw) != good or holds is _never
    else:
        assert holds(bytes(raw), value)


@pytest.mark.parametrize("text", ["²", "٣", "९९"])
@pytest.mark.parametrize("letter", "BDST")
def test_manifest_numbers_are_ascii(letter: str, text: str) -> None:
    lines = A_MANIFEST.encode().decode().splitlines()
    changed = [letter + text if line[0] == letter else line for line in lines]
    with pytest.raises(ValueError, match=r"ascii|not a number"):
        Manifest.parse("\n".join(changed).encode())


def database(make: Callable[[str], None], file: Path) -> bytes:
    make(str(file))
    content = file.read_bytes()
    file.unlink()
    return content


TAGS = [
    Tag("v1", A_HASH, 1, 10, "first", 100),
    Tag("v2", A_HASH, 2, 20, "ä\n", 0),
]
REFERENCES = [
    Reference(Algorithm.SHA1.of(b"%d" % number), kind, number)
    for number, kind in enumerate(ReferenceType)
]


def _make_catalog(file: str) -> None:
    catalog = Catalog.create(file)
    catalog.set_property("revision", 7)
    catalog.close()


def _read_catalog(file: str) -> None:
    catalog = Catalog.open(file)
    try:
        catalog.lookup(b"")
        list(catalog.listdir(b""))
        catalog.chunks(b"")
        catalog.nested_catalogs()
        list(catalog.objects())
        _ = (catalog.revision, catalog.previous_revision, catalog.last_modified, catalog.mountpoint)
        catalog.counters("self")
        catalog.count()
    finally:
        catalog.close()


SQLITE_HEADER = 100

DATABASES: dict[str, tuple[Callable[[str], None], Callable[[str], Any]]] = {
    "history": (lambda file: history.write(file, FQRN, TAGS, A_HASH), history.read),
    "reflog": (lambda file: reflog.write(file, FQRN, REFERENCES), reflog.read),
    "catalog": (_make_catalog, _read_catalog),
}


@pytest.mark.parametrize("name", DATABASES)
@given(data=st.data())
@settings(parent=_relaxed, max_examples=60)
def test_damaged_databases_raise_nothing_unexpected(
    name: str, tmp_path: Path, data: st.DataObject
) -> None:
    make, read = DATABASES[name]
    file = tmp_path / "database"
    raw = bytearray(database(make, file))
    for _ in range(data.draw(st.integers(1, 20))):
        position = data.draw(st.integers(0, len(raw) - 1))
        raw[position] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(0, len(raw)))
    file.write_bytes(raw[:size])
    try:
        read(str(file))
    except (ValueError, sqlite3.Error):
        pass
    else:
        assert size >= SQLITE_HEADER
        assert raw.startswith(b"SQLite format 3\0")
    file.unlink()


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize("keep", [0, 1, 16, 99, 100, 1024])
def test_the_beginning_of_a_database_is_refused(name: str, keep: int, tmp_path: Path) -> None:
    make, read = DATABASES[name]
    file = tmp_path / "database"
    raw = database(make, file)
    assert len(raw) > keep
    file.write_bytes(raw[:keep])
    with pytest.raises((ValueError, sqlite3.Error)):
        read(str(file))
    file.write_bytes(raw)
    read(str(file))


BAD_ROWS: dict[str, list[tuple[str, Any]]] = {
    "history": [
        ("UPDATE tags SET hash = 'none'", ValueError),
        ("UPDATE tags SET hash = NULL", ValueError),
        ("UPDATE tags SET hash = 7", ValueError),
        ("UPDATE tags SET hash = x'00ff'", ValueError),
        ("DROP TABLE tags", sqlite3.Error),
    ],
    "reflog": [
        ("UPDATE refs SET hash = 'x' WHERE type = 1", ValueError),
        ("UPDATE refs SET hash = NULL WHERE type = 1", ValueError),
        ("UPDATE refs SET hash = x'00' WHERE type = 1", ValueError),
        ("UPDATE refs SET type = 9", ValueError),
        ("UPDATE refs SET type = 'x'", ValueError),
        ("DROP TABLE refs", sqlite3.Error),
    ],
    "catalog": [
        ("INSERT INTO nested_catalogs VALUES ('/x', 'none', 0)", ValueError),
        ("INSERT INTO nested_catalogs VALUES ('/x', NULL, 0)", ValueError),
        ("INSERT INTO nested_catalogs VALUES ('/x', x'ff', 0)", ValueError),
        ("UPDATE properties SET value = 'x' WHERE key = 'revision'", ValueError),
        ("DROP TABLE catalog", sqlite3.Error),
    ],
}


@pytest.mark.parametrize(
    ("name", "statement", "kind"),
    [(name, *row) for name, rows in BAD_ROWS.items() for row in rows],
)
def test_databases_with_bad_rows(tmp_path: Path, name: str, statement: str, kind: Any) -> None:
    """Well-formed as a database, but not what the format says."""
    make, read = DATABASES[name]
    file = str(tmp_path / "database")
    make(file)
    with contextlib.closing(sqlite3.connect(file)) as opened:
        opened.execute(statement)
        opened.commit()
    with pytest.raises(kind):
        read(file)


# There and back


@given(_MANIFESTS)
def test_manifest_round_trip(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.encode()) == manifest


def test_manifest_ignores_what_it_does_not_know() -> None:
    lines = A_MANIFEST.encode().splitlines(keepends=True)
    shuffled = b"".join(reversed(lines)) + b"Zunknown\nL%s\n" % str(A_HASH).encode()
    assert Manifest.parse(shuffled) == A_MANIFEST


@pytest.mark.parametrize("letter", "CRDSN")
def test_manifest_needs_these_fields(letter: str) -> None:
    lines = A_MANIFEST.encode().splitlines(keepends=True)
    text = b"".join(line for line in lines if line[:1] != letter.encode())
    with pytest.raises(ValueError, match=f"no field {letter}"):
        Manifest.parse(text)


def test_manifest_is_small() -> None:
    with pytest.raises(ValueError, match="too large"):
        Manifest.parse(A_MANIFEST.encode() + b"Zx\n" * 30_000)


@given(_WHITELISTS)
@_relaxed
def test_whitelist_round_trip(whitelist: Whitelist) -> None:
    assert Whitelist.parse(whitelist.encode()) == whitelist


def test_whitelist_with_comments() -> None:
    """As people write fingerprints into it by hand."""
    text = A_WHITELIST.encode() + b"# a comment\n\n"
    text += fingerprint_text(A_HASH).lower().encode() + b" # of somebody\n"
    text += b"AB:CD too short\n"
    assert Whitelist.parse(text).fingerprints == (*A_WHITELIST.fingerprints, A_HASH)


@given(_TIMES.filter(lambda time: time.year < 9000), st.integers(-7200, 7200))
def test_whitelist_expires_by_the_hour(expires: datetime, seconds: int) -> None:
    whitelist = A_WHITELIST._replace(expires=expires)
    now = expires + timedelta(seconds=seconds)
    hour = timedelta(hours=1)
    epoch = datetime(1, 1, 1, tzinfo=timezone.utc)
    assert whitelist.expired(now) == ((now - epoch) // hour >= (expires - epoch) // hour)


def test_whitelist_is_bounded() -> None:
    with pytest.raises(ValueError, match="too large"):
        Whitelist.parse(A_WHITELIST.encode() + b"#" * (1 << 20))


def test_fingerprints() -> None:
    assert fingerprint_text(fingerprint(b"der", Algorithm.SHA1)) == ":".join(
        f"{byte:02X}" for byte in hashlib.sha1(b"der").digest()
    )
    assert fingerprint_text(Algorithm.SHAKE128.of(b"")).endswith("-SHAKE128")


@given(_LETTERS)
def test_signed_text_round_trip(signed: SignedText) -> None:
    assert SignedText.parse(signed.encode()) == signed


@given(st.binary(max_size=100).map(lambda text: text.replace(b"--\n", b"") + b"\n"))
def test_signed_text_knows_its_text(text: bytes) -> None:
    assume(SEPARATOR not in text)
    signed = SignedText(text, Algorithm.SHA1.of(text), b"s")
    assert signed.intact
    assert not signed._replace(text=text + b"x").intact
    assert signed.signed == str(signed.text_hash).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"text\n",
        b"--\n",
        b"text\n--\n",
        b"t\n--\nabc\nsig",
        b"t--\n" + b"0" * 40 + b"\ns",
        b"t\n--\n" + b"0" * 40,
        b"t\n--\n" + b"0" * 40 + b"\n",
        b"t\n--\n" + b"0" * 40 + b"-md5\ns",
    ],
)
def test_no_letters(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"signature|not a hash"):
        SignedText.parse(raw)


@given(_HASHES)
def test_hash_round_trip(value: ContentHash) -> None:
    assert ContentHash.parse(str(value)) == value
    path = value.path(Kind.CATALOG)
    assert path[:5] == "data/"
    assert (path[5:7] + path[8:]).encode() == str(value).encode() + b"C"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 39,
        "0" * 41,
        "A" * 40,
        "0" * 40 + "-sha1",
        "0" * 40 + "\n",
        " " + "0" * 40,
        "0" * 39 + "g",
        "0" * 40 + "-rmd160C",
        "\uff10" * 40,
        "0" * 40 + "-shake128 ",
    ],
)
def test_no_hashes(text: str) -> None:
    with pytest.raises(ValueError, match="not a hash"):
        ContentHash.parse(text)


@pytest.mark.parametrize(
    ("algorithm", "empty"),
    [
        (Algorithm.SHA1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        (Algorithm.RMD160, "9c1185a5c5e9fc54612808977ee8f548b2258d31-rmd160"),
        (Algorithm.SHAKE128, "7f9c2ba4e88f827d616045507605853ed73b8093-shake128"),
    ],
)
def test_algorithms(algorithm: Algorithm, empty: str) -> None:
    try:
        assert str(algorithm.of(b"")) == empty
    except PyparrotError as error:
        pytest.skip(str(error))
    hasher = algorithm.hasher()
    for piece in (b"in ", b"", b"pieces"):
        hasher.update(piece)
    assert algorithm.finish(hasher) == algorithm.of(b"in pieces")
    assert Algorithm.named(algorithm.name.lower()) is algorithm


@given(st.dictionaries(st.binary(min_size=1, max_size=255), st.binary(max_size=255), max_size=10))
def test_xattrs_round_trip(attributes: dict[bytes, bytes]) -> None:
    packed = xattrs.pack(attributes)
    if packed is None:
        assert not attributes
    else:
        assert xattrs.unpack(packed) == attributes
        with pytest.raises(ValueError, match="behind"):
            xattrs.unpack(packed + b"x")


@pytest.mark.parametrize(
    "attributes",
    [
        {b"": b""},
        {b"n" * 256: b""},
        {b"n": b"v" * 256},
        {b"%d" % number: b"" for number in range(256)},
    ],
)
def test_xattrs_beyond_the_format(attributes: dict[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="beyond"):
        xattrs.pack(attributes)


def test_as_many_xattrs_as_there_can_be() -> None:
    attributes = {b"%d" % number: b"v" * 255 for number in range(255)}
    packed = xattrs.pack(attributes)
    assert packed is not None
    assert xattrs.unpack(packed) == attributes


@given(st.binary(max_size=500), st.integers(0, 600))
@example(b"", 0)
def test_inflate_keeps_its_limit(content: bytes, limit: int) -> None:
    packed = Compression.ZLIB.pack(content)
    if len(content) <= limit:
        assert inflate(packed, limit) == content
    else:
        with pytest.raises(ValueError, match="more than"):
            inflate(packed, limit)


@pytest.mark.parametrize("cut", [1, 4, 5, 10])
def test_inflate_wants_all_of_it(cut: int) -> None:
    packed = zlib.compress(os.urandom(100))
    with pytest.raises(ValueError, match="incomplete"):
        inflate(packed[:-cut], 1000)
    with pytest.raises(ValueError, match="behind"):
        inflate(packed + b"x", 1000)
    with pytest.raises(ValueError, match="broken"):
        inflate(packed[:-1] + bytes((packed[-1] ^ 1,)), 1000)


def test_a_small_object_cannot_fill_the_memory() -> None:
    bomb = zlib.compress(bytes(64 << 20))
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        inflate(bomb, 1000)


@given(st.lists(st.binary(max_size=100)), st.sampled_from(list(Compression)))
def test_packing_in_pieces_is_packing_at_once(pieces: list[bytes], kind: Compression) -> None:
    """Equal bytes must give equal objects, or nothing would ever be shared."""
    packer = kind.packer()
    packed = b"".join(packer.add(piece) for piece in pieces) + packer.end()
    assert packed == kind.pack(b"".join(pieces))


_TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30)
_TAGS = st.lists(
    st.builds(
        Tag,
        name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,20}", fullmatch=True),
        catalog=_HASHES,
        revision=st.integers(0, 1 << 62),
        timestamp=st.integers(0, 1 << 62),
        description=_TEXTS,
        size=st.integers(0, 1 << 62),
    ),
    max_size=5,
    unique_by=lambda tag: tag.name,
)


@given(_TAGS, st.none() | _HASHES)
@settings(parent=_relaxed, max_examples=50)
def test_history_round_trip(tmp_path: Path, tags: list[Tag], previous: ContentHash | None) -> None:
    file = tmp_path / "history"
    history.write(str(file), FQRN, tags, previous)
    ordered = sorted(tags, key=lambda tag: (tag.revision, tag.timestamp, tag.name))
    assert history.read(str(file)) == ordered
    file.unlink()


@given(
    st.lists(
        st.builds(
            Reference, _HASHES, st.sampled_from(list(ReferenceType)), st.integers(0, 1 << 62)
        ),
        max_size=8,
        unique_by=lambda reference: reference.hash,
    )
)
@settings(parent=_relaxed, max_examples=50)
def test_reflog_round_trip(tmp_path: Path, references: list[Reference]) -> None:
    file = tmp_path / "reflog"
    reflog.write(str(file), FQRN, references)
    assert reflog.read(str(file)) == references
    file.unlink()


@pytest.mark.parametrize("directory", ["a b", "a#b", "a?mode=memory", "a%2fb", "ä", "\udcff", "'"])
@pytest.mark.parametrize("name", DATABASES)
def test_databases_at_odd_places(tmp_path: Path, name: str, directory: str) -> None:
    (tmp_path / directory).mkdir()
    make, read = DATABASES[name]
    file = str(tmp_path / directory / "database")
    make(file)
    assert os.path.getsize(file) > 0
    read(file)


@pytest.mark.parametrize(
    "name", ["trunk", "v1", "1.0-rc+2", "a" * 255, "generic-2020-01-01T00:00:00Z"]
)
def test_good_tag_names(name: str) -> None:
    assert history.valid_name(name)


@pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "a/b", "a\n", "a" * 256, "ä", "a\0", "@x"])
def test_bad_tag_names(name: str) -> None:
    assert not history.valid_name(name)


def test_signatures() -> None:
    key, other = signature.new_private_key(), signature.new_private_key()
    text = str(A_HASH).encode()
    for sign, valid in (
        (signature.sign_manifest, signature.manifest_signature_valid),
        (signature.sign_whitelist, signature.whitelist_signature_valid),
    ):
        signed = sign(text, key)
        assert valid(text, signed, key.public_key())
        assert not valid(text + b"x", signed, key.public_key())
        assert not valid(text, signed, other.public_key())
        for broken in (b"", b"x", signed[:-1], signed + b"x", bytes(256), b"\xff" * 256):
            assert not valid(text, broken, key.public_key())
    # Neither passes for the other: the one has DigestInfo, the other has not.
    assert not signature.whitelist_signature_valid(
        text, signature.sign_manifest(text, key), key.public_key()
    )


# Samples of the official tools


@pytest.mark.parametrize("fqrn", REPOSITORIES)
def test_real_manifest_and_whitelist(fixtures_directory: Path, fqrn: str) -> None:
    root = fixtures_directory / fqrn
    raw = (root / ".cvmfspublished").read_bytes()
    signed = SignedText.parse(raw)
    assert signed.intact
    assert signed.encode() == raw
    manifest = Manifest.parse(signed.text)
    assert manifest.fqrn == fqrn
    # The official order of fields, too.
    assert manifest.encode() == signed.text
    assert manifest.certificate is not None
    packed = (root / manifest.certificate.path(Kind.CERTIFICATE)).read_bytes()
    assert manifest.certificate.algorithm.of(packed) == manifest.certificate
    certificate = signature.load_certificate(inflate(packed, 1 << 20))
    key = signature.certificate_key(certificate)
    assert signature.manifest_signature_valid(signed.signed, signed.signature, key)

    raw = (root / ".cvmfswhitelist").read_bytes()
    signed = SignedText.parse(raw)
    assert signed.intact
    whitelist = Whitelist.parse(signed.text)
    assert whitelist.fqrn == fqrn
    assert whitelist.encode().split() == signed.text.split()
    master = signature.load_public_key((fixtures_directory / f"{fqrn}.pub").read_bytes())
    assert signature.whitelist_signature_valid(signed.signed, signed.signature, master)
    listed = whitelist.fingerprints
    assert fingerprint(signature.certificate_der(certificate), listed[0].algorithm) in listed


@pytest.mark.parametrize("fqrn", REPOSITORIES)
def test_real_history_and_reflog(fixtures_directory: Path, tmp_path: Path, fqrn: str) -> None:
    root = fixtures_directory / fqrn
    manifest = Manifest.parse(SignedText.parse((root / ".cvmfspublished").read_bytes()).text)
    references = reflog.read(str(root / ".cvmfsreflog"))
    listed = {(reference.hash, reference.type) for reference in references}
    assert (manifest.catalog, ReferenceType.CATALOG) in listed
    if manifest.reflog is not None:
        content = (root / ".cvmfsreflog").read_bytes()
        assert manifest.reflog.algorithm.of(content) == manifest.reflog
    if manifest.history is None:
        return
    assert (manifest.history, ReferenceType.HISTORY) in listed
    file = tmp_path / "history"
    file.write_bytes(inflate((root / manifest.history.path(Kind.HISTORY)).read_bytes(), 1 << 26))
    tags = history.read(str(file))
    assert tags
    assert all(history.valid_name(tag.name) for tag in tags)
    rewritten = tmp_path / "rewritten"
    history.write(str(rewritten), fqrn, tags, None)
    assert history.read(str(rewritten)) == tags


@pytest.mark.parametrize("fqrn", REPOSITORIES)
def test_real_catalogs(fixtures_directory: Path, tmp_path: Path, fqrn: str) -> None:
    """Every catalog: its counters, its mountpoint, and its entries' extended attributes."""
    root = fixtures_directory / fqrn
    manifest = Manifest.parse(SignedText.parse((root / ".cvmfspublished").read_bytes()).text)
    pending = [(manifest.catalog, b"")]
    seen = 0
    while pending:
        name, mountpoint = pending.pop()
        packed = (root / name.path(Kind.CATALOG)).read_bytes()
        assert name.algorithm.of(packed) == name
        content = inflate(packed, 1 << 28)
        # The official tools' zlib gives the same bytes.
        assert Compression.ZLIB.pack(content) == packed
        file = tmp_path / str(seen)
        file.write_bytes(content)
        catalog = Catalog.open(str(file))
        assert catalog.mountpoint == mountpoint
        assert catalog.count() == catalog.counters("self")
        directories = [mountpoint]
        while directories:
            directory = directories.pop()
            for entry in catalog.listdir(directory):
                if entry.xattr is not None:
                    assert xattrs.pack(xattrs.unpack(entry.xattr)) is not None
                if entry.is_directory and not entry.is_nested:
                    directories.append(directory + b"/" + entry.name)
        pending += [(nested.hash, nested.mountpoint) for nested in catalog.nested_catalogs()]
        catalog.close()
        seen += 1
    assert seen > 0

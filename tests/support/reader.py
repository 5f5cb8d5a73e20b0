"""A second opinion on published repositories: reads one from its directory, and checks it.

Written from the description of the format alone, with the standard library and the ``openssl``
command only. It must never import pyparrot: what both get wrong in the same way, no test finds.

Paths are bytes, absolute within the repository; the root is empty.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import struct
import subprocess
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DIRECTORY = 1
NESTED_MOUNTPOINT = 2
FILE = 4
SYMLINK = 8
SPECIAL = 16
NESTED_ROOT = 32
CHUNKED = 64
EXTERNAL = 128
BIND_MOUNTPOINT = 0x4000
TYPE = DIRECTORY | FILE | SYMLINK | SPECIAL

ALGORITHMS = ("", "-rmd160", "-shake128")
"""The identifiers behind hex digits, in the order of the numbers in a catalog's flags."""

COUNTERS = (
    *("regular", "symlink", "special", "dir", "nested", "chunked", "chunks", "file_size"),
    *("chunked_size", "xattr", "external", "external_file_size"),
)

_TYPES = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}

Key = tuple[int, int]


class Fact(NamedTuple):
    """What a client sees of one name.

    *links* are the paths of all members of its hard link group, itself included; empty if it is
    alone. *rdev* is only set for devices, *sha256* only for files.
    """

    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    mtime_ns: int
    nlink: int
    links: frozenset[bytes]
    sha256: str
    target: bytes
    rdev: int
    xattrs: dict[bytes, bytes]


class Row(NamedTuple):
    """A row of a catalog; all columns but its own key."""

    parent: Key
    hardlinks: int
    hash: bytes | None
    size: int
    mode: int
    mtime: int
    mtimens: int | None
    flags: int
    name: bytes
    symlink: bytes
    uid: int
    gid: int
    xattr: bytes | None

    @property
    def link_group(self) -> int:
        return self.hardlinks >> 32

    @property
    def link_count(self) -> int:
        return self.hardlinks & 0xFFFFFFFF

    @property
    def is_regular(self) -> bool:
        return self.flags & TYPE == FILE

    @property
    def algorithm(self) -> str:
        return ALGORITHMS[self.flags >> 8 & 7]

    @property
    def is_zlib(self) -> bool:
        return self.flags >> 11 & 7 == 0


class ChunkRow(NamedTuple):
    """A piece of a file."""

    offset: int
    size: int
    hash: bytes


class CatalogFile(NamedTuple):
    """All that one catalog's file says. *paths* has the path of every row that can be reached."""

    mountpoint: bytes
    hash: str
    size: int
    rows: dict[Key, Row]
    paths: dict[bytes, Key]
    chunks: dict[Key, tuple[ChunkRow, ...]]
    nested: dict[bytes, tuple[str, int]]
    binds: list[bytes]
    statistics: dict[str, int]
    properties: dict[str, bytes]
    odd_types: list[tuple[bytes, ...]]

    def row(self, path: bytes) -> Row:
        return self.rows[self.paths[path]]

    def comparable(self) -> dict[bytes, tuple[Row, frozenset[bytes], tuple[ChunkRow, ...]]]:
        """Every row with its chunks, fit to compare with another catalog's.

        The numbers of link groups mean nothing outside a catalog: the members stand for them.
        """
        groups: defaultdict[int, set[bytes]] = defaultdict(set)
        for path, key in self.paths.items():
            groups[self.rows[key].link_group].add(path)
        groups[0] = set()
        return {
            path: (
                self.rows[key]._replace(hardlinks=self.rows[key].link_count),
                frozenset(groups[self.rows[key].link_group]),
                self.chunks.get(key, ()),
            )
            for path, key in self.paths.items()
        }


class SignedText(NamedTuple):
    """A signed file: its text, the hash of it in ASCII, and the signature of that."""

    text: bytes
    signed: bytes
    signature: bytes

    @classmethod
    def read(cls, file: Path) -> SignedText:
        content = file.read_bytes()
        text, separator, rest = content.partition(b"\n--\n")
        assert separator, f"{file}: no line --"
        text += b"\n"
        signed, newline, signature = rest.partition(b"\n")
        assert newline, f"{file}: no signature"
        assert hash_of(text, algorithm_in(signed.decode())) == signed.decode(), (
            f"{file}: the text does not have the hash that was signed"
        )
        return cls(text, signed, signature)


def md5path(path: bytes) -> Key:
    """The key of a path in catalogs."""
    first, second = struct.unpack("<qq", hashlib.md5(path).digest())
    return first, second


def algorithm_in(text: str) -> str:
    """The algorithm's identifier in a hash's text."""
    assert text[40:] in ALGORITHMS, f"not a hash: {text}"
    return text[40:]


def hash_of(data: bytes, algorithm: str) -> str:
    """The hash of *data* as text; *algorithm* is one of `ALGORITHMS`."""
    if algorithm == "-shake128":
        return hashlib.shake_128(data).hexdigest(20) + algorithm
    name = "ripemd160" if algorithm else "sha1"
    return hashlib.new(name, data).hexdigest() + algorithm


def unpack_xattrs(blob: bytes) -> dict[bytes, bytes]:
    """The attributes in a catalog's blob."""
    assert blob[0] == 1, "xattrs: not version 1"
    attributes: dict[bytes, bytes] = {}
    rest = blob[2:]
    for _ in range(blob[1]):
        key, value = rest[0], rest[1]
        attributes[rest[2 : 2 + key]] = rest[2 + key : 2 + key + value]
        rest = rest[2 + key + value :]
    assert not rest, "xattrs: bytes behind the list"
    assert len(attributes) == blob[1] > 0, "xattrs: a name twice, or an empty list"
    return attributes


class PublishedRepository:
    """A repository as it is now below *directory*, its root and all its nested catalogs read."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self.letter = SignedText.read(self.directory / ".cvmfspublished")
        lines = self.letter.text.decode().splitlines()
        self.manifest = {line[:1]: line[1:] for line in lines}
        assert len(self.manifest) == len(lines), "manifest: a letter twice"
        self.catalogs: dict[bytes, CatalogFile] = {}
        self._contents: dict[tuple[str, str, bool], bytes] = {}
        self._read_catalogs(b"", self.manifest["C"], int(self.manifest["B"]))

    # Objects

    def object(self, name: str, kind: str, zlib_packed: bool = True) -> bytes:
        """The content of an object, its hash verified."""
        key = (name, kind, zlib_packed)
        if key not in self._contents:
            stored = (self.directory / "data" / name[:2] / (name[2:] + kind)).read_bytes()
            assert hash_of(stored, algorithm_in(name)) == name, f"{name}{kind}: wrong hash"
            self._contents[key] = _inflate(stored) if zlib_packed else stored
        return self._contents[key]

    def content(self, path: bytes) -> bytes:
        """The content of a file."""
        catalog = self.catalog_of(path)
        return self._content(catalog, catalog.paths[path])

    def _content(self, catalog: CatalogFile, key: Key) -> bytes:
        row = catalog.rows[key]
        assert not row.flags & EXTERNAL, "external files have no content here"
        if not row.flags & CHUNKED:
            assert row.hash is not None, f"{row.name!r}: no hash"
            return self._body(row, row.hash, "", row.size)
        content = b"".join(self._body(row, c.hash, "P", c.size) for c in catalog.chunks[key])
        assert len(content) == row.size, f"{row.name!r}: the chunks' sizes"
        return content

    def _body(self, row: Row, digest: bytes, kind: str, size: int) -> bytes:
        content = self.object(digest.hex() + row.algorithm, kind, row.is_zlib)
        assert len(content) == size, f"{row.name!r}: {len(content)} bytes, not {size}"
        return content

    # Catalogs

    def _read_catalogs(self, mountpoint: bytes, name: str, size: int) -> None:
        content = self.object(name, "C")
        assert len(content) == size, f"catalog {mountpoint!r}: size {len(content)}, not {size}"
        assert mountpoint not in self.catalogs, f"catalog {mountpoint!r} twice"
        catalog = self.catalogs[mountpoint] = _read_catalog(content, mountpoint, name)
        for path, (child, child_size) in catalog.nested.items():
            self._read_catalogs(path, child, child_size)

    def catalog_of(self, path: bytes) -> CatalogFile:
        """The catalog that serves *path*, found as a client does it."""
        catalog = self.catalogs[b""]
        while True:
            inner = [m for m in catalog.nested if path == m or path.startswith(m + b"/")]
            if not inner:
                return catalog
            assert len(inner) == 1, f"{path!r}: nested catalogs within each other: {inner}"
            catalog = self.catalogs[inner[0]]

    def lookup(self, path: bytes) -> Row | None:
        """The row that a client uses for *path*."""
        return self.catalog_of(path).rows.get(md5path(path))

    def facts(self) -> dict[bytes, Fact]:
        """Everything in the repository, every body read and verified."""
        facts = {}
        for catalog in self.catalogs.values():
            groups: defaultdict[int, set[bytes]] = defaultdict(set)
            for path, key in catalog.paths.items():
                groups[catalog.rows[key].link_group].add(path)
            groups.pop(0, None)
            for path, key in catalog.paths.items():
                if path in catalog.nested:  # the child's root row is what a client sees
                    continue
                row = catalog.rows[key]
                facts[path] = self._fact(catalog, key, frozenset(groups.get(row.link_group, ())))
        return facts

    def _fact(self, catalog: CatalogFile, key: Key, links: frozenset[bytes]) -> Fact:
        row = catalog.rows[key]
        device = stat.S_ISBLK(row.mode) or stat.S_ISCHR(row.mode)
        sha256 = ""
        if row.is_regular and not row.flags & EXTERNAL:
            sha256 = hashlib.sha256(self._content(catalog, key)).hexdigest()
        return Fact(
            type=_TYPES[stat.S_IFMT(row.mode)],
            mode=stat.S_IMODE(row.mode),
            uid=row.uid,
            gid=row.gid,
            size=0 if device else row.size,
            mtime=row.mtime,
            mtime_ns=row.mtimens or 0,
            nlink=row.link_count,
            links=links,
            sha256=sha256,
            target=row.symlink,
            rdev=row.size if device else 0,
            xattrs={} if row.xattr is None else unpack_xattrs(row.xattr),
        )

    # Checks

    def check(self) -> None:
        """Everything that must hold in any repository, but for signatures."""
        self._check_manifest()
        self._check_reflog()
        self._check_tags()
        for catalog in self.catalogs.values():
            _check_rows(catalog)
            _check_chunks(catalog)
            _check_link_groups(catalog)
            self._check_nesting(catalog)
            self._check_properties(catalog)
            self._check_directories(catalog)
        self._check_statistics(b"")
        self._check_lookup()

    def _check_manifest(self) -> None:
        manifest = self.manifest
        for letter in "CBRDSNXHTGAMY":
            assert manifest.get(letter), f"manifest: no {letter}"
        assert manifest["R"] == hashlib.md5(b"").hexdigest(), "manifest: R"
        assert manifest["N"] == self.directory.name, "manifest: N"
        assert manifest["G"] in ("yes", "no"), "manifest: G"
        assert manifest["A"] in ("yes", "no"), "manifest: A"
        properties = self.catalogs[b""].properties
        assert manifest["D"] == properties["TTL"].decode(), "manifest: D is not the TTL"
        algorithms = {algorithm_in(manifest[letter]) for letter in "CXHMY"}
        algorithms.add(algorithm_in(self.letter.signed.decode()))
        assert len(algorithms) == 1, f"manifest: hashes of several kinds: {algorithms}"

    def _check_reflog(self) -> None:
        content = (self.directory / ".cvmfsreflog").read_bytes()
        algorithm = algorithm_in(self.manifest["Y"])
        assert hash_of(content, algorithm) == self.manifest["Y"], "manifest: Y is not the reflog's"
        with _database(content) as database:
            listed = set(database.execute("SELECT hash, type FROM refs"))
        for kind, letter in enumerate("CXHM"):
            entry = (self.manifest[letter].encode(), kind)
            assert entry in listed, f"reflog: does not list {letter} {entry}"

    def _check_tags(self) -> None:
        with _database(self.object(self.manifest["H"], "H")) as database:
            tags = {
                name: (root.decode(), revision, size)
                for name, root, revision, size in database.execute(
                    "SELECT name, hash, revision, size FROM tags"
                )
            }
            properties = dict(database.execute("SELECT key, value FROM properties"))
        assert properties[b"fqrn"] == self.manifest["N"].encode(), "history: fqrn"
        if b"trunk" in tags:
            current = (self.manifest["C"], int(self.manifest["S"]), int(self.manifest["B"]))
            assert tags[b"trunk"] == current, "history: trunk is not the current revision"
        for name, (root, _, size) in tags.items():
            assert len(self.object(root, "C")) == size, f"history: {name!r}: size"

    def _check_nesting(self, catalog: CatalogFile) -> None:
        where = f"catalog {catalog.mountpoint!r}"
        flagged = {p for p, k in catalog.paths.items() if catalog.rows[k].flags & NESTED_MOUNTPOINT}
        assert flagged == set(catalog.nested), f"{where}: flags and nested_catalogs differ"
        for path in flagged:
            above, below = catalog.row(path), self.catalogs[path].row(path)
            assert above.flags == DIRECTORY | NESTED_MOUNTPOINT, f"{path!r}: {above.flags:#x}"
            assert below.flags == DIRECTORY | NESTED_ROOT, f"{path!r}: {below.flags:#x}"
            assert above._replace(flags=0) == below._replace(flags=0), (
                f"{path!r} differs in the two catalogs: {above} {below}"
            )
            marker = self.lookup(path + b"/.cvmfscatalog")
            assert marker, f"{path!r}: a nested catalog without .cvmfscatalog"
        roots = {p for p, k in catalog.paths.items() if catalog.rows[k].flags & NESTED_ROOT}
        assert roots == ({catalog.mountpoint} if catalog.mountpoint else set()), f"{where}: {roots}"

    def _check_properties(self, catalog: CatalogFile) -> None:
        where = f"catalog {catalog.mountpoint!r}"
        properties = catalog.properties
        assert properties["schema"] == b"2.5", where
        assert properties["schema_revision"] == b"7", where
        assert properties.get("root_prefix", b"") == catalog.mountpoint, f"{where}: root_prefix"
        assert int(properties["revision"]) <= int(self.manifest["S"]), f"{where}: revision"
        assert int(properties["last_modified"]) <= int(self.manifest["T"]), where
        algorithm_in(properties["previous_revision"].decode())
        if not catalog.mountpoint:
            assert properties["revision"].decode() == self.manifest["S"], f"{where}: revision"

    def _check_directories(self, catalog: CatalogFile) -> None:
        below: defaultdict[bytes, int] = defaultdict(int)
        for path, key in catalog.paths.items():
            if path != catalog.mountpoint and catalog.rows[key].flags & DIRECTORY:
                below[path.rpartition(b"/")[0]] += 1
        for path, key in catalog.paths.items():
            row = catalog.rows[key]
            if row.flags & DIRECTORY and path not in catalog.nested:
                assert row.hardlinks == 2 + below[path], f"{path!r}: {row.hardlinks} links"

    def _check_statistics(self, mountpoint: bytes) -> dict[str, int]:
        catalog = self.catalogs[mountpoint]
        counted = {f"self_{name}": n for name, n in _count(catalog).items()}
        counted.update((f"subtree_{name}", 0) for name in COUNTERS)
        for child in catalog.nested:
            below = self._check_statistics(child)
            for name in COUNTERS:
                counted[f"subtree_{name}"] += below[f"self_{name}"] + below[f"subtree_{name}"]
        recorded = catalog.statistics
        wrong = {n: (recorded.get(n), counted[n]) for n in counted if recorded.get(n) != counted[n]}
        assert not wrong, f"statistics of {mountpoint!r} (recorded, counted): {wrong}"
        return counted

    def _check_lookup(self) -> None:
        for catalog in self.catalogs.values():
            for path, key in catalog.paths.items():
                if path not in catalog.nested:
                    assert self.lookup(path) is catalog.rows[key], f"{path!r}: not looked up here"

    def check_signatures(self, public_key: str | os.PathLike[str]) -> None:
        """Verify manifest and whitelist with openssl; *public_key* is the master key's file."""
        with tempfile.TemporaryDirectory() as name:
            scratch = Path(name)
            certificate = scratch / "certificate"
            certificate.write_bytes(self.object(self.manifest["X"], "X"))
            self._check_manifest_signature(scratch, certificate)
            self._check_whitelist(scratch, certificate, os.fspath(public_key))

    def _check_manifest_signature(self, scratch: Path, certificate: Path) -> None:
        key, signature, signed = scratch / "key", scratch / "signature", scratch / "signed"
        key.write_bytes(_openssl("x509", "-in", str(certificate), "-pubkey", "-noout"))
        signature.write_bytes(self.letter.signature)
        signed.write_bytes(self.letter.signed)
        verdict = _openssl(
            *("dgst", "-sha1", "-verify", str(key), "-signature", str(signature), str(signed))
        )
        assert verdict.strip() == b"Verified OK", "manifest: signature"

    def _check_whitelist(self, scratch: Path, certificate: Path, public_key: str) -> None:
        letter = SignedText.read(self.directory / ".cvmfswhitelist")
        signature = scratch / "whitelist"
        signature.write_bytes(letter.signature)
        recovered = _openssl(
            *("pkeyutl", "-verifyrecover", "-pubin", "-inkey", public_key, "-in", str(signature))
        )
        assert recovered == letter.signed, "whitelist: signature"
        issued, expires, name, *fingerprints = letter.text.decode().splitlines()
        assert len(issued) == 14, "whitelist: time of issue"
        assert issued.isdecimal(), "whitelist: time of issue"
        assert expires[0] == "E", "whitelist: expiry"
        assert expires[1:] > issued, "whitelist: expiry"
        assert name == "N" + self.manifest["N"], "whitelist: name"
        der = _openssl("x509", "-in", str(certificate), "-outform", "DER")
        listed = [line.partition("#")[0].strip() for line in fingerprints]
        found = {
            text[: 20 * 3 - 1].replace(":", "").lower() + text[20 * 3 - 1 :].lower()
            for text in listed
            if text
        }
        wanted = {hash_of(der, algorithm) for algorithm in ALGORITHMS}
        assert found & wanted, "whitelist: does not list the certificate"


def _openssl(*arguments: str) -> bytes:
    return subprocess.run(("openssl", *arguments), check=True, stdout=subprocess.PIPE).stdout


def _inflate(packed: bytes) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(packed)
    assert stream.eof, "not a complete zlib stream"
    assert not stream.unused_data, "bytes behind the zlib stream"
    return content


class _database:
    """A SQLite database from its bytes, texts as bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __enter__(self) -> sqlite3.Connection:
        self._directory = tempfile.TemporaryDirectory()
        file = os.path.join(self._directory.name, "database")
        with open(file, "wb") as stream:
            stream.write(self._content)
        self._connection = sqlite3.connect(file)
        self._connection.text_factory = bytes
        return self._connection

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        self._directory.cleanup()


_ROWS = """
SELECT md5path_1, md5path_2, parent_1, parent_2, hardlinks, hash, size, mode, mtime, mtimens, flags,
    name, symlink, uid, gid, xattr FROM catalog
"""

_ODD_TYPES = """
SELECT name, typeof(name), typeof(symlink), typeof(hash), typeof(xattr), typeof(mtimens)
FROM catalog WHERE typeof(name) != 'text' OR typeof(symlink) != 'text'
    OR typeof(hash) NOT IN ('blob', 'null') OR typeof(xattr) NOT IN ('blob', 'null')
    OR typeof(mtimens) NOT IN ('integer', 'null') OR typeof(md5path_1) != 'integer'
    OR typeof(size) != 'integer' OR typeof(mtime) != 'integer' OR typeof(uid) != 'integer'
    OR typeof(hardlinks) != 'integer' OR typeof(flags) != 'integer'
UNION ALL SELECT path, typeof(path), typeof(sha1), typeof(size), '', '' FROM nested_catalogs
    WHERE typeof(path) != 'text' OR typeof(sha1) != 'text' OR typeof(size) != 'integer'
"""


def _read_catalog(content: bytes, mountpoint: bytes, name: str) -> CatalogFile:
    with _database(content) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [(b"ok",)]
        rows: dict[Key, Row] = {}
        for first, second, parent_1, parent_2, *columns in database.execute(_ROWS):
            assert (first, second) not in rows, f"catalog {mountpoint!r}: a row twice"
            rows[first, second] = Row((parent_1, parent_2), *columns)
        chunks: defaultdict[Key, list[ChunkRow]] = defaultdict(list)
        for first, second, *columns in database.execute(
            "SELECT md5path_1, md5path_2, offset, size, hash FROM chunks ORDER BY offset, size"
        ):
            chunks[first, second].append(ChunkRow(*columns))
        return CatalogFile(
            mountpoint,
            name,
            len(content),
            rows,
            dict(_paths(mountpoint, rows)),
            {key: tuple(pieces) for key, pieces in chunks.items()},
            {
                path: (child.decode(), size)
                for path, child, size in database.execute(
                    "SELECT path, sha1, size FROM nested_catalogs"
                )
            },
            [path for (path,) in database.execute("SELECT path FROM bind_mountpoints")],
            {n.decode(): v for n, v in database.execute("SELECT counter, value FROM statistics")},
            {
                key.decode(): value if isinstance(value, bytes) else str(value).encode()
                for key, value in database.execute("SELECT key, value FROM properties")
            },
            database.execute(_ODD_TYPES).fetchall(),
        )


def _paths(mountpoint: bytes, rows: dict[Key, Row]) -> Iterator[tuple[bytes, Key]]:
    """Every path that is found by going down from the catalog's root directory."""
    children: defaultdict[Key, list[Key]] = defaultdict(list)
    for key, row in rows.items():
        children[row.parent].append(key)
    assert md5path(mountpoint) in rows, f"catalog {mountpoint!r}: no row for its own root"
    yield mountpoint, md5path(mountpoint)
    pending = [mountpoint]
    while pending:
        directory = pending.pop()
        for key in children[md5path(directory)]:
            if key == (0, 0) or (rows[key].name == b"" and not directory):
                continue
            path = directory + b"/" + rows[key].name
            yield path, key
            if rows[key].flags & DIRECTORY:
                pending.append(path)


def _check_rows(catalog: CatalogFile) -> None:
    where = f"catalog {catalog.mountpoint!r}"
    assert not catalog.odd_types, f"{where}: columns of a wrong type: {catalog.odd_types[:5]}"
    lost = set(catalog.rows) - set(catalog.paths.values())
    assert not lost, f"{where}: out of reach: {sorted(catalog.rows[key].name for key in lost)}"
    assert len(set(catalog.paths.values())) == len(catalog.paths), f"{where}: a row in two places"
    for path, key in catalog.paths.items():
        row = catalog.rows[key]
        assert key == md5path(path), f"{path!r}: md5path"
        parent = md5path(path.rpartition(b"/")[0]) if path else (0, 0)
        assert row.parent == parent, f"{path!r}: parent"
        name = path.rpartition(b"/")[2]
        assert row.name == name, f"{path!r}: name {row.name!r}"
        assert not path or name not in (b"", b".", b".."), f"{path!r}: bad name"
        outside = [m for m in catalog.nested if path.startswith(m + b"/")]
        assert not outside, f"{path!r} stands in {catalog.mountpoint!r}, not in {outside}"
        _check_row(path, row)


def _check_row(path: bytes, row: Row) -> None:
    kinds = {stat.S_IFDIR: DIRECTORY, stat.S_IFREG: FILE, stat.S_IFLNK: FILE | SYMLINK}
    kind = kinds.get(stat.S_IFMT(row.mode), FILE | SPECIAL)
    assert row.flags & TYPE == kind, f"{path!r}: flags {row.flags:#x} for mode {row.mode:o}"
    assert row.mtimens is None or 0 <= row.mtimens < 10**9, f"{path!r}: mtimens {row.mtimens}"
    assert 0 <= row.uid < 1 << 32, f"{path!r}: uid {row.uid}"
    assert 0 <= row.gid < 1 << 32, f"{path!r}: gid {row.gid}"
    assert row.is_regular or row.hash is None, f"{path!r}: a hash"
    assert row.is_regular or not row.flags & CHUNKED, f"{path!r}: chunked"
    if row.is_regular and not row.flags & CHUNKED:
        assert row.hash is not None, f"{path!r}: no hash"
        assert len(row.hash) == 20, f"{path!r}: a hash of {len(row.hash)} bytes"
    if row.flags & SYMLINK:
        assert row.symlink, f"{path!r}: a link to nothing"
        assert row.size == len(row.symlink), f"{path!r}: size"
    else:
        assert row.symlink == b"", f"{path!r}: a target"
    if row.flags & DIRECTORY:
        assert row.size == 4096, f"{path!r}: size {row.size}"
    if row.xattr is not None:
        unpack_xattrs(row.xattr)


def _check_chunks(catalog: CatalogFile) -> None:
    chunked = {key for key, row in catalog.rows.items() if row.flags & CHUNKED}
    assert set(catalog.chunks) == chunked, f"catalog {catalog.mountpoint!r}: chunks and flags"
    for key, pieces in catalog.chunks.items():
        row = catalog.rows[key]
        assert len(pieces) > 1, f"{row.name!r}: only one chunk"
        end = 0
        for piece in pieces:
            assert piece.offset == end, f"{row.name!r}: chunks not contiguous at {end}"
            assert piece.size > 0, f"{row.name!r}: an empty chunk"
            assert len(piece.hash) == 20, f"{row.name!r}: a chunk's hash"
            end += piece.size
        assert end == row.size, f"{row.name!r}: chunks of {end} bytes, size {row.size}"


def _check_link_groups(catalog: CatalogFile) -> None:
    groups: defaultdict[int, list[Key]] = defaultdict(list)
    for path, key in catalog.paths.items():
        row = catalog.rows[key]
        if row.link_group:
            assert row.is_regular, f"{path!r}: in a link group"
            groups[row.link_group].append(key)
        elif not row.flags & DIRECTORY:
            assert row.link_count == 1, f"{path!r}: {row.link_count} links without a group"
    for group, keys in groups.items():
        members = [catalog.rows[key] for key in keys]
        names = sorted(row.name for row in members)
        assert len(members) > 1, f"link group {group}: only {names}"
        counts = {row.link_count for row in members}
        assert counts == {len(members)}, f"link group {group}, {names}: counts {counts}"
        same = {row._replace(name=b"") for row in members}
        assert len(same) == 1, f"link group {group}: members differ: {members}"
        pieces = {catalog.chunks.get(key) for key in keys}
        assert len(pieces) == 1, f"link group {group}: members' chunks differ"


def _count(catalog: CatalogFile) -> dict[str, int]:
    rows = list(catalog.rows.values())
    regular = [row for row in rows if row.is_regular]
    chunked = [row for row in rows if row.flags & CHUNKED]
    external = [row for row in rows if row.flags & EXTERNAL]
    return {
        "regular": len(regular),
        "symlink": sum(row.flags & TYPE == FILE | SYMLINK for row in rows),
        "special": sum(row.flags & TYPE == FILE | SPECIAL for row in rows),
        "dir": sum(row.flags & TYPE == DIRECTORY for row in rows),
        "nested": len(catalog.nested),
        "chunked": len(chunked),
        "chunks": sum(len(pieces) for pieces in catalog.chunks.values()),
        "file_size": sum(row.size for row in regular),
        "chunked_size": sum(row.size for row in chunked),
        "xattr": sum(row.xattr is not None for row in rows),
        "external": len(external),
        "external_file_size": sum(row.size for row in external),
    }


# The other side: what is on disk


def facts_on_disk(directory: bytes) -> dict[bytes, Fact]:
    """What a repository must show once *directory* is published."""
    facts = {}
    pending = [b""]
    while pending:
        path = pending.pop()
        status = os.lstat(directory + path)
        names = os.listdir(directory + path)
        paths = [path + b"/" + name for name in names]
        below = [(p, os.lstat(directory + p)) for p in paths]
        subdirectories = [p for p, s in below if stat.S_ISDIR(s.st_mode)]
        facts[path] = _disk_fact(directory + path, status, 2 + len(subdirectories), frozenset())
        pending += subdirectories
        # A group ends at its directory: the format has no links across directories.
        groups: defaultdict[int, set[bytes]] = defaultdict(set)
        for p, s in below:
            if stat.S_ISREG(s.st_mode):
                groups[s.st_ino].add(p)
        for p, s in below:
            if not stat.S_ISDIR(s.st_mode):
                links = frozenset(groups.get(s.st_ino, ()))
                alone = len(links) < 2
                facts[p] = _disk_fact(
                    directory + p, s, 1 if alone else len(links), frozenset() if alone else links
                )
    return facts


def _disk_fact(file: bytes, status: os.stat_result, nlink: int, links: frozenset[bytes]) -> Fact:
    mode = status.st_mode
    device = stat.S_ISBLK(mode) or stat.S_ISCHR(mode)
    size, sha256, target = 0, "", b""
    if stat.S_ISDIR(mode):
        size = 4096
    elif stat.S_ISREG(mode):
        with open(file, "rb") as stream:
            content = stream.read()
        size, sha256 = len(content), hashlib.sha256(content).hexdigest()
    elif stat.S_ISLNK(mode):
        target = os.readlink(file)
        size = len(target)
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    return Fact(
        type=_TYPES[stat.S_IFMT(mode)],
        mode=stat.S_IMODE(mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=size,
        mtime=seconds,
        mtime_ns=nanoseconds,
        nlink=nlink,
        links=links,
        sha256=sha256,
        target=target,
        rdev=status.st_rdev if device else 0,
        xattrs={} if stat.S_ISLNK(mode) else _disk_xattrs(file),
    )


def _disk_xattrs(file: bytes) -> dict[bytes, bytes]:
    """The attributes that mean something elsewhere, as far as the format can hold them."""
    try:
        names = os.listxattr(file, follow_symlinks=False)
    except OSError:
        return {}
    wanted = [n for n in names if n.startswith(("user.", "system.posix_acl_"))]
    wanted += [n for n in names if n == "security.capability"]
    found = {os.fsencode(n): os.getxattr(file, n, follow_symlinks=False) for n in wanted}
    return {n: value for n, value in found.items() if len(n) < 256 and len(value) < 256}


def differences(found: dict[bytes, Fact], wanted: dict[bytes, Fact]) -> list[str]:
    """What differs between two trees, a line for each path; for messages of failed tests."""
    lines = [f"{path!r}: missing" for path in sorted(wanted.keys() - found.keys())]
    lines += [f"{path!r}: should not be there" for path in sorted(found.keys() - wanted.keys())]
    for path in sorted(found.keys() & wanted.keys()):
        pairs = zip(Fact._fields, found[path], wanted[path])
        wrong = [
            f"{field} {is_!r}, not {should!r}" for field, is_, should in pairs if is_ != should
        ]
        if wrong:
            lines.append(f"{path!r}: " + "; ".join(wrong))
    return lines

"""What is read is what was published: the official samples as the official client showed them,
repositories of pyparrot's own, and catalogs of old schemas.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pwd
import random
import socket
import sqlite3
import stat
import subprocess
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import run_publish
from support.reader import Fact, differences, facts_on_disk
from support.servers import served_by_nginx

from pyparrot import serve
from pyparrot.config import config_directory, load
from pyparrot.publish import keys, signed_files
from pyparrot.publish.settings import settings_file
from pyparrot.repository import open_repository
from pyparrot.sources.cvmfs.catalog_rows import parent_key, path_key
from pyparrot.sources.cvmfs.handles import Body
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash, Kind
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.remote import RemoteRepository
from pyparrot.sources.cvmfs.revisions import Wanted
from pyparrot.sources.cvmfs.signed_text import SignedText
from pyparrot.tree.base import Tree

SQUID = "/usr/sbin/squid"
LIMIT = 30.0

_TYPES = {
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "chardev",
    stat.S_IFBLK: "blockdev",
}

Truth = dict[str, Any]


class Sample(NamedTuple):
    """A truth file: of which repository, from which directory on, at which tag."""

    truth: str
    fqrn: str
    top: bytes = b""
    tag: str | None = None


SAMPLES = {
    "test": Sample("test.cern.ch", "test.cern.ch"),
    "test-v1": Sample("test.cern.ch@v1", "test.cern.ch", tag="v1"),
    "ext": Sample("ext.cern.ch", "ext.cern.ch"),
    "feat": Sample("feat.cern.ch", "feat.cern.ch"),
    "feat-hidden": Sample("feat.cern.ch.hidden-dot-cvmfs", "feat.cern.ch", top=b"/.cvmfs"),
}


def read_truth(directory: Path, sample: Sample) -> dict[bytes, Truth]:
    """The rows of a truth file by path within the repository; the root is empty."""
    rows = {}
    for line in (directory / f"{sample.truth}.truth.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        shown = row.pop("path").encode("utf-8", "surrogateescape")
        # JSON can't hold a name that is not UTF-8.
        raw = bytes.fromhex(row.pop("path_hex")) if "path_hex" in row else shown
        rows[sample.top + raw.rstrip(b"/")] = row
    return rows


def shown(repository: Tree, path: bytes) -> Truth:
    """What *repository* shows of *path*, in the form of a row of truth; no link group yet."""
    found = repository.lookup(path or b"/", follow_symlinks=False)
    node, status = found.node, repository.stat(path or b"/", follow_symlinks=False)
    assert stat.S_IFMT(status.st_mode) == stat.S_IFMT(node.mode)
    row: Truth = {
        "type": _TYPES[stat.S_IFMT(status.st_mode)],
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": status.st_size,
        "mtime": status.st_mtime_ns // 10**9,
        "mtime_ns": status.st_mtime_ns,
        "nlink": status.st_nlink,
    }
    attributes = repository.xattrs(path or b"/", follow_symlinks=False)
    if attributes:
        row["xattrs_hex"] = {name: value.hex() for name, value in attributes.items()}
    if stat.S_ISLNK(status.st_mode):
        row["target"] = repository.readlink(path)
        row["rawlink"] = os.fsdecode(node.target)
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        row["rdev"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    elif stat.S_ISREG(status.st_mode):
        with repository.open(path) as file:
            row["sha256"] = hashlib.sha256(file.read()).hexdigest()
        body = Body.of(node)
        if body.name is not None and any(body.name.digest):
            row["user.hash"] = str(body.name)
        row["user.chunks"] = str(len(body.chunks) or 1)
        row["user.compression"] = body.compression.name.lower()
        row["user.external_file"] = str(int(body.is_external))
        if body.chunks:
            row["chunk_list"] = [
                [str(ContentHash(chunk.digest, body.algorithm)), str(chunk.offset), str(chunk.size)]
                for chunk in body.chunks
            ]
    return row


def assert_equal_to_truth(repository: Tree, truth: dict[bytes, Truth]) -> None:
    wrong = []
    for path, row in truth.items():
        wanted = {name: value for name, value in row.items() if name != "ino_group"}
        found = shown(repository, path)
        wrong += [
            f"{path!r} {name}: {found.get(name)!r}, not {wanted.get(name)!r}"
            for name in sorted(found.keys() | wanted.keys())
            if found.get(name) != wanted.get(name)
        ]
    assert not wrong, "\n".join(wrong)


def assert_link_groups(repository: Tree, truth: dict[bytes, Truth]) -> None:
    """The same inode number means the same link group, and the other way round."""
    by_inode: defaultdict[int, set[object]] = defaultdict(set)
    by_group: defaultdict[object, set[int]] = defaultdict(set)
    for path, row in truth.items():
        inode = repository.stat(path or b"/", follow_symlinks=False).st_ino
        group = row.get("ino_group")
        group = path if group is None else group
        by_inode[inode].add(group)
        by_group[group].add(inode)
    assert [groups for groups in by_inode.values() if len(groups) > 1] == []
    assert [group for group, inodes in by_group.items() if len(inodes) > 1] == []


@pytest.fixture(scope="module")
def site(
    fixtures_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The URL of nginx with all samples below /cvmfs, and the log of its own."""
    home = tmp_path_factory.mktemp("nginx")
    directory = home / "srv" / "cvmfs"
    directory.mkdir(parents=True)
    for entry in fixtures_directory.iterdir():
        if entry.is_dir():
            (directory / entry.name).symlink_to(entry)
    with served_by_nginx(directory) as server:
        yield f"http://127.0.0.1:{server.port}/cvmfs", home / "access.log"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the samples' variant symlinks refer to was not set when the truth was made."""
    for name in list(os.environ):
        if name.startswith(("CVMFS_", "PKGA_", "PKGB_")):
            monkeypatch.delenv(name)


def open_sample(
    sample: Sample, fixtures: Path, url: str, cache: Path, **options: str
) -> RemoteRepository:
    return open_repository(
        sample.fqrn,
        server=f"{url}/@fqrn@",
        key=str(fixtures / f"{sample.fqrn}.pub"),
        cache=str(cache),
        wanted=Wanted(tag=sample.tag) if sample.tag else None,
        options={"CVMFS_EXTERNAL_URL": f"{url}/@fqrn@.external", **options},
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_every_entry_is_the_official_client_s(
    name: str, fixtures_directory: Path, site: tuple[str, Path], tmp_path: Path
) -> None:
    sample = SAMPLES[name]
    truth = read_truth(fixtures_directory, sample)
    with open_sample(sample, fixtures_directory, site[0], tmp_path / "cache") as repository:
        assert_equal_to_truth(repository, truth)
        assert_link_groups(repository, truth)
        assert repository.warnings == []


@pytest.mark.parametrize("name", SAMPLES)
def test_listings_are_the_official_client_s(
    name: str, fixtures_directory: Path, site: tuple[str, Path], tmp_path: Path
) -> None:
    sample = SAMPLES[name]
    truth = read_truth(fixtures_directory, sample)
    names: dict[bytes, set[bytes]] = {
        path: set() for path, row in truth.items() if row["type"] == "dir"
    }
    for path in truth:
        if path != sample.top:
            names[path.rpartition(b"/")[0]].add(path.rpartition(b"/")[2])
    with open_sample(sample, fixtures_directory, site[0], tmp_path / "cache") as repository:
        for path, wanted in names.items():
            listed = [os.fsencode(name) for name in repository.listdir(path or b"/")]
            assert set(listed) == wanted, path
            assert listed == sorted(listed)
        walked = [listed.path for listed in repository.walk(sample.top or b"/")]
        assert len(walked) == len(set(walked))
        assert set(walked) == truth.keys()


def test_a_second_session_needs_no_server(
    fixtures_directory: Path, site: tuple[str, Path], tmp_path: Path
) -> None:
    sample = SAMPLES["test"]
    truth = read_truth(fixtures_directory, sample)
    with open_sample(sample, fixtures_directory, site[0], tmp_path / "cache") as repository:
        assert_equal_to_truth(repository, truth)
    with open_sample(sample, fixtures_directory, site[0], tmp_path / "cache") as repository:
        assert_equal_to_truth(repository, truth)
        assert repository.transport.statistics.requests == 0


def test_variables_of_variant_symlinks(
    fixtures_directory: Path, site: tuple[str, Path], tmp_path: Path
) -> None:
    from pyparrot.cache.store import ObjectStore

    sample = SAMPLES["test"]
    options = {
        "CVMFS_SERVER_URL": f"{site[0]}/@fqrn@",
        "CVMFS_PUBLIC_KEY": str(fixtures_directory / f"{sample.fqrn}.pub"),
    }
    environment = {
        b"CVMFS_TEST_VARIANT": b"",  # set, though empty: not the default
        b"CVMFS_TEST_NAME": b"big",
        b"CVMFS_TEST_UNSET": b"x",
        b"HOME": b"/root",
    }
    store = ObjectStore(str(tmp_path / "cache"))
    with RemoteRepository(load(sample.fqrn, options), store, None, environment) as repository:
        for name, target in {
            "variant": "",
            "variant_mid": "../big.txt",
            "variant_two": "../big.txt",
            "variant_nodefault": "x",
            "variant_nodefault_mid": "../xhello.txt",
            "variant_unclosed": "$(CVMFS_TEST",
            "dollar": "$HOME/x",
        }.items():
            assert repository.readlink(f"/links/{name}") == target
            status = repository.stat(f"/links/{name}", follow_symlinks=False)
            assert status.st_size == len(target)


# Through a real proxy


@contextlib.contextmanager
def running_squid() -> Iterator[tuple[str, Path]]:
    """squid in the foreground: its URL and its access log."""
    if not os.path.exists(SQUID):
        pytest.skip(f"no {SQUID}: apt-get install squid")
    # Not pytest's directory: squid refuses to be root, and others may not enter that one.
    with tempfile.TemporaryDirectory(prefix="pyparrot-squid-") as name:
        home = Path(name)
        for _ in range(3):  # the port is free until somebody else takes it
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            process = start_squid(home, port)
            try:
                if answers(process, port):
                    yield f"http://127.0.0.1:{port}", home / "access.log"
                    return
            finally:
                process.terminate()
                try:
                    process.wait(LIMIT)
                finally:
                    process.kill()
        pytest.fail(f"squid does not start: {(home / 'cache.log').read_text()}")


def start_squid(home: Path, port: int) -> subprocess.Popen[bytes]:
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    configuration = home / "squid.conf"
    configuration.write_text(
        f"""\
http_port 127.0.0.1:{port}
acl clients src 127.0.0.1/32
http_access allow clients
http_access deny all
collapsed_forwarding on
cache_mem 128 MB
maximum_object_size_in_memory 32 MB
memory_cache_shared off
visible_hostname localhost
pid_filename none
access_log stdio:{home}/access.log
cache_log {home}/cache.log
cache_store_log none
netdb_filename none
pinger_enable off
coredump_dir {home}
shutdown_lifetime 0 seconds
"""
    )
    configuration.chmod(0o644)
    return subprocess.Popen(
        [SQUID, "-N", "-f", configuration],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=home,
        **user,
    )


def answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


def asked(log: Path) -> list[str]:
    """The lines of squid's log about requests: `answers` makes none."""
    lines = log.read_text().splitlines()
    return [line for line in lines if "transaction-end-before-headers" not in line]


def test_through_squid(fixtures_directory: Path, site: tuple[str, Path], tmp_path: Path) -> None:
    with running_squid() as (proxy, log):
        options = {"CVMFS_HTTP_PROXY": proxy, "CVMFS_EXTERNAL_HTTP_PROXY": proxy}
        requests = 0
        for cache in ("first", "second"):
            for name in ("test", "ext"):
                sample = SAMPLES[name]
                truth = read_truth(fixtures_directory, sample)
                with open_sample(
                    sample, fixtures_directory, site[0], tmp_path / cache, **options
                ) as repository:
                    assert_equal_to_truth(repository, truth)
                    assert repository.warnings == []
                    requests += repository.transport.statistics.requests
                    assert repository.transport.active_proxy == proxy
                    if repository.external is not None:
                        requests += repository.external.statistics.requests
        deadline = time.monotonic() + LIMIT
        while len(lines := asked(log)) < requests and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(lines) == requests
        # The second client's objects came from squid's own cache (parts of files do not).
        hits = [line for line in lines if "HIT" in line and "/data/" in line]
        assert len(hits) * 2 == len([line for line in lines if "/data/" in line])


# Repositories made by pyparrot

FQRN = "sw.example.org"


class Made(NamedTuple):
    """How a repository is made: words for ``publish init``, and sizes of chunks in bytes."""

    words: tuple[str, ...]
    chunks: tuple[int, int, int]


MADE = {
    "sha1": Made((), (4096, 8192, 16384)),
    "shake128": Made(("--hash", "shake128"), (4096, 8192, 16384)),
    "rmd160": Made(("--hash", "rmd160"), (1024, 2048, 4096)),
    "plain": Made(("--compression", "none"), (4096, 8192, 16384)),
    "shake128-plain": Made(("--hash", "shake128", "--compression", "none"), (64, 128, 256)),
    "whole": Made(("--no-chunks",), (4096, 8192, 16384)),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with a bit of everything, and catalogs nested in each other."""
    dice = random.Random(1)
    top = tmp_path / "source"
    for directory in ("empty", "a/b/c", "sticky", "a/b-sibling", "big"):
        (top / directory).mkdir(parents=True)
    for directory in ("a", "a/b", "a/b/c", "a/b-sibling"):
        (top / directory / ".cvmfscatalog").touch()
        for number in range(5):
            (top / directory / f"f{number}").write_bytes(dice.randbytes(number * 100))
    (top / "big" / "random").write_bytes(dice.randbytes(150_000))
    (top / "big" / "zeros").write_bytes(bytes(100_000))
    (top / "a" / "b" / "c" / "deep.bin").write_bytes(dice.randbytes(60_001))
    (top / "empty.txt").touch()
    os.link(top / "a" / "f1", top / "a" / "g1")
    os.link(top / "a" / "b" / "f2", top / "a" / "b" / "g2")
    (top / "link").symlink_to("a/b/f3")
    (top / "broken").symlink_to("/nowhere/\u00e9")
    (top / "variant").symlink_to("$(CVMFS_NOT_SET:-a)/f1")
    os.mkfifo(top / "fifo")
    (top / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"x")
    (top / "name with blank; 100%").write_bytes(b"y")
    (top / ("n" * 255)).write_bytes(b"z")
    (top / "sticky").chmod(0o1777)
    (top / "empty.txt").chmod(0o4755)
    os.utime(top / "empty.txt", ns=(0, -1_500_000_001))
    with contextlib.suppress(OSError):  # not every file system has them
        os.setxattr(top / "a" / "f1", "user.key", b"\0value\xff")
    return top


def shown_fact(repository: Tree, path: bytes, links: frozenset[bytes]) -> Fact:
    row = shown(repository, path)
    names = {"dir": "directory", "chardev": "character device", "blockdev": "block device"}
    status = repository.stat(path or b"/", follow_symlinks=False)
    return Fact(
        type=names.get(row["type"]) or str(row["type"]),
        mode=stat.S_IMODE(status.st_mode),
        uid=row["uid"],
        gid=row["gid"],
        # A variant symlink is as long as its expansion; what is compared is what was published.
        size=len(os.fsencode(row["rawlink"])) if "rawlink" in row else row["size"],
        mtime=status.st_mtime_ns // 10**9,
        mtime_ns=status.st_mtime_ns % 10**9,
        nlink=row["nlink"],
        links=links,
        sha256=row.get("sha256", ""),
        target=os.fsencode(row.get("rawlink", "")),
        rdev=status.st_rdev,
        xattrs={
            os.fsencode(k): v
            for k, v in repository.xattrs(path or b"/", follow_symlinks=False).items()
        },
    )


def shown_facts(repository: Tree, paths: list[bytes]) -> dict[bytes, Fact]:
    groups: defaultdict[int, set[bytes]] = defaultdict(set)
    for path in paths:
        groups[repository.stat(path or b"/", follow_symlinks=False).st_ino].add(path)
    return {
        path: shown_fact(repository, path, frozenset(group) if len(group) > 1 else frozenset())
        for group in groups.values()
        for path in group
    }


def publish_made(made: Made, storage: Path, source: Path) -> None:
    run_publish("init", FQRN, "--storage", storage, *made.words)
    names = ("CVMFS_MIN_CHUNK_SIZE", "CVMFS_AVG_CHUNK_SIZE", "CVMFS_MAX_CHUNK_SIZE")
    with open(settings_file(FQRN), "a", encoding="ascii") as file:
        file.writelines(f"{name}={size}\n" for name, size in zip(names, made.chunks))
    run_publish("sync", FQRN, source, "--quiet")


@pytest.mark.parametrize("name", MADE)
def test_what_pyparrot_published(name: str, source: Path, tmp_path: Path) -> None:
    made = MADE[name]
    storage = tmp_path / "cvmfs"
    publish_made(made, storage, source)
    wanted = facts_on_disk(os.fsencode(source))
    with serve.Server(storage) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/cvmfs/@fqrn@"
        with open_repository(FQRN, server=url, cache=str(tmp_path / "cache")) as repository:
            found = shown_facts(repository, list(wanted))
            chunks = len(Body.of(repository.lookup(b"/big/random").node).chunks)
            walked = {listed.path for listed in repository.walk()}
    assert not differences(found, wanted), "\n".join(differences(found, wanted))
    assert (chunks == 0) == (name == "whole")
    assert chunks == 0 or 150_000 // made.chunks[2] <= chunks <= 150_000 // made.chunks[0]
    assert walked == wanted.keys()


# Catalogs of old schemas


class Schema(NamedTuple):
    """What a catalog of an old schema has, and what it lacks."""

    version: str
    revision: str | None
    columns: str
    has_chunks: bool
    nested_size: bool


_KEYS = "md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER"
_BODY = "hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, flags INTEGER, name TEXT"
_FIRST = f"{_KEYS}, inode INTEGER, {_BODY}, symlink TEXT"
_OWNED = f"{_KEYS}, hardlinks INTEGER, {_BODY}, symlink TEXT, uid INTEGER, gid INTEGER"

SCHEMAS = {
    "2.0": Schema("2.0", None, _FIRST, False, False),
    "2.1": Schema("2.1", None, _OWNED, False, False),
    "2.2": Schema("2.2", None, _OWNED, False, False),
    "2.3": Schema("2.3", None, _OWNED, False, False),
    "2.4": Schema("2.4", None, _OWNED, True, False),
    "2.5.0": Schema("2.5", "0", _OWNED, True, False),
    "2.5.1": Schema("2.5", "1", _OWNED, True, True),
    "2.5.2": Schema("2.5", "2", f"{_OWNED}, xattr BLOB", True, True),
}

_CONTENT = b"of old\n"


class Publication(NamedTuple):
    """The files of a repository that tests change, and the keys that sign it."""

    root: Path
    signing: keys.SigningKeys

    def put(self, content: bytes, kind: Kind) -> ContentHash:
        """Store an object."""
        packed = zlib.compress(content)
        name = Algorithm.SHA1.of(packed)
        (self.root / name.path(kind)).write_bytes(packed)
        return name

    def publish(self, catalog: ContentHash) -> None:
        """Sign a manifest for another root catalog."""
        file = self.root / ".cvmfspublished"
        manifest = Manifest.parse(SignedText.parse(file.read_bytes()).text)._replace(
            catalog=catalog
        )
        file.write_bytes(signed_files.sign_manifest(manifest, self.signing, Algorithm.SHA1))


def old_row(path: bytes, flags: int, mode: int, **more: object) -> dict[str, object]:
    first, second = path_key(path)
    above, beside = parent_key(path)
    row: dict[str, object] = {
        **{"md5path_1": first, "md5path_2": second, "parent_1": above, "parent_2": beside},
        **{"inode": 7, "hardlinks": 1, "hash": None, "size": 4096, "mode": mode},
        **{"mtime": 1234567890, "flags": flags, "name": path.rpartition(b"/")[2].decode()},
        **{"symlink": "", "uid": 11, "gid": 22, "xattr": None},
    }
    return {**row, **more}


def old_catalog(
    file: Path,
    schema: Schema,
    rows: list[dict[str, object]],
    nested: list[tuple[str, str]],
    chunks: list[tuple[object, ...]],
    prefix: str = "",
) -> bytes:
    """A catalog with only the tables and columns that *schema* has."""
    columns = [column.split()[0] for column in schema.columns.split(", ")]
    with contextlib.closing(sqlite3.connect(file)) as database:
        run = database.execute
        run(f"CREATE TABLE catalog ({schema.columns}, PRIMARY KEY (md5path_1, md5path_2))")
        run("CREATE TABLE properties (key TEXT, value TEXT, PRIMARY KEY (key))")
        size = ", size INTEGER" if schema.nested_size else ""
        run(f"CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT{size}, PRIMARY KEY (path))")
        run("INSERT INTO properties VALUES ('schema', ?)", (schema.version,))
        if schema.revision is not None:
            run("INSERT INTO properties VALUES ('schema_revision', ?)", (schema.revision,))
        if prefix:
            run("INSERT INTO properties VALUES ('root_prefix', ?)", (prefix,))
        if schema.has_chunks:
            run(
                "CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER,"
                " size INTEGER, hash BLOB)"
            )
            database.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?, ?)", chunks)
        marks = ", ".join("?" * len(columns))
        database.executemany(
            f"INSERT INTO catalog ({', '.join(columns)}) VALUES ({marks})",
            [[row[column] for column in columns] for row in rows],
        )
        database.executemany("INSERT INTO nested_catalogs (path, sha1) VALUES (?, ?)", nested)
        database.commit()
    return file.read_bytes()


@pytest.mark.parametrize("name", SCHEMAS)
def test_old_schemas(name: str, tmp_path: Path) -> None:
    schema = SCHEMAS[name]
    (tmp_path / "source").mkdir()
    run_publish("init", FQRN, "--storage", tmp_path / "cvmfs")
    run_publish("sync", FQRN, tmp_path / "source", "--quiet")
    made = Publication(tmp_path / "cvmfs" / FQRN, keys.load_signing_keys(FQRN))
    body = {"hash": made.put(_CONTENT, Kind.BODY).digest, "size": len(_CONTENT)}
    pieces = [made.put(piece, Kind.CHUNK).digest for piece in (_CONTENT[:3], _CONTENT[3:])]
    offsets = [(0, 3), (3, len(_CONTENT) - 3)]
    nested = old_catalog(
        tmp_path / "nested.sqlite",
        schema,
        [
            old_row(b"/nested", 33, stat.S_IFDIR | 0o755),
            old_row(b"/nested/inner", 4, stat.S_IFREG | 0o444, **body),
        ],
        [],
        [],
        prefix="/nested",
    )
    rows = [
        old_row(b"", 1, stat.S_IFDIR | 0o755),
        old_row(b"/dir", 1, stat.S_IFDIR | 0o700),
        old_row(b"/dir/file", 4, stat.S_IFREG | 0o640, **body),
        old_row(b"/link", 12, stat.S_IFLNK | 0o777, symlink="dir/file", size=8),
        old_row(b"/nested", 3, stat.S_IFDIR | 0o755),
    ]
    if schema.has_chunks:
        rows.append(old_row(b"/chunked", 68, stat.S_IFREG | 0o644, size=len(_CONTENT)))
    root = old_catalog(
        tmp_path / "root.sqlite",
        schema,
        rows,
        [("/nested", str(made.put(nested, Kind.CATALOG)))],
        [(*path_key(b"/chunked"), *place, digest) for place, digest in zip(offsets, pieces)],
    )
    made.publish(made.put(root, Kind.CATALOG))
    assert config_directory(os.environ).startswith(str(tmp_path))

    with serve.Server(tmp_path / "cvmfs") as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/cvmfs/@fqrn@"
        with open_repository(FQRN, server=url, cache=str(tmp_path / "cache")) as repository:
            files = ["/dir/file", "/link", "/nested/inner"]
            for path in files + ["/chunked"] * schema.has_chunks:
                with repository.open(path) as file:
                    assert file.read() == _CONTENT, path
            status = repository.stat("/dir/file")
            owners = (0, 0) if schema.columns is _FIRST else (11, 22)
            assert (status.st_uid, status.st_gid) == owners
            assert (status.st_mode, status.st_nlink) == (stat.S_IFREG | 0o640, 1)
            assert status.st_mtime_ns == 1234567890 * 10**9
            assert repository.readlink("/link") == "dir/file"
            assert repository.xattrs("/dir/file") == {}
            assert repository.listdir("/nested") == ["inner"]
            assert set(repository.listdir("/")) == {
                *("dir", "link", "nested"),
                *(["chunked"] if schema.has_chunks else []),
            }

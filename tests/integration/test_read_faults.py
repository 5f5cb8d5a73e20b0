"""Nothing that is broken, forged or slow is believed: each fault ends in one clear line, leaves no
bad byte in the cache, and is survived where a second server or proxy is good.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import re
import resource
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from support import run_publish, run_pyparrot
from support.faulty_server import (
    Behaviour,
    FaultyServer,
    Handler,
    body,
    dead_port,
    forward,
    garbage,
    hang_up,
    redirect,
    reset,
    silent,
    slow_body,
    status,
    truncated,
)

from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError, understood
from pyparrot.publish import keys, signed_files
from pyparrot.publish.settings import settings_file
from pyparrot.repository import open_repository
from pyparrot.sources.cvmfs import signature
from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash, Kind
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.remote import RemoteRepository
from pyparrot.sources.cvmfs.signed_text import SignedText
from pyparrot.sources.cvmfs.trust_chain import TrustError
from pyparrot.tree.base import Tree

FQRN = "sw.example.org"
OTHER = "other.example.org"
MANIFEST = ".cvmfspublished"
WHITELIST = ".cvmfswhitelist"
OPTIONS = {
    "CVMFS_TIMEOUT": "1",
    "CVMFS_TIMEOUT_DIRECT": "1",
    "CVMFS_BACKOFF_INIT": "0",
    "CVMFS_BACKOFF_MAX": "0",
    "CVMFS_MAX_RETRIES": "0",
    "CVMFS_FOLLOW_REDIRECTS": "yes",
}
"""Everything fails soon."""

FILES = {
    "/top.txt": b"at the top\n" * 100,
    "/big.bin": random.Random(7).randbytes(200_000),
    "/nested/inner.txt": b"in a nested catalog\n" * 50,
}


class Site:
    """A published repository: its files, its keys, and what forgers need."""

    def __init__(self, home: Path) -> None:
        self.root = home / "cvmfs" / FQRN
        self.other = home / "cvmfs" / OTHER
        self.config = home / "config"
        self.public_key = str(self.config / "pyparrot" / "keys" / f"{FQRN}.pub")
        self.wrong_key = str(self.config / "pyparrot" / "keys" / f"{OTHER}.pub")
        source = home / "source"
        for name, content in FILES.items():
            (source / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            (source / name[1:]).write_bytes(content)
        (source / "nested" / ".cvmfscatalog").touch()
        with self.configured():
            for fqrn in (FQRN, OTHER):
                run_publish("init", fqrn, "--storage", home / "cvmfs")
                sizes = zip(("MIN", "AVG", "MAX"), (16384, 32768, 65536))
                with open(settings_file(fqrn), "a", encoding="ascii") as file:
                    file.writelines(f"CVMFS_{name}_CHUNK_SIZE={size}\n" for name, size in sizes)
            self.first_manifest = (self.root / MANIFEST).read_bytes()
            run_publish("sync", FQRN, source, "--quiet")
            self.signing = keys.load_signing_keys(FQRN)
            self.master = keys.load_master_key(keys.key_file(FQRN, "masterkey"))
        self.manifest: Manifest = Manifest.parse(SignedText.parse(self.read(MANIFEST)).text)
        assert self.manifest.certificate is not None
        self.links: dict[str, str] = {
            "whitelist": WHITELIST,
            "certificate": self.manifest.certificate.path(Kind.CERTIFICATE),
            "manifest": MANIFEST,
            "root catalog": self.manifest.catalog.path(Kind.CATALOG),
            **self._links_below(),
        }

    def _links_below(self) -> dict[str, str]:
        """Where what hangs on the root catalog lies."""
        with edited(self.read_object(self.manifest.catalog, Kind.CATALOG)) as (database, _):
            nested = database.execute("SELECT sha1 FROM nested_catalogs").fetchone()[0]
            top = database.execute("SELECT hash FROM catalog WHERE name = 'top.txt'").fetchone()[0]
            chunks = database.execute("SELECT hash FROM chunks ORDER BY offset").fetchall()
        assert len(chunks) > 2
        return {
            "nested catalog": ContentHash.parse(nested).path(Kind.CATALOG),
            "object": ContentHash(top, Algorithm.SHA1).path(Kind.BODY),
            "chunk": ContentHash(chunks[1][0], Algorithm.SHA1).path(Kind.CHUNK),
        }

    @contextlib.contextmanager
    def configured(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CONFIG_HOME", str(self.config))
            yield

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def read_object(self, name: ContentHash, kind: Kind) -> bytes:
        return zlib.decompress(self.read(name.path(kind)))

    # What a forger with some keys can do: each gives files that replace the good ones.

    def signed(self, **changes: Any) -> dict[str, bytes]:
        """A manifest that says something else, signed as it should be."""
        manifest = self.manifest._replace(**changes)
        return {MANIFEST: signed_files.sign_manifest(manifest, self.signing, Algorithm.SHA1)}

    def with_root(self, catalog: bytes) -> dict[str, bytes]:
        """Another root catalog, all signatures right."""
        packed = zlib.compress(catalog)
        name = Algorithm.SHA1.of(packed)
        return {name.path(Kind.CATALOG): packed, **self.signed(catalog=name)}

    def with_catalog(self, *statements: str, below: str = "/") -> dict[str, bytes]:
        """A catalog on which *statements* were run, all signatures and hashes right."""
        if below == "/":
            return self.with_root(self._changed(self.manifest.catalog, statements))
        name = ContentHash.parse(self.links["nested catalog"][5:-1].replace("/", ""))
        packed = zlib.compress(self._changed(name, statements))
        new = Algorithm.SHA1.of(packed)
        moved = f"UPDATE nested_catalogs SET sha1 = '{new}' WHERE path = '{below}'"
        return {new.path(Kind.CATALOG): packed, **self.with_catalog(moved)}

    def _changed(self, name: ContentHash, statements: tuple[str, ...]) -> bytes:
        with edited(self.read_object(name, Kind.CATALOG)) as (database, file):
            for statement in statements:
                database.execute(statement)
            database.commit()
            database.execute("VACUUM")
            return file.read_bytes()


@contextlib.contextmanager
def edited(catalog: bytes) -> Iterator[tuple[sqlite3.Connection, Path]]:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "catalog"
        file.write_bytes(catalog)
        with contextlib.closing(sqlite3.connect(file)) as database:
            yield database, file


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A repository, published once; tests change what its server says and never its files."""
    return Site(tmp_path_factory.mktemp("site"))


def serving(site: Site, files: Mapping[str, bytes] | None = None) -> Behaviour:
    """Behave well; *files* replace those of the repository."""
    files = files or {}

    def behave(handler: Handler) -> None:
        path = handler.path.partition("?")[0].lstrip("/")
        try:
            content = files[path] if path in files else site.read(path)
        except FileNotFoundError:
            handler.send(404, b"none\n")
        else:
            handler.send(200, content)

    return behave


def flipped(content: bytes) -> bytes:
    """One bit is another; in signed texts it is one of the text."""
    place = min(len(content) // 2, 60)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def open_site(
    site: Site, server: str, cache: Path, key: str | None = None, **options: str
) -> RemoteRepository:
    return open_repository(
        FQRN,
        server=server,
        key=key or site.public_key,
        cache=str(cache),
        options={**OPTIONS, **options},
    )


def read_all(repository: Tree) -> dict[str, bytes]:
    found = {}
    for name in FILES:
        with repository.open(name) as file:
            found[name] = file.read()
    return found


def assert_clear(error: BaseException, *says: str) -> None:
    """One line, and it names what broke and why."""
    assert isinstance(error, (PyparrotError, OSError)), repr(error)
    for line in (str(error), str(understood(error))):
        assert "\n" not in line
        for words in says:
            assert re.search(words, line), f"{words!r} not in {line!r}"


def assert_nothing_bad(cache: Path, site: Site, files: Mapping[str, bytes] | None = None) -> None:
    """What has a name in the store has the content of that name, and nothing else is there."""
    files = files or {}
    with ObjectStore(str(cache)) as store:
        names = [name for name, _ in store.files()]
        for name in names:
            assert_genuine(Path(store.path(name)).read_bytes(), name, site, files)
        assert sorted(record.name for record in store.records()) == sorted(names)
    assert os.listdir(cache / "txn") == []
    for fqrn in os.listdir(cache / "manifests"):
        raw = (cache / "manifests" / fqrn).read_bytes()
        assert raw in (site.read(MANIFEST), site.first_manifest, files.get(MANIFEST))


def assert_genuine(content: bytes, name: str, site: Site, files: Mapping[str, bytes]) -> None:
    if name.endswith("W"):
        assert content == FILES["/big.bin"]
        return
    # An index is our own file; it must be one of a catalog that was verified.
    catalog, dot, _ = name.partition(".")
    path = f"data/{catalog[:2]}/{catalog[2:]}"
    packed = files.get(path) or site.read(path)
    assert Algorithm.SHA1.of(packed).digest.hex() == catalog[:40]
    if not dot:
        assert content == zlib.decompress(packed)


def read_all_but(bad: str, repository: Tree) -> BaseException:
    """Read the files that are whole; gives the error of the one that is not."""
    for name, content in FILES.items():
        if name != bad:
            with repository.open(name) as file:
                assert file.read() == content
    with pytest.raises(OSError, match=r".") as caught:
        repository.open(bad)
    return caught.value


# One flipped bit

LINKS = {
    # the link: where its fault shows, what the message says beside the link's own name
    "manifest": ("open", r"corrupt"),
    "certificate": ("open", r"does not have the hash|zlib"),
    "whitelist": ("open", r"corrupt|wrong key"),
    "root catalog": ("open", r"does not have the hash|zlib"),
    "nested catalog": ("/nested/inner.txt", r"does not have the hash|zlib"),
    "object": ("/top.txt", r"does not have the hash|zlib"),
    "chunk": ("/big.bin", r"does not have the hash|zlib"),
}


@pytest.mark.parametrize("link", LINKS)
def test_a_flipped_bit(link: str, site: Site, tmp_path: Path) -> None:
    shows, says = LINKS[link]
    path = site.links[link]
    bad = {path: flipped(site.read(path))}
    with FaultyServer(serving(site, bad)) as server, contextlib.ExitStack() as stack:
        error: BaseException | None = None
        try:
            repository = stack.enter_context(open_site(site, server.url, tmp_path / "cache"))
            error = read_all_but(shows, repository)
        except (PyparrotError, OSError) as raised:
            assert shows == "open"
            error = raised
        assert error is not None
        assert_clear(error, re.escape(path), says)
        # Asked once more past all caches, and that is all.
        asked = [request for request in server.requests if request.target == f"/{path}"]
        assert [request.headers["Pragma"] for request in asked] == [None, "no-cache"]
    assert_nothing_bad(tmp_path / "cache", site)


@pytest.mark.parametrize("link", LINKS)
def test_a_flipped_bit_with_a_second_server(link: str, site: Site, tmp_path: Path) -> None:
    bad = {site.links[link]: flipped(site.read(site.links[link]))}
    with (
        FaultyServer(serving(site, bad)) as first,
        FaultyServer(serving(site)) as second,
        open_site(site, f"{first.url};{second.url}", tmp_path / "cache") as repository,
    ):
        assert read_all(repository) == FILES
        assert second.count > 0
    assert_nothing_bad(tmp_path / "cache", site)


@pytest.mark.parametrize("link", LINKS)
def test_a_flipped_bit_in_a_proxy_s_cache(link: str, site: Site, tmp_path: Path) -> None:
    """A cache on the way may hold what is corrupt: asked for past it, the same proxy serves."""
    path = site.links[link]

    def behave(handler: Handler) -> None:
        fresh = handler.headers["Cache-Control"] == "no-cache"
        content = site.read(path)
        handler.send(200, content if fresh else flipped(content))

    with FaultyServer(serving(site)) as origin, FaultyServer(forward(like_squid=True)) as proxy:
        proxy.on(f"/{path}", behave)
        with open_site(
            site, origin.url, tmp_path / "cache", CVMFS_HTTP_PROXY=proxy.url
        ) as repository:
            assert read_all(repository) == FILES
    assert_nothing_bad(tmp_path / "cache", site)


# Keys, names and dates

Forgery = Callable[[Site], Mapping[str, bytes]]


def by_another_key(site: Site) -> Mapping[str, bytes]:
    """A manifest and a certificate of somebody whom the whitelist does not list."""
    with site.configured():
        signing = keys.load_signing_keys(OTHER)
    packed = zlib.compress(signing.pem)
    name = Algorithm.SHA1.of(packed)
    manifest = site.manifest._replace(certificate=name)
    signed = signed_files.sign_manifest(manifest, signing, Algorithm.SHA1)
    return {name.path(Kind.CERTIFICATE): packed, MANIFEST: signed}


def signed_by_another_key(site: Site) -> Mapping[str, bytes]:
    """The right certificate, and a signature that is not by its key."""
    with site.configured():
        signing = keys.load_signing_keys(OTHER)
    return {MANIFEST: signed_files.sign_manifest(site.manifest, signing, Algorithm.SHA1)}


def expired_whitelist(site: Site) -> Mapping[str, bytes]:
    raw = signed_files.sign_whitelist(FQRN, site.signing, site.master, -1, Algorithm.SHA1)
    return {WHITELIST: raw}


def whitelist_by_another_key(site: Site) -> Mapping[str, bytes]:
    key = signature.new_private_key()
    return {WHITELIST: signed_files.sign_whitelist(FQRN, site.signing, key, 30, Algorithm.SHA1)}


def no_certificate(site: Site) -> Mapping[str, bytes]:
    """An object of the right hash that is no certificate."""
    packed = zlib.compress(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    name = Algorithm.SHA1.of(packed)
    return {name.path(Kind.CERTIFICATE): packed, **site.signed(certificate=name)}


def cut(path: str, end: int) -> Forgery:
    return lambda site: {path: site.read(path)[:end]}


FORGERIES: dict[str, tuple[Forgery, str, str]] = {
    # what is forged: how, which link the message names, and what it says
    "another repository's manifest": (
        lambda site: {MANIFEST: (site.other / MANIFEST).read_bytes()},
        MANIFEST,
        f"another repository: {OTHER}",
    ),
    "another repository's whitelist": (
        lambda site: {WHITELIST: (site.other / WHITELIST).read_bytes()},
        WHITELIST,
        f"another repository: {OTHER}",
    ),
    "expired whitelist": (expired_whitelist, WHITELIST, "expired on"),
    "whitelist by another key": (whitelist_by_another_key, WHITELIST, "wrong key"),
    "certificate that is not listed": (by_another_key, FQRN, "does not list this certificate"),
    "manifest by another key": (signed_by_another_key, MANIFEST, "signature"),
    "no certificate": (no_certificate, "", "not a certificate"),
    "manifest without a certificate": (
        lambda site: site.signed(certificate=None),
        MANIFEST,
        "names no certificate",
    ),
    "empty manifest": (cut(MANIFEST, 0), MANIFEST, "corrupt"),
    "manifest without signature": (cut(MANIFEST, 300), MANIFEST, "corrupt"),
    "manifest with half a signature": (cut(MANIFEST, -100), MANIFEST, "signature"),
    "whitelist with half a signature": (cut(WHITELIST, -100), WHITELIST, "wrong key"),
    "empty whitelist": (cut(WHITELIST, 0), WHITELIST, "corrupt"),
    "huge manifest": (
        lambda site: {MANIFEST: site.read(MANIFEST) + bytes(2 << 20)},
        MANIFEST,
        "allowed",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries(name: str, site: Site, tmp_path: Path) -> None:
    forge, link, says = FORGERIES[name]
    files = forge(site)
    with (
        FaultyServer(serving(site, files)) as server,
        pytest.raises((PyparrotError, OSError)) as caught,
    ):
        open_site(site, server.url, tmp_path / "cache")
    assert_clear(caught.value, re.escape(link), says)
    assert_nothing_bad(tmp_path / "cache", site, files)
    assert os.listdir(tmp_path / "cache" / "manifests") == []


def test_the_wrong_master_key(site: Site, tmp_path: Path) -> None:
    with FaultyServer(serving(site)) as server, pytest.raises(PyparrotError) as caught:
        open_site(site, server.url, tmp_path / "cache", key=site.wrong_key)
    assert_clear(caught.value, re.escape(WHITELIST), "wrong key")
    assert_nothing_bad(tmp_path / "cache", site)


def forget_the_time(cache: Path) -> None:
    """Let the manifest in the cache be so old that the servers are asked again."""
    os.utime(cache / "manifests" / FQRN, (1, 1))


def test_an_older_manifest(site: Site, tmp_path: Path) -> None:
    with FaultyServer(serving(site)) as server:
        with open_site(site, server.url, tmp_path / "cache") as repository:
            revision = repository.manifest.revision if repository.manifest else 0
        server.on(f"/{MANIFEST}", body(site.first_manifest))
        forget_the_time(tmp_path / "cache")
        with open_site(site, server.url, tmp_path / "cache") as repository:
            assert repository.manifest is not None
            assert repository.manifest.revision == revision
            [warning] = repository.warnings
            assert FQRN in warning
            assert f"the newer {revision} is kept" in warning
            assert read_all(repository) == FILES
    assert_nothing_bad(tmp_path / "cache", site)


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_when_something_is_known(name: str, site: Site, tmp_path: Path) -> None:
    """A forged update is not taken: nothing opens, or what was there before if it is not read."""
    forge, _, says = FORGERIES[name]
    with FaultyServer(serving(site)) as server:
        open_site(site, server.url, tmp_path / "cache").close()
    forget_the_time(tmp_path / "cache")
    files = forge(site)
    with FaultyServer(serving(site, files)) as server:
        if name == "huge manifest":  # as if the server were not there
            with open_site(site, server.url, tmp_path / "cache") as repository:
                assert "offline, revision 2" in repository.warnings[0]
                assert repository.manifest == site.manifest
        else:
            with pytest.raises(TrustError) as caught:
                open_site(site, server.url, tmp_path / "cache")
            assert_clear(caught.value, says)
    assert (tmp_path / "cache" / "manifests" / FQRN).read_bytes() == site.read(MANIFEST)


# Transport


class Fault(NamedTuple):
    """A fault of a server, or of a proxy if it can be one's own, and what the message says."""

    behave: Callable[[bytes], Behaviour]
    says: str
    of_proxies: bool = True
    """Whether another proxy is tried: an answer like any server's does not say whose it is."""


FAULTS = {
    "404": Fault(lambda content: status(404), "HTTP 404 not found", False),
    "403": Fault(lambda content: status(403), "HTTP 403 forbidden"),
    "500": Fault(lambda content: status(500), "HTTP 500 internal server error", False),
    "502": Fault(lambda content: status(502), "HTTP 502 bad gateway", False),
    "502 of squid": Fault(
        lambda content: status(502, X_Squid_Error="ERR_CONNECT_FAIL 111"), "HTTP 502"
    ),
    "429": Fault(lambda content: status(429), "HTTP 429 too many requests", False),
    "redirect loop": Fault(lambda content: redirect("?again"), "too many redirects", False),
    "reset": Fault(lambda content: reset, "reset"),
    "hang-up": Fault(lambda content: hang_up, "closed"),
    "truncated": Fault(lambda content: truncated(content[:-1]), "cut short"),
    "truncated, and says so": Fault(
        lambda content: body(content[:-1]), "cut off|corrupt|hash|wrong key|signature", False
    ),
    "silent": Fault(lambda content: silent, "silent for 1 s"),
    "a byte a second": Fault(lambda content: slow_body(content, 1, 0.3), "slower than 1024"),
    "not HTTP": Fault(lambda content: garbage, "not an HTTP answer"),
    "encoded": Fault(
        lambda content: body(content, Content_Encoding="gzip"), "encoded as 'gzip'", False
    ),
    "zlib bomb": Fault(
        lambda content: body(zlib.compress(bytes(50 << 20))),
        "unpacks to more|hash|corrupt|no signature",
        False,
    ),
}

_AT = ("manifest", "nested catalog", "object", "chunk")


@pytest.mark.parametrize("link", _AT)
@pytest.mark.parametrize("name", FAULTS)
def test_transport_faults(name: str, link: str, site: Site, tmp_path: Path) -> None:
    fault, path = FAULTS[name], site.links[link]
    with FaultyServer(serving(site)) as server, contextlib.ExitStack() as stack:
        server.on(f"/{path}", fault.behave(site.read(path)))
        begin = time.monotonic()
        with pytest.raises((PyparrotError, OSError)) as caught:
            read_all(stack.enter_context(open_site(site, server.url, tmp_path / "cache")))
        assert time.monotonic() - begin < 15
        assert_clear(caught.value, re.escape(path), fault.says)
    assert_nothing_bad(tmp_path / "cache", site)


@pytest.mark.parametrize("link", _AT)
@pytest.mark.parametrize("name", FAULTS)
def test_transport_faults_with_a_second_server(
    name: str, link: str, site: Site, tmp_path: Path
) -> None:
    path = site.links[link]
    with FaultyServer(serving(site)) as first, FaultyServer(serving(site)) as second:
        first.on(f"/{path}", FAULTS[name].behave(site.read(path)))
        servers = f"{first.url};{second.url}"
        with open_site(site, servers, tmp_path / "cache") as repository:
            assert read_all(repository) == FILES
            assert repository.warnings == []
        assert second.count > 0
    assert_nothing_bad(tmp_path / "cache", site)


@pytest.mark.parametrize("link", ["manifest", "object", "chunk"])
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.of_proxies])
def test_transport_faults_with_a_second_proxy(
    name: str, link: str, site: Site, tmp_path: Path
) -> None:
    path = site.links[link]
    with (
        FaultyServer(serving(site)) as server,
        FaultyServer(forward(like_squid=True)) as first,
        FaultyServer(forward(like_squid=True)) as second,
    ):
        first.on(f"/{path}", FAULTS[name].behave(site.read(path)))
        proxies = f"{first.url};{second.url}"
        with open_site(
            site, server.url, tmp_path / "cache", CVMFS_HTTP_PROXY=proxies
        ) as repository:
            assert read_all(repository) == FILES
            assert repository.warnings == []
        assert first.count > 0
        assert second.count > 0
    assert_nothing_bad(tmp_path / "cache", site)


@pytest.mark.parametrize("what", ["server", "proxy"])
def test_what_does_not_exist_at_all(what: str, site: Site, tmp_path: Path) -> None:
    with dead_port() as port, FaultyServer(serving(site)) as server:
        dead = f"http://127.0.0.1:{port}"
        with FaultyServer(forward(like_squid=True)) as proxy:
            alone: dict[str, dict[str, str]] = {
                "server": {"server": dead},
                "proxy": {"server": server.url, "CVMFS_HTTP_PROXY": dead},
            }
            survived: dict[str, dict[str, str]] = {
                "server": {"server": f"{dead};{server.url}"},
                "proxy": {"server": server.url, "CVMFS_HTTP_PROXY": f"{dead};{proxy.url}"},
            }
            with pytest.raises(PyparrotError) as caught:
                open_site(site, cache=tmp_path / "cache", **alone[what])
            assert_clear(caught.value, re.escape(MANIFEST), "refused")
            with open_site(site, cache=tmp_path / "cache", **survived[what]) as repository:
                assert read_all(repository) == FILES
    assert_nothing_bad(tmp_path / "cache", site)


def test_offline_what_was_read_before_is_there(site: Site, tmp_path: Path) -> None:
    with FaultyServer(serving(site)) as server:
        with open_site(site, server.url, tmp_path / "cache") as repository:
            for name in ("/top.txt", "/nested/inner.txt"):
                repository.open(name).close()
        url = server.url
    forget_the_time(tmp_path / "cache")
    with open_site(site, url, tmp_path / "cache") as repository:
        [warning] = repository.warnings
        assert re.search(f"{FQRN}: offline, revision", warning)
        for name in ("/top.txt", "/nested/inner.txt"):
            with repository.open(name) as file:
                assert file.read() == FILES[name]
        with pytest.raises(OSError, match="refused") as caught:
            repository.open("/big.bin")
        assert_clear(caught.value, "data/")
    assert_nothing_bad(tmp_path / "cache", site)


def test_what_failed_works_once_it_is_repaired(site: Site, tmp_path: Path) -> None:
    path = site.links["object"]
    with FaultyServer(serving(site)) as server:
        server.on(f"/{path}", *[body(flipped(site.read(path)))] * 2, body(site.read(path)))
        with open_site(site, server.url, tmp_path / "cache") as repository:
            with pytest.raises(OSError, match=r"hash|zlib"):
                repository.open("/top.txt")
            assert read_all(repository) == FILES
    assert_nothing_bad(tmp_path / "cache", site)


# Catalogs that are signed, and hostile


def renamed(name: str) -> str:
    """Name a file so; *name* is an expression of SQL."""
    return f"UPDATE catalog SET name = CAST({name} AS TEXT) WHERE name = 'top.txt'"


class Hostile(NamedTuple):
    """What was done to a catalog, and what the message says."""

    statements: tuple[str, ...]
    says: str = ""


HOSTILE = {
    "..": Hostile((renamed("'..'"),), "a bad name"),
    ".": Hostile((renamed("'.'"),), "a bad name"),
    "/": Hostile((renamed("'a/b'"),), "a bad name"),
    "only /": Hostile((renamed("'/'"),), "a bad name"),
    "NUL": Hostile((renamed("x'610062'"),), "a bad name"),
    "empty name": Hostile((renamed("''"),), "a bad name"),
    "long name": Hostile((renamed("hex(zeroblob(150))"),), "a bad name"),
    "name is NULL": Hostile(("UPDATE catalog SET name = NULL WHERE name = 'top.txt'",)),
    "name is a number": Hostile((renamed("'x'").replace("CAST('x' AS TEXT)", "zeroblob(2)"),)),
    "the same name twice": Hostile((renamed("'big.bin'"),), "twice"),
    "NUL in a symlink": Hostile(
        (
            "UPDATE catalog SET flags = 12, mode = 41471, symlink = CAST(x'610062' AS TEXT)"
            " WHERE name = 'top.txt'",
        ),
        "a bad symlink",
    ),
    "a type that contradicts": Hostile(
        ("UPDATE catalog SET mode = 16877 WHERE name = 'top.txt'",), "flags contradict"
    ),
    "a directory in itself": Hostile(
        ("UPDATE catalog SET parent_1 = md5path_1, parent_2 = md5path_2 WHERE name = ''",),
        "a bad name|below",
    ),
    "no root": Hostile(("DELETE FROM catalog WHERE name = ''",), "no root directory"),
    "no table": Hostile(("ALTER TABLE catalog RENAME TO something",), "no such"),
    "no column": Hostile(("ALTER TABLE catalog RENAME COLUMN mode TO mood",), "no such column"),
    "no nested catalogs": Hostile(("DELETE FROM nested_catalogs",), "no catalog for"),
    "nested hash is NULL": Hostile(("UPDATE nested_catalogs SET sha1 = NULL",)),
    "nested hash is a number": Hostile(("UPDATE nested_catalogs SET sha1 = zeroblob(9)",)),
    "nested hash is text": Hostile(("UPDATE nested_catalogs SET sha1 = '../../etc/passwd'",)),
    "hash too short": Hostile(
        ("UPDATE catalog SET hash = x'00' WHERE name = 'top.txt'",), "a hash of 1 bytes"
    ),
    "hash is a number": Hostile(("UPDATE catalog SET hash = 5 WHERE name = 'top.txt'",)),
    "unknown hash algorithm": Hostile(
        ("UPDATE catalog SET flags = flags | 1792 WHERE name = 'top.txt'",)
    ),
    "unknown compression": Hostile(
        ("UPDATE catalog SET flags = flags | 14336 WHERE name = 'top.txt'",)
    ),
    "size is text": Hostile(("UPDATE catalog SET size = 'x' WHERE name = 'top.txt'",)),
    "negative size": Hostile(("UPDATE catalog SET size = -1 WHERE name = 'top.txt'",)),
    "wrong size": Hostile(
        ("UPDATE catalog SET size = size - 1 WHERE name = 'top.txt'",), "unpacks to more than"
    ),
    "mode is NULL": Hostile(("UPDATE catalog SET mode = NULL WHERE name = 'top.txt'",)),
    "huge mode": Hostile(("UPDATE catalog SET mode = 1 << 40 WHERE name = 'top.txt'",)),
    "nanoseconds out of range": Hostile(
        ("UPDATE catalog SET mtimens = 1 << 40 WHERE name = 'top.txt'",)
    ),
    "huge TTL": Hostile(
        ("INSERT OR REPLACE INTO properties VALUES ('TTL', '9' || hex(zeroblob(20)))",)
    ),
    "TTL is no number": Hostile(("INSERT OR REPLACE INTO properties VALUES ('TTL', 'soon')",)),
    "huge revision": Hostile(
        ("UPDATE properties SET value = '9' || hex(zeroblob(20)) WHERE key = 'revision'",)
    ),
    "chunks with a gap": Hostile(
        ("UPDATE chunks SET offset = offset + 1 WHERE offset > 0",), "do not make up the file"
    ),
    "chunks that overlap": Hostile(
        ("UPDATE chunks SET size = size + 1 WHERE offset = 0",), "do not make up the file"
    ),
    "chunk of a negative size": Hostile(("UPDATE chunks SET size = -5 WHERE offset = 0",)),
    "no chunks": Hostile(("DELETE FROM chunks",)),
    "chunk hash too short": Hostile(("UPDATE chunks SET hash = x'01'",)),
    "chunk hash is NULL": Hostile(("UPDATE chunks SET hash = NULL",)),
    "columns that are not UTF-8": Hostile(("bytes",)),
    "broken attributes": Hostile(
        ("UPDATE catalog SET xattr = x'01FF0000' WHERE name = 'top.txt'",)
    ),
    "attributes are text": Hostile(("UPDATE catalog SET xattr = 5 WHERE name = 'top.txt'",)),
}

_HARMLESS = {"columns that are not UTF-8"}
"""What may be taken as it is, as nothing depends on it."""


def hostile_files(name: str, site: Site) -> dict[str, bytes]:
    hostile = HOSTILE[name]
    if hostile.statements != ("bytes",):
        return site.with_catalog(*hostile.statements)
    # SQLite itself would not make this column.
    statement = "ALTER TABLE catalog ADD COLUMN unusual_column INTEGER"
    with edited(site.read_object(site.manifest.catalog, Kind.CATALOG)) as (database, file):
        database.execute(statement)
        database.commit()
        changed = file.read_bytes().replace(b"unusual_column", b"unusual\xff\xfecolum")
    return site.with_root(changed)


def use_everything(repository: Tree) -> None:
    """What a program might do with a tree."""
    for listed in list(repository.walk()):
        repository.stat(listed.path or b"/", follow_symlinks=False)
        repository.xattrs(listed.path or b"/", follow_symlinks=False)
    assert read_all(repository) == FILES


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_catalogs(name: str, site: Site, tmp_path: Path) -> None:
    files = hostile_files(name, site)
    with FaultyServer(serving(site, files)) as server, contextlib.ExitStack() as stack:
        try:
            repository = stack.enter_context(open_site(site, server.url, tmp_path / "cache"))
            use_everything(repository)
        except (PyparrotError, OSError) as error:
            assert_clear(error, HOSTILE[name].says)
        else:
            assert name in _HARMLESS
    assert_nothing_bad(tmp_path / "cache", site, files)


@pytest.mark.parametrize("below", ["/", "/nested"])
def test_a_bad_name_is_reported_with_its_catalog(below: str, site: Site, tmp_path: Path) -> None:
    name = {"/": "top.txt", "/nested": "inner.txt"}[below]
    files = site.with_catalog(f"UPDATE catalog SET name = '..' WHERE name = '{name}'", below=below)
    with FaultyServer(serving(site, files)) as server, contextlib.ExitStack() as stack:
        with pytest.raises(OSError, match=f"bad catalog at {below}: ") as caught:
            read_all(stack.enter_context(open_site(site, server.url, tmp_path / "cache")))
        assert_clear(caught.value, FQRN, r"a bad name: b'\.\.'")
    assert_nothing_bad(tmp_path / "cache", site, files)


def test_a_bad_catalog_is_not_asked_for_again_and_again(site: Site, tmp_path: Path) -> None:
    """Once more in each process, in case the cache had it wrong; then it is the publisher's."""
    statement = "UPDATE catalog SET name = '..' WHERE name = 'inner.txt'"
    files = site.with_catalog(statement, below="/nested")
    bad = {path for path in files if path.endswith("C")}
    with (
        FaultyServer(serving(site, files)) as server,
        open_site(site, server.url, tmp_path / "cache") as repository,
    ):
        for _ in range(20):
            with pytest.raises(OSError, match="bad catalog at /nested"):
                repository.stat("/nested/inner.txt")
        asked = [request.target[1:] for request in server.requests if request.target[1:] in bad]
        assert sorted(asked.count(path) for path in bad) == [1, 2]


def broken_databases(catalog: bytes) -> dict[str, bytes]:
    dice = random.Random(3)
    noise = bytearray(catalog)
    for _ in range(len(catalog) // 50):
        noise[dice.randrange(100, len(noise))] = dice.randrange(256)
    return {
        "empty": b"",
        "text": b"not a database\n" * 100,
        "half": catalog[: len(catalog) // 2],
        "one page": catalog[:1024],
        "a header": catalog[:100],
        "noise": bytes(noise),
        "zeros behind the header": catalog[:100] + bytes(len(catalog) - 100),
        "huge page count": catalog[:28] + b"\x7f\xff\xff\xff" + catalog[32:],
    }


@pytest.mark.parametrize("name", broken_databases(bytes(1000)))
def test_broken_databases(name: str, site: Site, tmp_path: Path) -> None:
    good = site.read_object(site.manifest.catalog, Kind.CATALOG)
    files = site.with_root(broken_databases(good)[name])
    with FaultyServer(serving(site, files)) as server, contextlib.ExitStack() as stack:
        try:
            use_everything(stack.enter_context(open_site(site, server.url, tmp_path / "cache")))
        except (PyparrotError, OSError) as error:
            assert_clear(error, "catalog|data/")
        else:
            assert name == "huge page count"  # which SQLite does not believe either
    assert_nothing_bad(tmp_path / "cache", site, files)


ENDLESS = (
    "DROP TABLE chunks",
    "CREATE VIEW chunks AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n)"
    " SELECT x AS md5path_1, x AS md5path_2, x AS offset, x AS size, NULL AS hash FROM n",
)


def _open_with_little_memory(url: str, key: str, cache: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (4, 4))
    try:
        open_repository(FQRN, server=url, key=key, cache=cache, options=OPTIONS)
    except (PyparrotError, OSError):
        os._exit(0)
    except BaseException:
        os._exit(3)
    os._exit(4)


def test_a_query_that_never_ends(site: Site, tmp_path: Path) -> None:
    """A "table" may be a view that counts for ever; in a process of its own, should it do."""
    files = site.with_catalog(*ENDLESS)
    with FaultyServer(serving(site, files)) as server:
        process = multiprocessing.get_context("spawn").Process(
            target=_open_with_little_memory,
            args=(server.url, site.public_key, str(tmp_path / "cache")),
        )
        process.start()
        process.join(15)
        try:
            assert process.exitcode == 0, "it ran on until it was killed, or ran out of memory"
        finally:
            process.kill()
            process.join()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE tags SET hash = NULL", "UPDATE tags SET hash = 7", "DROP TABLE tags", "garbage"],
)
def test_hostile_histories(statement: str, site: Site, tmp_path: Path) -> None:
    assert site.manifest.history is not None
    with edited(site.read_object(site.manifest.history, Kind.HISTORY)) as (database, file):
        if statement == "garbage":
            content = b"garbage"
        else:
            database.execute(statement)
            database.commit()
            content = file.read_bytes()
    packed = zlib.compress(content)
    name = Algorithm.SHA1.of(packed)
    files = {name.path(Kind.HISTORY): packed, **site.signed(history=name)}
    with (
        FaultyServer(serving(site, files)) as server,
        pytest.raises((PyparrotError, OSError)) as caught,
    ):
        open_site(site, server.url, tmp_path / "cache", CVMFS_REPOSITORY_TAG="trunk").tags()
    assert_clear(caught.value, FQRN, "tag")
    assert_nothing_bad(tmp_path / "cache", site, files)


# The cache itself


def damage(file: Path, content: bytes) -> None:
    file.chmod(0o600)
    file.write_bytes(content)
    file.chmod(0o400)


@contextlib.contextmanager
def warm(site: Site, cache: Path) -> Iterator[tuple[str, ObjectStore]]:
    """A cache with all of the repository."""
    with FaultyServer(serving(site)) as server:
        with open_site(site, server.url, cache) as repository:
            assert read_all(repository) == FILES
        with ObjectStore(str(cache)) as store:
            yield server.url, store


def test_a_flipped_bit_in_a_cached_index(site: Site, tmp_path: Path) -> None:
    """The head of an index is checked whenever it is opened: a damaged one is made anew."""
    with warm(site, tmp_path / "cache") as (url, store):
        for name in [name for name, _ in store.files() if "." in name]:
            path = Path(store.path(name))
            damage(path, b"\0" + path.read_bytes()[1:])
        with open_site(site, url, tmp_path / "cache") as repository:
            assert read_all(repository) == FILES
    assert_nothing_bad(tmp_path / "cache", site)


@pytest.mark.parametrize("name", ["/top.txt", "/big.bin"])
def test_a_truncated_cached_object(name: str, site: Site, tmp_path: Path) -> None:
    """What a machine that lost power may leave: its size tells."""
    with warm(site, tmp_path / "cache") as (url, _):
        with open_site(site, url, tmp_path / "cache") as repository:
            file = Path(repository.fetch(name))
        times = file.stat()
        damage(file, FILES[name][:-1])
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        with (
            open_site(site, url, tmp_path / "cache") as repository,
            repository.open(name) as stream,
        ):
            assert stream.read() == FILES[name]


def cached(store: ObjectStore, pattern: str) -> Path:
    """The one object in the cache whose name fits."""
    [name] = [name for name, _ in store.files() if re.fullmatch(pattern, name)]
    return Path(store.path(name))


CACHED: dict[str, Callable[[Site], str]] = {
    "object": lambda site: site.links["object"][5:].replace("/", ""),
    "chunked file": lambda _: "[0-9a-f]{40}W",
    "root catalog": lambda site: f"{site.manifest.catalog}C",
    "index": lambda site: f"{site.manifest.catalog}C[.].*",
}


@pytest.mark.parametrize("what", CACHED)
def test_a_flipped_bit_in_the_cache(what: str, site: Site, tmp_path: Path) -> None:
    """What the disk itself may do: a check of the cache finds it, and it is fetched or made again.

    Not at each open: that would cost much, and CernVM-FS does not do so either.
    """
    with warm(site, tmp_path / "cache") as (url, store):
        path = cached(store, CACHED[what](site))
        content, times = path.read_bytes(), path.stat()
        damage(path, content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert store.find(store.name(str(path)))
        result = run_pyparrot(["cache", "verify", "--quiet", "--cache", str(tmp_path / "cache")])
        assert result.status == 1
        assert f"{path}: corrupt, removed\n" in result.out
        with open_site(site, url, tmp_path / "cache") as repository:
            assert read_all(repository) == FILES
        result = run_pyparrot(["cache", "verify", "--quiet", "--cache", str(tmp_path / "cache")])
        assert (result.status, result.out) == (0, "")
    assert_nothing_bad(tmp_path / "cache", site)


@pytest.mark.parametrize("what", CACHED)
def test_an_altered_object_is_fetched_again(what: str, site: Site, tmp_path: Path) -> None:
    """Writing to an object changes its time, and that is looked at when it is opened."""
    with warm(site, tmp_path / "cache") as (url, store):
        path = cached(store, CACHED[what](site))
        damage(path, flipped(path.read_bytes()))
        if what == "root catalog":  # which nobody looks at while there is an index of it
            store.discard(store.name(str(cached(store, CACHED["index"](site)))))
        with open_site(site, url, tmp_path / "cache") as repository:
            assert read_all(repository) == FILES
    assert_nothing_bad(tmp_path / "cache", site)


def test_a_damaged_manifest_in_the_cache_is_fetched_again(site: Site, tmp_path: Path) -> None:
    with warm(site, tmp_path / "cache") as (url, _):
        known = tmp_path / "cache" / "manifests" / FQRN
        for content in (b"", b"garbage", flipped(known.read_bytes()), known.read_bytes()[:200]):
            known.write_bytes(content)
            with open_site(site, url, tmp_path / "cache") as repository:
                assert repository.manifest == site.manifest
                assert read_all(repository) == FILES
            assert known.read_bytes() == site.read(MANIFEST)


def test_a_cache_that_goes_away(site: Site, tmp_path: Path) -> None:
    """When a cache that is in use is removed, what follows goes into a new one."""
    import shutil

    with FaultyServer(serving(site)) as server, contextlib.ExitStack() as stack:
        repository = stack.enter_context(open_site(site, server.url, tmp_path / "cache"))
        repository.open("/top.txt").close()
        shutil.rmtree(tmp_path / "cache" / "objects")
        shutil.rmtree(tmp_path / "cache" / "txn")
        with repository.open("/top.txt") as file:
            assert file.read() == FILES["/top.txt"]


def test_an_object_that_is_always_evicted(site: Site, tmp_path: Path) -> None:
    """Others may evict what was just fetched; that is bounded."""
    with (
        FaultyServer(serving(site)) as server,
        open_site(site, server.url, tmp_path / "cache") as repository,
    ):
        original = repository.fetch

        def fetch_in_vain(path: str) -> str:
            os.unlink(file := original(path))
            return file

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(repository, "fetch", fetch_in_vain)
            with pytest.raises(OSError, match="gone whenever") as caught:
                repository.open("/top.txt")
        assert_clear(caught.value, "/top.txt")
        assert read_all(repository) == FILES

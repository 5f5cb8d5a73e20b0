"""Which revision is read: the newest, or by tag, date, number or hash; and never an older one than
this cache has seen, nor one that is blacklisted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import run_publish

from pyparrot import serve
from pyparrot.errors import PyparrotError
from pyparrot.publish import keys, signed_files
from pyparrot.publish.keys import SigningKeys
from pyparrot.repository import open_repository
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.remote import RemoteRepository
from pyparrot.sources.cvmfs.revisions import Wanted
from pyparrot.sources.cvmfs.signature import certificate_der
from pyparrot.sources.cvmfs.signed_text import SignedText
from pyparrot.sources.cvmfs.whitelist import fingerprint, fingerprint_text

FQRN = "sw.example.org"
TAGS = ("one", "two", "three")


class Site(NamedTuple):
    """A repository whose ``/which`` names the tag of each revision, on a server."""

    root: Path
    url: str
    key: str
    signing: SigningKeys

    @property
    def manifest(self) -> Manifest:
        return Manifest.parse(SignedText.parse(self.manifest_file.read_bytes()).text)

    @property
    def manifest_file(self) -> Path:
        return self.root / ".cvmfspublished"

    def publish(self, **changes: Any) -> None:
        """Put another manifest on the server, signed as it should be."""
        manifest = self.manifest._replace(**changes)
        self.manifest_file.write_bytes(
            signed_files.sign_manifest(manifest, self.signing, Algorithm.SHA1)
        )

    def open(
        self, cache: Path, wanted: Wanted | None = None, /, **options: str
    ) -> RemoteRepository:
        return open_repository(
            FQRN,
            server=self.url,
            key=self.key,
            cache=str(cache),
            wanted=wanted,
            refresh=True,
            options=options,
        )


def which(repository: RemoteRepository) -> str:
    with repository, repository.open("/which") as file:
        return file.read().decode()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    source = tmp_path / "source"
    source.mkdir()
    run_publish("init", FQRN, "--storage", tmp_path / "cvmfs")
    for tag in TAGS:
        (source / "which").write_text(tag)
        run_publish("sync", FQRN, source, "--quiet", "--tag", tag)
    key = str(tmp_path / "config" / "pyparrot" / "keys" / f"{FQRN}.pub")
    with serve.Server(tmp_path / "cvmfs") as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/cvmfs/{FQRN}"
        yield Site(tmp_path / "cvmfs" / FQRN, url, key, keys.load_signing_keys(FQRN))


def test_every_way_to_choose(site: Site, tmp_path: Path) -> None:
    with site.open(tmp_path / "cache") as newest:
        tags = {tag.name: tag for tag in newest.tags()}
        assert which(newest) == "three"
    for name in TAGS:
        tag = tags[name]
        for wanted in (
            Wanted(tag=name),
            Wanted(revision=tag.revision),
            Wanted(root_hash=tag.catalog),
        ):
            assert which(site.open(tmp_path / "cache", wanted)) == name
        by_tag = site.open(tmp_path / "cache", None, CVMFS_REPOSITORY_TAG=name)
        by_hash = site.open(tmp_path / "cache", None, CVMFS_ROOT_HASH=str(tag.catalog))
        assert which(by_tag) == which(by_hash) == name


def test_by_date(site: Site, tmp_path: Path) -> None:
    with site.open(tmp_path / "cache") as newest:
        times = [tag.timestamp for tag in newest.tags() if tag.name in TAGS]
        assert len(times) == len(TAGS)
    # Tags of the same second: the highest revision of them counts.
    last = dict(zip(times, TAGS))
    for time, name in last.items():
        assert which(site.open(tmp_path / "cache", Wanted(date=time))) == name
    for time in (times[-1] + 1, times[-1] + 10**6):
        assert which(site.open(tmp_path / "cache", Wanted(date=time))) == "three"
    by_date = site.open(tmp_path / "cache", None, CVMFS_REPOSITORY_DATE="2038-01-19T03:14:07Z")
    assert which(by_date) == "three"


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(tag="four"), "no tag four"),
        (Wanted(date=5), "no tag is so old"),
        (Wanted(revision=99), "no tag names revision 99"),
        (Wanted(root_hash=Algorithm.SHA1.of(b"x")), "not available"),
    ],
)
def test_what_is_not_there(wanted: Wanted, says: str, site: Site, tmp_path: Path) -> None:
    with pytest.raises((PyparrotError, OSError), match=says):
        site.open(tmp_path / "cache", wanted)


@pytest.mark.parametrize(
    "options", [{"CVMFS_REPOSITORY_DATE": "yesterday"}, {"CVMFS_ROOT_HASH": "../../etc"}]
)
def test_parameters_that_can_t_be(options: dict[str, str], site: Site, tmp_path: Path) -> None:
    with pytest.raises(PyparrotError, match=FQRN):
        site.open(tmp_path / "cache", None, **options)


def test_a_fixed_root_needs_no_manifest(site: Site, tmp_path: Path) -> None:
    root = site.manifest.catalog
    site.manifest_file.unlink()
    (site.root / ".cvmfswhitelist").unlink()
    with site.open(tmp_path / "cache", Wanted(root_hash=root)) as repository:
        assert repository.manifest is None
        assert which(repository) == "three"


@pytest.mark.parametrize(
    "changes",
    [
        {"revision": 1},
        {"published": 1_000_000_000},
        {"revision": 1, "published": 4_000_000_000},
        {"revision": 99, "published": 1_000_000_000},
    ],
)
def test_revisions_never_go_backwards(changes: dict[str, int], site: Site, tmp_path: Path) -> None:
    """A signed old revision may be shown again to new clients, but not to one that knew a newer."""
    before = site.manifest
    assert which(site.open(tmp_path / "cache")) == "three"
    site.publish(**changes)
    for _ in range(2):
        with site.open(tmp_path / "cache") as repository:
            assert repository.manifest == before
            assert any("is kept" in warning for warning in repository.warnings)
    # A cache that has seen nothing can't know.
    with site.open(tmp_path / "other") as repository:
        assert repository.manifest == site.manifest


def test_a_damaged_memory_does_not_keep_updates_away(site: Site, tmp_path: Path) -> None:
    site.open(tmp_path / "cache").close()
    known = tmp_path / "cache" / "manifests" / FQRN
    raw = known.read_bytes()
    revision = b"\nS%d\n" % site.manifest.revision
    assert revision in raw
    known.write_bytes(raw.replace(revision, b"\nS9\n"))
    with site.open(tmp_path / "cache") as repository:
        assert repository.manifest == site.manifest
        assert repository.warnings == []


def test_blacklisted_revisions(site: Site, tmp_path: Path) -> None:
    blacklist = tmp_path / "blacklist"
    option = {"CVMFS_BLACKLIST": str(blacklist)}
    current = site.manifest.revision
    assert which(site.open(tmp_path / "cache", None, **option)) == "three"
    blacklist.write_text(f"<{FQRN} {current}\n")
    assert which(site.open(tmp_path / "cache", None, **option)) == "three"
    says = f"revision {current - 1} is blacklisted, as are all below {current}"
    with pytest.raises(PyparrotError, match=says):
        site.open(tmp_path / "cache", Wanted(tag="two"), **option)
    blacklist.write_text(f"<{FQRN} {current + 1}\n")
    for cache in ("cache", "other"):  # known or not
        with pytest.raises(PyparrotError, match=f"revision {current} is blacklisted"):
            site.open(tmp_path / cache, None, **option)


def test_a_blacklisted_certificate(site: Site, tmp_path: Path) -> None:
    blacklist = tmp_path / "blacklist"
    der = certificate_der(site.signing.certificate)
    blacklist.write_text(fingerprint_text(fingerprint(der, Algorithm.SHAKE128)) + "\n")
    with pytest.raises(PyparrotError, match="the certificate is blacklisted"):
        site.open(tmp_path / "cache", CVMFS_BLACKLIST=str(blacklist))
    assert os.listdir(tmp_path / "cache" / "manifests") == []


def test_a_blacklist_that_can_t_be_read_is_not_passed_over(site: Site, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        site.open(tmp_path / "cache", CVMFS_BLACKLIST=str(tmp_path))


def test_threads_ask_for_the_same_at_once(site: Site, tmp_path: Path) -> None:
    """One download for all who want an object."""
    with site.open(tmp_path / "cache") as repository:
        before = repository.transport.statistics.requests
        start = threading.Barrier(16)
        found: list[str] = []

        def read() -> None:
            start.wait(10)
            with repository.open("/which") as file:
                found.append(file.read().decode())

        threads = [threading.Thread(target=read) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == ["three"] * 16
        assert repository.transport.statistics.requests == before + 1

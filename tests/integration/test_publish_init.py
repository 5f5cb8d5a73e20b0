"""Making a repository, and its settings: what is refused, and that nothing is overwritten."""

from __future__ import annotations

import errno
import os
import stat
import sys

import pytest
from support.publishing import (
    FAILURE,
    FQRN,
    OTHER,
    Site,
    assert_one_line,
)

# What Python prints of errors in finalizers would be more than one line.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


# Making a repository


def test_init_never_overwrites(site: Site) -> None:
    kept = {path: path.read_bytes() for path in (site.config / "keys").iterdir()}
    with site.unharmed():
        site.bad("init", FQRN, "--storage", site.base / "new", why="exists already")
        assert not (site.base / "new").exists()
        settings = site.settings.read_bytes()
        site.overwrite(site.settings, None)
        site.bad("init", FQRN, "--storage", site.base / "new", why=r"key: exists already \(move it")
        site.bad("init", FQRN, "--storage", site.storage, why="there is a repository already")
        site.restore()
        assert site.settings.read_bytes() == settings
        assert kept == {path: path.read_bytes() for path in (site.config / "keys").iterdir()}


@pytest.mark.parametrize("extension", ["masterkey", "pub", "key", "crt"])
def test_init_beside_a_single_key(vacant: Site, extension: str) -> None:
    file = vacant.key(extension)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"precious")
    init = ("init", FQRN, "--storage", vacant.storage)
    vacant.bad(*init, why=rf"{extension}: exists already \(move it away")
    assert file.read_bytes() == b"precious"
    assert list(file.parent.iterdir()) == [file]
    file.unlink()
    vacant.good(*init)
    vacant.check()


def test_keys_are_private(vacant: Site) -> None:
    previous = os.umask(0)
    try:
        vacant.good("init", FQRN, "--storage", vacant.storage)
        vacant.good("resign", FQRN, "--new-certificate")
    finally:
        os.umask(previous)
    directory = vacant.config / "keys"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in directory.iterdir():
        wanted = 0o644 if file.suffix == ".pub" else 0o600
        assert stat.S_IMODE(file.stat().st_mode) == wanted, file
    writable = [path for path in vacant.root.rglob("*") if path.stat().st_mode & 0o022]
    assert not [path for path in writable if path.is_file()]


def test_init_into_a_file(vacant: Site) -> None:
    (vacant.base / "file").touch()
    vacant.bad("init", FQRN, "--storage", vacant.base / "file", why="file/.*: Not a directory")
    assert_no_repository(vacant)


def test_init_into_what_cannot_be_written(ordinary: Site) -> None:
    ordinary.storage.chmod(0o500)
    if ordinary.run("sync", FQRN, ordinary.source).status == 0:
        raise AssertionError
    result = ordinary.run("init", FQRN, "--storage", ordinary.storage)
    assert_one_line(result, r"storage/sw.example.org: Permission denied")
    assert_no_repository(ordinary)
    ordinary.storage.chmod(0o755)
    assert ordinary.run("init", FQRN, "--storage", ordinary.storage).status == 0
    keys = ordinary.base / "config" / "pyparrot" / "keys"
    keys.chmod(0o500)
    result = ordinary.run("init", OTHER, "--storage", ordinary.storage)
    keys.chmod(0o700)  # or it can't be removed
    assert_one_line(result, r"keys/other.example.org.masterkey: Permission denied")
    assert not (ordinary.storage / OTHER).exists()


@pytest.mark.parametrize("where", ["_fill", "settings.save"])
@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device", "/x"), KeyboardInterrupt()]
)
def test_init_failing_midway(
    vacant: Site, monkeypatch: pytest.MonkeyPatch, where: str, failure: BaseException
) -> None:
    """Nothing is left that would keep the next try from working."""

    def fail(*arguments: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(f"pyparrot.publish.create.{where}", fail)
        result = vacant.call("init", FQRN, "--storage", vacant.storage)
        assert result.status == (130 if isinstance(failure, KeyboardInterrupt) else FAILURE)
    assert_no_repository(vacant)
    vacant.good("init", FQRN, "--storage", vacant.storage)
    vacant.publish_something()


def assert_no_repository(site: Site) -> None:
    left = [path for path in site.config.rglob("*") if path.is_file()]
    assert left == []
    assert not (site.root / ".cvmfspublished").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--chunk-size", "4:8"), "--chunk-size: not MIN:AVG:MAX in MB: 4:8"),
        (("--chunk-size", "8:4:16"), "chunk sizes must grow"),
        (("--chunk-size", "0:0:0"), "chunk sizes must grow"),
        (("--chunk-size", "a:b:c"), "--chunk-size: not MIN"),
        (("--chunk-size", "-1:2:3"), "chunk-size"),
        (("--chunk-size", "1:2:99999"), "chunk sizes must grow"),
        (("--chunk-size", "1:2:999999"), "--chunk-size: not MIN"),
        (("--chunk-size", "²:8:16"), "--chunk-size: not MIN"),
        (("--chunk-size", "4:\n8:16\x1b"), "--chunk-size: not MIN"),
        (("--hash", "md5"), "--hash"),
        (("--compression", "lzma"), "--compression"),
        (("--ttl", "-1"), "ttl"),
        (("--ttl", "1e3"), "not a number: 1e3"),
        (("--ttl", "1234567890"), "not a number: 1234567890"),
        (("--whitelist-days", "999999999"), "."),
        (("--certificate-days", "999999999"), "."),
        (("--certificate-days", "4000000"), "."),
        (("--master-key", "no-such-file"), "no-such-file: no such key"),
        (("--master-key", "/dev/null"), "null: not a usable key"),
        (("--master-key", "/"), "/: Is a directory"),
        (("--metainfo", "no-such-file"), "no-such-file: No such file"),
        (("--metainfo", "/dev/null"), "null: not JSON"),
        (("--metainfo", sys.executable), "not JSON"),
        (("--storage",), "expected one argument"),
        (("--nonsense",), "--nonsense"),
    ],
    ids=lambda value: ascii(value) if isinstance(value, tuple) else "",
)
def test_init_with_bad_options(vacant: Site, words: tuple[str, ...], why: str) -> None:
    vacant.bad("init", FQRN, "--storage", vacant.storage, *words, why=why)
    assert_no_repository(vacant)


@pytest.mark.parametrize(
    "fqrn",
    [
        "",
        "one",
        "UPPER.example.org",
        "a..b",
        ".a.b",
        "a.b.",
        "-a.b",
        "a.b-",
        "../x.y",
        "a.b/../c",
        "a b.c",
        "a.b\n",
        "ä.b",
        "\udcff.b",
        "a." * 127 + "b",
        "a.٣",
    ],
    ids=ascii,
)
def test_bad_repository_names(vacant: Site, fqrn: str) -> None:
    why = "not a repository name|expected one|required"
    vacant.bad("init", "--storage", vacant.storage, "--", fqrn, why=why)
    for command in (["info"], ["check"], ["gc"], ["resign"], ["rollback"], ["tag", "list"]):
        vacant.bad(*command, "--", fqrn, why=why)
    vacant.bad("sync", "--", fqrn, vacant.source, why=why)
    vacant.bad("ingest", "--", fqrn, "/dev/null", why=why)


def test_unknown_repository(vacant: Site) -> None:
    why = rf"{OTHER}: no such repository here \(pyparrot publish init {OTHER} --storage DIR\)"
    for words in (["info"], ["check"], ["gc"], ["resign"], ["rollback"], ["tag", "list"]):
        vacant.bad(*words, OTHER, why=why)
    vacant.bad("sync", OTHER, vacant.source, why=why)


def test_storage_moved_away(site: Site) -> None:
    away = site.root.with_name("away")
    with site.unharmed():
        site.root.rename(away)
        for words in (("sync", FQRN, site.source), ("gc", FQRN), ("tag", "add", FQRN, "x")):
            site.bad(*words, why=r"sw.example.org: no repository there \(was the storage moved")
        for action in ("info", "rollback", "resign"):
            site.bad(action, FQRN, why="sw.example.org")
        checked = site.call("check", FQRN)
        assert (checked.status, checked.err) == (1, "")
        assert "the repository lacks this file" in checked.out
        assert not site.root.exists()
        away.rename(site.root)


# Settings


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "server.conf: .*not understood: nonsense"),
        ("=value", "server.conf: .*not understood"),
        ("A B=c", "server.conf: .*not understood"),
        ("bell\x07\udcff", "not understood: bell"),
        ("CVMFS_REPOSITORY_NAME=" + OTHER, "the settings of another repository"),
        ("CVMFS_UPSTREAM_STORAGE=S3,/tmp,/tmp", "CVMFS_UPSTREAM_STORAGE must be local"),
        ("CVMFS_UPSTREAM_STORAGE=local,/tmp", "CVMFS_UPSTREAM_STORAGE must be local"),
        ("CVMFS_UPSTREAM_STORAGE=local,/tmp,relative", "CVMFS_UPSTREAM_STORAGE must be local"),
        ("CVMFS_UPSTREAM_STORAGE=", "CVMFS_UPSTREAM_STORAGE must be local"),
        ("CVMFS_HASH_ALGORITHM=md5", "unknown hash algorithm"),
        ("CVMFS_COMPRESSION_ALGORITHM=lzma", "unknown compression algorithm"),
        ("CVMFS_USE_FILE_CHUNKING=perhaps", "CVMFS_USE_FILE_CHUNKING=perhaps: neither yes nor no"),
        ("CVMFS_MIN_CHUNK_SIZE=0", "chunk sizes must grow"),
        ("CVMFS_MIN_CHUNK_SIZE=4M", "CVMFS_MIN_CHUNK_SIZE=4M: not a whole number"),
        ("CVMFS_MAX_CHUNK_SIZE=" + "9" * 30, "not a whole number"),
        ("CVMFS_MAX_CHUNK_SIZE=2147483648", "chunk sizes must grow"),
        ("CVMFS_REPOSITORY_TTL=-1", "CVMFS_REPOSITORY_TTL=-1: less than 0"),
        ("CVMFS_AUTOCATALOGS_MIN_WEIGHT=999999999", "automatic catalogs need a maximum"),
        ("CVMFS_AUTOCATALOGS_MIN_WEIGHT=0", "automatic catalogs need a maximum"),
    ],
    ids=ascii,
)
def test_bad_settings(site: Site, line: str, why: str) -> None:
    with site.unharmed():
        content = site.settings.read_bytes() + os.fsencode(line) + b"\n"
        site.overwrite(site.settings, content)
        site.bad("sync", FQRN, site.source, why=why)
        site.bad("info", FQRN, why=why)
        site.restore()


def test_settings_are_a_directory(site: Site) -> None:
    content = site.settings.read_bytes()
    site.settings.unlink()
    site.settings.mkdir()
    site.bad("sync", FQRN, site.source, why="server.conf: Is a directory")
    site.settings.rmdir()
    site.settings.write_bytes(content)
    site.publish_something()

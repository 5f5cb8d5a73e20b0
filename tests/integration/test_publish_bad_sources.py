"""``pyparrot publish`` from sources that can't be read, or change meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from support.publishing import (
    FQRN,
    LARGE,
    Site,
    assert_one_line,
    become_socket,
)

# What Python prints of errors in finalizers would be more than one line.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


# Sources that can't be read


def test_source_missing(site: Site) -> None:
    with site.unharmed():
        site.bad("sync", FQRN, site.base / "no such", why="no such: .*No such file")


def test_source_is_a_file(site: Site) -> None:
    with site.unharmed():
        site.bad("sync", FQRN, site.source / "small", why="small: .*Not a directory")


def test_source_contains_the_storage(site: Site) -> None:
    alias = site.base / "alias"
    alias.symlink_to(site.base)
    with site.unharmed():
        site.bad("sync", FQRN, site.base, why="the repository's own storage lies in it")
        site.bad("sync", FQRN, site.root, why="the repository's own storage lies in it")
        site.bad("sync", FQRN, alias, why="the repository's own storage lies in it")
        site.bad("sync", FQRN, "/", why="the repository's own storage lies in it")


def test_source_contains_the_keys(site: Site) -> None:
    alias = site.base / "alias"
    alias.symlink_to(site.config)
    with site.unharmed():
        for source in (site.config, site.config / "keys", alias):
            site.bad("sync", FQRN, source, why="the directory of your secret keys lies in it")


def test_source_contains_itself(site: Site) -> None:
    """A bind mount of a directory into itself: without care a walk would never end."""
    inside = site.source / "nested" / "loop"
    inside.mkdir()
    command = ["mount", "--bind", str(site.source), str(inside)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("bind mounts are not permitted here")
    try:
        with site.unharmed():
            site.bad("sync", FQRN, site.source, why="loop: a loop: this directory contains itself")
    finally:
        subprocess.run(["umount", str(inside)], check=True)


@pytest.mark.parametrize(
    ("name", "mode"), [("secret", 0), ("closed/", 0), ("closed/", 0o400), (".cvmfsdirtab", 0)]
)
def test_unreadable(ordinary: Site, name: str, mode: int) -> None:
    assert ordinary.run("init", FQRN, "--storage", ordinary.storage).status == 0
    (ordinary.source / "file").write_bytes(b"fine")
    assert ordinary.run("sync", FQRN, ordinary.source).status == 0
    before = ordinary.manifest
    target = ordinary.source / name.rstrip("/")
    if name.endswith("/"):
        target.mkdir()
        (target / "inside").write_bytes(b"never seen")
    else:
        target.write_bytes(b"never seen")
    target.chmod(mode)
    result = ordinary.run("sync", FQRN, ordinary.source)
    target.chmod(0o755)
    assert_one_line(result, rf"{target.name}\S*: cannot be read: Permission denied \(make it")
    assert ordinary.manifest == before
    assert ordinary.run("check", FQRN).status == 0
    assert ordinary.run("sync", FQRN, ordinary.source).status == 0


def test_unreadable_archive_and_configuration(ordinary: Site) -> None:
    assert ordinary.run("init", FQRN, "--storage", ordinary.storage).status == 0
    archive = ordinary.base / "a.tar"
    archive.touch(mode=0)
    result = ordinary.run("ingest", FQRN, archive)
    assert_one_line(result, "a.tar: Permission denied")
    for file in (ordinary.key("key"), ordinary.settings):
        file.chmod(0)
        result = ordinary.run("sync", FQRN, ordinary.source)
        assert_one_line(result, f"{file.name}: Permission denied")
        file.chmod(0o600)
    (ordinary.root / "data" / "txn").chmod(0o500)
    result = ordinary.run("sync", FQRN, ordinary.source)
    assert_one_line(result, "Permission denied")
    (ordinary.root / "data" / "txn").chmod(0o755)
    assert ordinary.run("sync", FQRN, ordinary.source).status == 0


# Sources that change while they are read


def _grow(victim: Path) -> None:
    with open(victim, "ab") as stream:
        stream.write(b"more")


def _shrink(victim: Path) -> None:
    os.truncate(victim, 10)


def _vanish(victim: Path) -> None:
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()


def _become_fifo(victim: Path) -> None:
    victim.unlink()
    os.mkfifo(victim)


def _become_directory(victim: Path) -> None:
    victim.unlink()
    victim.mkdir()


def _become_link(victim: Path) -> None:
    victim.unlink()
    victim.symlink_to("/etc/passwd")


def _become_file(victim: Path) -> None:
    shutil.rmtree(victim)
    victim.touch()


def _become_another(victim: Path) -> None:
    other = victim.with_name("another")
    other.write_bytes(os.urandom(victim.stat().st_size))
    other.rename(victim)


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize(
    "change",
    [
        _grow,
        _shrink,
        _vanish,
        _become_fifo,
        become_socket,
        _become_directory,
        _become_link,
        _become_another,
    ],
)
@pytest.mark.timeout(30)  # opening a pipe without care would wait for ever
def test_file_changes_after_it_was_seen(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], name: str
) -> None:
    fresh = site.base / "fresh"
    fresh.mkdir()
    victim = fresh / name
    victim.write_bytes(os.urandom(100 if name == "small" else LARGE))
    look = os.lstat

    def look_and_change(path: Any, **options: Any) -> os.stat_result:
        status = look(path, **options)
        if os.fsencode(path) == os.fsencode(victim):
            monkeypatch.setattr(os, "lstat", look)
            change(victim)
        return status

    with site.unharmed():
        monkeypatch.setattr(os, "lstat", look_and_change)
        site.bad("sync", FQRN, fresh, why=rf"{name}: (changed while it was read|cannot be read)")
        assert os.lstat is look
        if os.path.lexists(victim):
            _vanish(victim)


@pytest.mark.parametrize("change", [_vanish, _become_file])
def test_directory_changes_after_it_was_seen(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    victim = site.source / "nested"
    look = os.lstat

    def look_and_change(path: Any, **options: Any) -> os.stat_result:
        status = look(path, **options)
        if os.fsencode(path) == os.fsencode(victim):
            monkeypatch.setattr(os, "lstat", look)
            change(victim)
        return status

    with site.unharmed():
        monkeypatch.setattr(os, "lstat", look_and_change)
        site.bad("sync", FQRN, site.source, why="nested: (changed while|cannot be read: Not a dir)")


def test_source_vanishes_after_its_first_look(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir
    gone = site.base / "gone"
    site.source.rename(gone)

    def vanish(path: Any) -> Any:
        if os.fsencode(path).startswith(os.fsencode(gone)):
            monkeypatch.setattr(os, "scandir", scan)
            shutil.rmtree(gone)
        return scan(path)

    with site.unharmed():
        monkeypatch.setattr(os, "scandir", vanish)
        site.bad("sync", FQRN, gone, why="gone: changed while it was read")


def test_file_is_written_all_the_time(site: Site) -> None:
    """A log file that some program writes."""
    log = site.source / "log"
    log.write_bytes(os.urandom(16 << 20))
    at_rest = threading.Event()

    def write() -> None:
        with open(log, "ab", buffering=0) as stream:
            while not at_rest.wait(0.001):
                stream.write(b"one more line\n")

    writer = threading.Thread(target=write)
    with site.unharmed():
        writer.start()
        try:
            site.bad("sync", FQRN, site.source, why="log: changed while it was read")
        finally:
            at_rest.set()
            writer.join()
    site.good("sync", FQRN, site.source)
    site.check()


def test_file_that_grows_as_fast_as_it_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading ends, though the file's end is never reached."""
    site.settings.write_text(site.settings.read_text() + "CVMFS_USE_FILE_CHUNKING=false\n")
    monkeypatch.setattr("pyparrot.publish.content.WHOLE_LIMIT", 1 << 20)
    log = site.source / "log"
    log.write_bytes(bytes(2 << 20))
    read = os.read
    limit = 64 << 20

    def read_and_grow(descriptor: int, size: int) -> bytes:
        content = read(descriptor, size)
        end = log.stat().st_size
        if content and end < limit and os.path.samestat(os.fstat(descriptor), log.stat()):
            os.truncate(log, end + len(content))
        return content

    with site.unharmed():
        monkeypatch.setattr(os, "read", read_and_grow)
        site.bad("sync", FQRN, site.source, why="log: changed while it was read")
        assert log.stat().st_size < limit
        monkeypatch.setattr(os, "read", read)

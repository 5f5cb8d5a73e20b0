"""``pyparrot publish`` from sources that are odd, and fine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable

import pytest
from support.publishing import (
    FQRN,
    Site,
    become_socket,
    fill_source,
    make_deep,
    supports_xattrs,
)

# What Python prints of errors in finalizers would be more than one line.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


def _sockets_and_pipes(source: Path) -> None:
    os.mkfifo(source / "pipe")
    (source / "server").touch()
    become_socket(source / "server")


def _loops(source: Path) -> None:
    (source / "itself").symlink_to("itself")
    (source / "above").symlink_to("..")
    (source / "round").symlink_to("nested/round")
    (source / "nested" / "round").symlink_to("../round")


def _names(source: Path) -> None:
    for name in (
        b"n" * 255,
        b"\xff" * 255,
        b"bell\x07 and\nnew line\x1b[31m",
        "\u202e\u2028ünïcode".encode(),
        b" ",
        b"-rf",
        b"back\\slash",
        b"'\"$(touch x)%20#?*",
        b"\x01",
    ):
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(name)
        Path(os.fsdecode(os.fsencode(source) + b"/nested/" + name[:250] + b".d")).mkdir()


def _deep(source: Path) -> None:
    """As deep as a path can be given to the system."""
    room = os.pathconf(source, "PC_PATH_MAX") - 1 - len(os.fsencode(source))
    make_deep(source, "d" * 39, room // 40)
    assert Path(str(source) + f"/{'d' * 39}" * (room // 40)).is_dir()


@pytest.mark.parametrize("fill", [_sockets_and_pipes, _loops, _names, _deep])
def test_odd_sources_are_published(site: Site, fill: Callable[[Path], None]) -> None:
    fill(site.source)
    printed = site.good("sync", FQRN, site.source, "--dry-run")
    assert all(line.isprintable() for line in printed.splitlines())
    site.good("sync", FQRN, site.source)
    site.check()
    assert "nothing has changed" in site.good("sync", FQRN, site.source)
    shutil.rmtree(site.source)
    fill_source(site.source)
    assert "removed" in site.good("sync", FQRN, site.source, "--dry-run")
    site.good("sync", FQRN, site.source)
    site.check()


def test_deeper_than_python_recurses(site: Site) -> None:
    deep = site.base / "deep"
    deep.mkdir()
    make_deep(deep, "d", 1200)
    site.good("sync", FQRN, deep)
    site.check()
    subprocess.run(["rm", "-rf", str(deep)], check=True)  # rmtree recurses
    with site.unharmed():
        assert "removed /d/d" in site.good("sync", FQRN, site.source, "--dry-run")


def test_deeper_than_a_path_can_be(site: Site) -> None:
    """A tree made step by step, whose end can't be given to the system."""
    make_deep(site.source, "d" * 250, 20)
    with site.unharmed():
        site.bad("sync", FQRN, site.source, why="dd: cannot be read: File name too long")
    subprocess.run(["rm", "-rf", str(site.source)], check=True)


@pytest.mark.timeout(10)
def test_catalogs_nested_deeply(site: Site) -> None:
    """More than are kept open at once, each in the one before."""
    path = site.source
    for _ in range(40):
        path = path / "d"
        path.mkdir()
        (path / ".cvmfscatalog").touch()
    site.good("sync", FQRN, site.source)
    site.check()
    (path / "file").touch()
    site.good("sync", FQRN, site.source)
    site.check()


def test_more_catalogs_than_files_can_be_open(site: Site) -> None:
    for number in range(300):
        directory = site.source / f"{number}"
        directory.mkdir()
        (directory / ".cvmfscatalog").touch()
        (directory / "file").write_text(str(number))
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128));"
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code} import sys; from pyparrot.cli import main; sys.exit(main())",
            *("publish", "sync", FQRN, str(site.source)),
        ],
        env=site.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    site.check()


def test_long_attributes_are_left_out(site: Site) -> None:
    if not supports_xattrs(site.base):
        pytest.skip("no extended attributes in the test's directory")
    file = site.source / "bell\x07"
    file.touch()
    os.setxattr(file, "user.fits", b"v" * 255)
    os.setxattr(file, "user.long", b"v" * 256)
    os.setxattr(file, "user." + "n" * 240, b"")
    result = site.call("sync", FQRN, site.source)
    assert result.status == 0
    assert re.fullmatch(
        r"pyparrot: warning: \S+/bell\\x07: attribute user.long is left out: [^\n]+ 255 bytes\n",
        result.err,
    )
    site.check()
    with site.catalog() as catalog:
        entry = catalog.lookup(b"/bell\x07")
    assert entry is not None
    assert entry.xattr is not None
    assert b"user.fits" in entry.xattr
    assert b"user.long" not in entry.xattr


@pytest.mark.parametrize("storage", ["a b", "a#b", "a?b", "a%41b", "ä\udcff", "'\"$x", "tab\t"])
def test_storage_with_an_odd_name(vacant: Site, storage: str) -> None:
    fill_source(vacant.source)
    vacant.good("init", FQRN, "--storage", vacant.base / storage)
    vacant.good("sync", FQRN, vacant.source)
    vacant.good("tag", "add", FQRN, "v1")
    vacant.check()
    assert "kept" in vacant.good("gc", FQRN, "--keep-days", "0")
    vacant.check()


@pytest.mark.parametrize("storage", ["a,b", "a\nb", "a\rb"])
def test_storage_with_an_impossible_name(vacant: Site, storage: str) -> None:
    vacant.bad("init", FQRN, "--storage", vacant.base / storage, why="storage path can't hold")
    assert not vacant.settings.exists()
    assert not vacant.key("key").exists()


@pytest.mark.parametrize("scratch", ["a b", "a#b", "a?b", "a%41b"])
def test_scratch_directory_with_an_odd_name(
    site: Site, monkeypatch: pytest.MonkeyPatch, scratch: str
) -> None:
    (site.base / scratch).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(site.base / scratch))
    site.publish_something()
    site.good("tag", "list", FQRN)

"""What runs leave in a cache, and what they do with one that is small, damaged or read-only."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from support.runs import PYPARROT, World, world

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "kept.example.org"
LARGE = 12_000_000


def fill(tree: Path) -> None:
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "file").write_text("remote\n")
    (tree / "deep" / "er" / "file").write_text("deep\n")
    (tree / "large").write_bytes(os.urandom(LARGE))


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with world(FQRN, fill) as opened:
        yield opened


@pytest.fixture(autouse=True)
def fresh(made: World) -> Path:
    """The cache of the runs, empty."""
    cache = made.home / "user" / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    return cache


def settled(cache: Path) -> Path:
    """The cache, when the supervisor has ended: it holds a lock until then."""
    for _ in range(100):
        if not any((cache / "ledger").glob("untold.*")):
            break
        time.sleep(0.1)
    return cache


def used(cache: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in cache.rglob("*"))


def test_a_file_that_is_larger_than_the_quota(made: World, fresh: Path) -> None:
    """It is read as long as the run needs it, and gone afterwards."""
    words = ("sh", "-c", "wc -c <$0/large; wc -c <$0/large; cat $0/file", made.root)
    ran = made.run(*words, options=["--quota", "4"])
    assert (ran.status, ran.out, ran.err) == (0, f"{LARGE}\n{LARGE}\nremote\n", "")
    assert used(settled(fresh)) < 6 << 20


def test_views_of_a_local_directory_go_with_the_run(made: World, fresh: Path) -> None:
    local = made.work()
    (local / "file").write_text("first\n")
    options = ["--mount", f"/data={local}"]
    assert made.run("cat", "/data/file", options=options).out == "first\n"
    (local / "file").write_text("other\n")
    assert made.run("cat", "/data/file", options=options).out == "other\n"
    left = [name for name in os.listdir(settled(fresh) / "views") if name.startswith("directory")]
    assert left == []


def view_of(cache: Path) -> Path:
    (view,) = (cache / "views").glob(f"{FQRN}-*")
    return view


def make_socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(before)


def make_full_directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("else\n")


IN_THE_WAY: list[Callable[[Path], None]] = [
    Path.mkdir,
    Path.touch,
    make_full_directory,
    make_socket,
    lambda path: path.symlink_to("/nowhere/at all"),
    lambda path: path.symlink_to("/etc/passwd"),
]
KINDS = ["directory", "file", "full directory", "socket", "dangling link", "link"]


@pytest.mark.parametrize("damage", IN_THE_WAY, ids=KINDS)
def test_views_that_are_something_else(
    damage: Callable[[Path], None], made: World, fresh: Path
) -> None:
    words = ("sh", "-c", "cat $0/file $0/deep/er/file; ls $0/deep", made.root)
    before = made.run(*words)
    assert (before.status, before.out) == (0, "remote\ndeep\ner\n")
    view = view_of(settled(fresh))
    (view / "file").unlink()
    damage(view / "file")
    shutil.rmtree(view / "deep")
    damage(view / "deep")
    for path in (view / "file", view / "deep"):
        os.chown(path, made.user.uid, made.user.gid, follow_symlinks=False)
    ran = made.run(*words)
    assert (ran.status, ran.out, ran.err) == (0, before.out, "")


def test_what_is_in_a_read_only_cache_is_served(made: World, fresh: Path) -> None:
    """A run says one line, and that it is so; commands need none."""
    cache = fresh
    words = ("cat", f"{made.root}/file")
    assert made.run(*words).out == "remote\n"
    settled(cache)
    mount = f"mount --bind {cache} {cache} && mount -o remount,ro,bind {cache}"
    tried = subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, check=False)
    if os.geteuid() != 0 or tried.returncode != 0:
        pytest.skip("nothing can be mounted here")
    who = f"setpriv --reuid {made.user.uid} --regid {made.user.gid} --clear-groups"
    options = f"--cache {cache} --server {made.url} --key {made.key}"
    run = f"{' '.join(PYPARROT)} run {options} -- {' '.join(words)}"
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount} && exec {who} {run}"],
        env=made.environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "remote\n")
    assert ran.stderr.startswith(f"pyparrot: warning: {cache}: mounted read-only: ")
    assert ran.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.parametrize("rights", ["another user's", "open to others"])
def test_views_that_others_could_have_made(rights: str, made: World, fresh: Path) -> None:
    """They are as long as what they stand for, and marked like it."""
    # The first open in a run is always the supervisor's.
    words = ("cat", f"{made.root}/deep/er/file", f"{made.root}/file")
    assert made.run(*words).out == "deep\nremote\n"
    planted = view_of(settled(fresh)) / "file"
    status = planted.stat()
    planted.unlink()
    planted.write_text("EVIL!!\n")
    os.utime(planted, ns=(status.st_atime_ns, status.st_mtime_ns))
    if rights == "another user's":
        os.chown(planted, 12345, 12345)
        planted.chmod(0o555)
    else:
        os.chown(planted, made.user.uid, made.user.gid)
        planted.chmod(0o777)
    ran = made.run(*words)
    assert (ran.status, ran.out, ran.err) == (0, "deep\nremote\n", "")
    assert planted.stat().st_uid == made.user.uid


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.parametrize("which", ["", "objects", "views"])
def test_a_cache_that_others_could_write_to(which: str, made: World, fresh: Path) -> None:
    words = ("cat", f"{made.root}/file")
    assert made.run(*words).out == "remote\n"
    (settled(fresh) / which).chmod(0o777)
    ran = made.run(*words)
    assert (ran.status, ran.out) == (125, "")
    assert "others may write to it" in ran.err
    assert ran.err.count("\n") == 1

"""Which revision a run shows, and what becomes of it when the cache changes under it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import PYPARROT, World, started, world

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "moving.example.org"


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[World]:
    """A repository whose revisions may be asked for every second; its first is tagged v1."""

    def fill(tree: Path) -> None:
        (tree / "dir").mkdir()
        (tree / "dir" / "old").write_text("old\n")
        (tree / "both").write_text("first\n")

    with world(FQRN, fill, None, "--ttl", "1") as made:
        publish(made, "tag", "add", FQRN, "v1")
        yield made


def publish(made: World, *words: str) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(made.home / "config")}
    subprocess.run(
        [*PYPARROT, "publish", *words], env=environment, check=True, stdout=subprocess.DEVNULL
    )


def publish_second(made: World) -> None:
    (made.source / "both").write_text("second\n")
    (made.source / "dir" / "old").unlink()
    (made.source / "dir" / "new").write_text("new\n")
    publish(made, "sync", FQRN, str(made.source), "--quiet")


SCRIPT = f"""
cd /cvmfs/{FQRN}/dir
exec 3<old
echo ready
read line
for second in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -e /cvmfs/{FQRN}/dir/$1 ] && break
    sleep 0.5
done
pwd
ls
cat ../both
cat <&3
"""


def watch(made: World, wanted: str, *options: str) -> list[str]:
    """What a script sees of the second revision, which comes while it runs."""
    command = [*made.prefix(*options), "sh", "-c", SCRIPT, "sh", wanted]
    more = {"cwd": made.work(), "env": made.environment(), **made.user.options()}
    with started(command, subprocess.PIPE, **more) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        publish_second(made)
        out, err = process.communicate(b"go\n", timeout=60)
    assert err == b""
    return out.decode().splitlines()


def test_a_run_keeps_the_snapshot_that_it_started_with(moving: World) -> None:
    assert watch(moving, "old") == [f"{moving.root}/dir", "old", "first", "old"]
    time.sleep(1.5)  # a TTL
    assert moving.run("cat", "@@/both").out == "second\n"


def test_follow_goes_on_and_what_is_open_stays(moving: World) -> None:
    seen = watch(moving, "new", "--follow")
    assert seen == [f"{moving.root}/dir", "new", "second", "old"]


@pytest.mark.parametrize("options", [("--tag", "v1"), ("--revision", "2")])
def test_a_chosen_revision(moving: World, options: tuple[str, str]) -> None:
    publish_second(moving)
    assert moving.run("cat", "@@/both", options=options).out == "first\n"


CLEAR = """
import os, subprocess, sys
top, cache = sys.argv[1:]
os.chdir(top + "/dir")
with open("old") as old:
    subprocess.run([sys.executable, "-m", "pyparrot", "cache", "clear", "--cache", cache],
                   check=True, stdout=subprocess.DEVNULL)
    assert os.getcwd() == top + "/dir", os.getcwd()
    assert os.readlink(f"/proc/self/fd/{old.fileno()}") == top + "/dir/old"
    assert os.stat(old.fileno()).st_ino == os.stat("old").st_ino
    assert old.read() == "old\\n"
assert open("old").read() == "old\\n"
assert os.listdir() == ["old"]
"""


def test_what_is_used_survives_that_the_cache_is_cleared(moving: World) -> None:
    cache = str(moving.home / "user" / "cache")
    ran = moving.run(sys.executable, "-c", CLEAR, "@@", cache)
    assert (ran.status, ran.err) == (0, "")


def test_an_altered_view_is_fetched_again(moving: World) -> None:
    assert moving.run("cat", "@@/both").out == "first\n"
    (view,) = (moving.home / "user" / "cache" / "views").glob("*/both")
    view.chmod(0o700)
    view.write_text("wrong\n")
    assert moving.run("cat", "@@/both").out == "first\n"


def test_eviction_frees_what_has_a_view(moving: World) -> None:
    (moving.source / "large").mkdir()
    for number in range(20):
        (moving.source / "large" / str(number)).write_bytes(os.urandom(1 << 20))
    publish(moving, "sync", FQRN, str(moving.source), "--quiet")
    ran = moving.run("sh", "-c", "cat @@/large/* | wc -c", options=["--quota", "6"])
    assert ran.out.strip() == str(20 << 20)
    cache = moving.home / "user" / "cache"
    files = {f.stat().st_ino: f.stat().st_size for f in cache.rglob("*") if f.is_file()}
    assert sum(files.values()) < 9 << 20


def test_what_is_fetched_can_be_seen(moving: World) -> None:
    ran = moving.run("cat", "@@/both", options=["-vv"])
    assert ran.out == "first\n"
    assert f"pyparrot: mounted {FQRN} at @@" in ran.err
    assert "pyparrot: @@/both: made ready" in ran.err

"""The commands that read: ls, cat, stat, find, readlink, repo, cache; and what docs say of them."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import re
import shlex
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from support import run_publish

from pyparrot import cli
from pyparrot.serve import Server

FQRN = "sw.example.org"
TOP = f"/cvmfs/{FQRN}"
ODD = os.fsdecode(b"odd-\xff")
BIG_SIZE = 3_500_000
NOWHERE = "http://127.0.0.1:1"


class Ran(NamedTuple):
    """What a command did."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return os.fsdecode(self.out).splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class _Output(io.TextIOWrapper):
    terminal = False

    def isatty(self) -> bool:
        return self.terminal


def run(*words: str | os.PathLike[str], terminal: bool = False) -> Ran:
    """Run the command line in this process; unlike `StringIO`, its output takes bytes."""
    raw, err = io.BytesIO(), io.StringIO()
    out = _Output(raw, encoding="utf-8", errors="surrogateescape", write_through=True)
    out.terminal = terminal
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.main([os.fspath(word) for word in words])
    out.flush()
    return Ran(status, raw.getvalue(), err.getvalue())


class Site(NamedTuple):
    """A published repository, and where to get it."""

    storage: Path
    source: Path
    key: Path
    url: str

    def options(self, cache: Path, url: str | None = None) -> tuple[str, ...]:
        server = f"{url or self.url}/@fqrn@"
        options = ("--server", server, "--key", str(self.key), "--proxy", "DIRECT")
        return (*options, "--cache", str(cache))


def make_tree(top: Path) -> None:
    noise = random.Random(1)
    for directory in ("bin", "releases/2.0/lib", "empty", "sticky", "many"):
        (top / directory).mkdir(parents=True)
    (top / "README").write_bytes(b"hello\n")
    (top / "zero").touch()
    (top / ".hidden").write_bytes(b"hidden\n")
    (top / "bin/tool").write_bytes(b"#!/bin/sh\necho tool\n")
    (top / "bin/link").symlink_to("tool")
    (top / ODD).write_bytes(b"odd\n")
    (top / "new\nline").write_bytes(b"two lines\n")
    (top / "current").symlink_to("releases/2.0")
    (top / "outside").symlink_to("/usr/bin/env")
    (top / "dangling").symlink_to("nothing")
    (top / "releases/2.0/.cvmfscatalog").touch()
    (top / "releases/2.0/lib/lib.so").write_bytes(noise.randbytes(100_000))
    (top / "big").write_bytes(noise.randbytes(BIG_SIZE))
    for number in range(30):
        (top / f"many/{number:02}").write_text(f"{number}\n")
    for number, name in enumerate(("+plus", ".dot", "b", "a", "B")):
        (top / "sizes").mkdir(exist_ok=True)
        (top / "sizes" / name).write_bytes(bytes(number // 2))
    os.mkfifo(top / "pipe")
    os.chmod(top / "bin/tool", 0o4755)
    os.chmod(top / "sticky", 0o1777)
    for directory, names, files in os.walk(top):
        for name in names + files:
            os.utime(
                os.path.join(directory, name),
                ns=(0, 1_600_000_000_123_456_789),
                follow_symlinks=False,
            )
    for number, name in enumerate(("B", "+plus", "b", "a", ".dot")):
        os.utime(top / "sizes" / name, ns=(0, 1_600_000_000_000_000_000 + number // 2))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("site")
    storage, source, config = base / "storage", base / "source", base / "config"
    storage.mkdir()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CONFIG_HOME", str(config))
        run_publish("init", FQRN, "--storage", storage, "--chunk-size", "1:1:2")
        first = base / "first"
        first.mkdir()
        (first / "README").write_bytes(b"old\n")
        run_publish("sync", FQRN, first, "--tag", "v1", "-q")
        make_tree(source)
        run_publish("sync", FQRN, source, "--tag", "v2", "-q")
    key = config / "pyparrot" / "keys" / f"{FQRN}.pub"
    with Server(storage) as server:
        yield Site(storage, source, key, server.url)


@pytest.fixture(scope="module")
def warm(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for the tests that don't care what is in it."""
    return tmp_path_factory.mktemp("warm") / "cache"


Command = Callable[..., Ran]


@pytest.fixture
def command(site: Site, warm: Path) -> Command:
    """``command("ls", ARGUMENTS…)``: the paths are those of the published repository."""

    def call(*words: str, terminal: bool = False) -> Ran:
        name = 2 if words[0] in ("repo", "cache") else 1
        return run(*words[:name], *site.options(warm), *words[name:], terminal=terminal)

    return call


def real(*words: str, cwd: Path) -> list[bytes]:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(words, cwd=cwd, env=environment, check=True, stdout=subprocess.PIPE)
    return done.stdout.split(b"\n")


# ls


def test_ls_names(command: Command, site: Site) -> None:
    ran = command("ls", TOP)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.split(b"\n") == real("ls", cwd=site.source)
    assert command("ls", "-a", TOP).out.split(b"\n") == real("ls", "-a", cwd=site.source)


@pytest.mark.parametrize("option", ["-A", "-r", "-tA", "-tr", "-S1A", "-Sr"])
def test_ls_order(command: Command, site: Site, option: str) -> None:
    assert command("ls", option, f"{TOP}/sizes").out.split(b"\n") == real(
        "ls", option, cwd=site.source / "sizes"
    )


@pytest.mark.parametrize("options", ["-l", "-n", "-lh", "-la"])
def test_ls_long_is_what_ls_says(command: Command, site: Site, options: str) -> None:
    """But for the sizes and link counts of directories, which file systems make up."""
    ours, theirs = (
        command("ls", options, TOP).out.split(b"\n"),
        real("ls", options, cwd=site.source),
    )
    assert ours[0].startswith(b"total ")
    assert len(ours) == len(theirs)
    for our, their in zip(ours[1:], theirs[1:]):
        if their.startswith(b"d"):
            if not their.endswith(b" .."):  # which is the directory itself at the top
                assert (our[:10], our.split()[-1]) == (their[:10], their.split()[-1])
        else:
            assert our.split() == their.split()


def test_ls_long_columns_are_aligned(command: Command) -> None:
    lines = command("ls", "-l", f"{TOP}/many", f"{TOP}/big").lines
    assert lines[1] == ""
    assert lines[2] == f"{TOP}/many:"
    assert len({len(line) for line in lines[4:]}) == 1


def test_ls_link_on_the_command_line(command: Command) -> None:
    assert command("ls", f"{TOP}/current").lines == ["lib"]
    assert command("ls", f"{TOP}/outside").lines == [f"{TOP}/outside"]
    assert command("ls", f"{TOP}/dangling").lines == [f"{TOP}/dangling"]
    assert command("ls", "-d", f"{TOP}/current").lines == [f"{TOP}/current"]
    (line,) = command("ls", "-l", f"{TOP}/outside").lines
    assert line.endswith(f" {TOP}/outside -> /usr/bin/env")


def test_ls_recursive(command: Command) -> None:
    assert command("ls", "-aR", f"{TOP}/releases").lines == [
        *(f"{TOP}/releases:", ".", "..", "2.0", ""),
        *(f"{TOP}/releases/2.0:", ".", "..", ".cvmfscatalog", "lib", ""),
        *(f"{TOP}/releases/2.0/lib:", ".", "..", "lib.so"),
    ]


def test_ls_goes_on_after_a_failure(command: Command) -> None:
    ran = command("ls", f"{TOP}/nothing", f"{TOP}/bin", f"{TOP}/README/x")
    assert ran.status == 1
    assert ran.lines == [f"{TOP}/bin:", "link", "tool"]
    assert ran.err == (
        f"pyparrot: {TOP}/nothing: No such file or directory\n"
        f"pyparrot: {TOP}/README/x: Not a directory\n"
    )


def test_ls_on_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = command("ls", f"{TOP}/many", terminal=True).lines
    assert lines[0] == "00  03  06  09  12  15  18  21  24  27"
    shown = command("ls", "-1", TOP, terminal=True).lines
    assert "new?line" in shown
    assert "odd-?" in shown
    assert command("ls", f"{TOP}/empty", terminal=True).out == b""


def test_ls_json(command: Command) -> None:
    found = {entry["path"]: entry for entry in command("ls", "--json", TOP).json}
    assert found[f"{TOP}/{ODD}"]["path_hex"] == os.fsencode(f"{TOP}/{ODD}").hex()
    assert found[f"{TOP}/bin"]["type"] == "dir"
    assert found[f"{TOP}/outside"]["target"] == "/usr/bin/env"
    assert found[f"{TOP}/README"]["size"] == 6


def test_ls_inode(command: Command) -> None:
    number, name = command("ls", "-i", f"{TOP}/README").lines[0].split()
    (entry,) = command("stat", "--json", f"{TOP}/README").json
    assert (int(number), name) == (entry["ino"], f"{TOP}/README")


@pytest.mark.parametrize("path", [(), ("/cvmfs",), ("/cvmfs/",), ("/usr",), ("README",)])
def test_ls_without_a_repository(path: tuple[str, ...]) -> None:
    ran = run("ls", *path)
    assert ran.status == 125
    assert ran.out == b""
    assert ran.err.count("\n") == 1
    assert "/cvmfs/FQRN" in ran.err


# cat


def test_cat(command: Command, site: Site) -> None:
    paths = ("README", "zero", ODD, "big", "current/lib/lib.so", "bin/link")
    ran = command("cat", *(f"{TOP}/{path}" for path in paths))
    assert ran.status == 0
    assert ran.out == b"".join((site.source / path).read_bytes() for path in paths)


def test_cat_failures(command: Command) -> None:
    names = ("bin", "nothing", "outside", "pipe", "README/", "README")
    ran = command("cat", *(f"{TOP}/{name}" for name in names))
    assert ran.status == 1
    assert ran.out == b"hello\n"
    assert ran.err.splitlines() == [
        f"pyparrot: {TOP}/bin: Is a directory",
        f"pyparrot: {TOP}/nothing: No such file or directory",
        f"pyparrot: {TOP}/outside: leads out of the repository, to /usr/bin/env",
        f"pyparrot: {TOP}/pipe: No such device or address",
        f"pyparrot: {TOP}/README/: Not a directory",
    ]


# stat, readlink


def test_stat_is_what_stat_says(command: Command, site: Site) -> None:
    ours = command("stat", f"{TOP}/bin/tool").lines
    theirs = os.fsdecode(b"\n".join(real("stat", "bin/tool", cwd=site.source))).splitlines()
    assert ours[0] == f"  File: {TOP}/bin/tool"
    assert ours[3].split() == theirs[3].split()
    assert ours[5].split() == theirs[5].split()
    assert ours[1].split()[:2] == theirs[1].split()[:2]
    assert ours[1].endswith("regular file")
    assert any(line.startswith("  Hash: ") for line in ours)


def test_stat_json(command: Command, site: Site) -> None:
    names = ("README", "big", "releases/2.0", "releases/2.0/lib/lib.so", "current")
    facts = command("stat", "--json", *(f"{TOP}/{name}" for name in names)).json
    readme, big, release, library, current = facts
    status = (site.source / "README").stat()
    assert readme["mode"] == f"{stat.S_IMODE(status.st_mode):04o}"
    assert (readme["uid"], readme["gid"]) == (status.st_uid, status.st_gid)
    assert readme["mtime_ns"] == status.st_mtime_ns
    assert (readme["type"], readme["compression"], readme["chunks"]) == ("file", "zlib", 1)
    assert (site.storage / FQRN / "data" / readme["hash"][:2] / readme["hash"][2:]).exists()
    assert len(big["chunk_list"]) == big["chunks"] > 1
    assert sum(size for _, _, size in big["chunk_list"]) == BIG_SIZE
    assert release["nested_catalog"] == library["catalog"]
    assert release["catalog_path"] == readme["catalog_path"] == "/"
    assert library["catalog_path"] == "/releases/2.0"
    assert (current["type"], current["target"]) == ("symlink", "releases/2.0")


def test_stat_dereference(command: Command) -> None:
    assert command("stat", "-L", "--json", f"{TOP}/current").json[0]["type"] == "dir"
    assert command("stat", f"{TOP}/current").lines[0] == f"  File: {TOP}/current -> releases/2.0"


def test_readlink(command: Command) -> None:
    ran = command("readlink", f"{TOP}/current", f"{TOP}/README", f"{TOP}/outside")
    assert (ran.status, ran.out) == (1, b"releases/2.0\n/usr/bin/env\n")
    assert ran.err == f"pyparrot: {TOP}/README: not a symlink\n"
    assert command("readlink", "-n", f"{TOP}/current").out == b"releases/2.0"
    assert command("readlink", "-z", f"{TOP}/current").out == b"releases/2.0\0"
    assert command("readlink", "--json", f"{TOP}/current").json == [
        {"path": f"{TOP}/current", "target": "releases/2.0"}
    ]


# find


@pytest.mark.parametrize(
    "tests",
    [
        (),
        ("-type", "f"),
        ("-type", "l"),
        ("-type", "p"),
        ("-type", "f,d"),
        ("-maxdepth", "1"),
        ("-mindepth", "2"),
        ("-name", "*i*"),
        ("-name", "odd-?"),
        ("-iname", "readme"),
        ("-name", "*", "-name", "[0-2]?"),
        ("-path", "*lib/*"),
        ("-type", "f", "-size", "+1k"),
        ("-type", "f", "-size", "-3"),
        ("-type", "f", "-size", "-2k"),
        ("-type", "f", "-size", "4M"),
    ],
)
def test_find_is_what_find_says(command: Command, site: Site, tests: tuple[str, ...]) -> None:
    ran = command("find", TOP, *tests, "-print0")
    # GNU find has only a single type in old versions, and wants options first.
    depth = [word for pair in zip(tests[::2], tests[1::2]) for word in pair if "depth" in pair[0]]
    others = [
        word for pair in zip(tests[::2], tests[1::2]) for word in pair if "depth" not in pair[0]
    ]
    theirs = real("find", ".", *depth, *others, "-print0", cwd=site.source)
    expected = {TOP.encode() + name[1:] for name in b"\n".join(theirs).split(b"\0") if name}
    if "odd-?" in tests:
        expected = {os.fsencode(f"{TOP}/{ODD}")}  # in the C locale, or not, find won't match it
    assert ran.status == 0
    assert set(ran.out.split(b"\0")) - {b""} == expected


def test_find_failures(command: Command) -> None:
    ran = command("find", f"{TOP}/nothing", f"{TOP}/bin")
    assert (ran.status, ran.lines) == (1, [f"{TOP}/bin", f"{TOP}/bin/link", f"{TOP}/bin/tool"])
    assert ran.err == f"pyparrot: {TOP}/nothing: No such file or directory\n"
    for wrong in (("-type", "x"), ("-size", "much"), ("-maxdepth", "-1")):
        assert command("find", TOP, *wrong).status == 125


# Which revision, from where


def test_revisions(command: Command) -> None:
    tags = {tag["name"]: tag for tag in command("repo", "info", "--json", FQRN).json["tags"]}
    for option in (
        ("--tag", "v1"),
        ("--revision", str(tags["v1"]["revision"])),
        ("--root-hash", tags["v1"]["catalog"]),
    ):
        assert command("cat", *option, f"{TOP}/README").out == b"old\n"
    assert command("cat", "--date", "2100-01-01", f"{TOP}/README").out == b"hello\n"
    assert command("cat", "-o", "CVMFS_REPOSITORY_TAG=v1", f"{TOP}/README").out == b"old\n"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--tag", "nope"), f"{FQRN}: no tag nope"),
        (("--revision", "77"), f"{FQRN}: no tag names revision 77"),
        (("--date", "2001-01-01"), f"{FQRN}: no tag is so old"),
        (("--date", "yesterday"), "--date: not a time: yesterday"),
        (("--root-hash", "xyz"), "--root-hash: not a hash"),
        (("--tag", "v1", "--revision", "1"), "not allowed with argument"),
        (("-o", "nonsense"), "-o: not NAME=VALUE"),
    ],
)
def test_revision_failures(command: Command, options: tuple[str, ...], why: str) -> None:
    ran = command("ls", *options, TOP)
    assert (ran.status, ran.out) == (125, b"")
    assert ran.err.startswith("pyparrot: ")
    assert why in ran.err
    assert ran.err.count("\n") == 1


def test_repository_that_can_not_be_opened(site: Site, tmp_path: Path) -> None:
    for path in ("/cvmfs/no.example.org/x", "/cvmfs/a b/x"):
        ran = run("ls", *site.options(tmp_path / "cache"), path)
        assert (ran.status, ran.out) == (125, b"")
        assert ran.err.count("\n") == 1


@pytest.fixture
def wrong_key(tmp_path: Path, publish: Callable[..., Any]) -> Path:
    """The key of another repository."""
    publish("init", "other.example.org", "--storage", tmp_path / "other")
    return tmp_path / "config-home/pyparrot/keys/other.example.org.pub"


def test_wrong_key(site: Site, wrong_key: Path, tmp_path: Path) -> None:
    """It opens nothing, whether or not the right one has opened it before."""
    right = site.options(tmp_path / "cache")
    wrong = site._replace(key=wrong_key).options(tmp_path / "cache")
    for _ in range(2):
        ran = run("ls", *wrong, TOP)
        assert (ran.status, ran.out) == (125, b"")
        assert "wrong key" in ran.err
        assert run("ls", *right, TOP).status == 0
    offline = site._replace(key=wrong_key).options(tmp_path / "cache", NOWHERE)
    assert run("ls", *offline, TOP).status == 125


def test_key_that_is_not_there(site: Site, tmp_path: Path) -> None:
    ran = run("ls", *site._replace(key=tmp_path / "no.pub").options(tmp_path / "cache"), TOP)
    assert ran.status == 125
    assert f"{tmp_path}/no.pub: not a usable master key: No such file" in ran.err


def test_root_hash_that_is_not_there(command: Command) -> None:
    ran = command("ls", "--root-hash", "ab" * 20, TOP)
    assert ran.status == 125
    assert ran.err.startswith(f"pyparrot: {FQRN}: http://")


def test_cache_that_can_not_be_made(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = run("ls", *site.options(tmp_path / "file"), TOP)
    assert ran.status == 125
    assert ran.err.startswith(f"pyparrot: {tmp_path}/file: no cache can be here: ")


def test_another_server_is_asked_at_once(site: Site, broken: Site, tmp_path: Path) -> None:
    """Whatever the TTL of what the cache has from the first one; and that cache never goes back."""
    cache = tmp_path / "cache"
    manifest = broken.storage / FQRN / ".cvmfspublished"
    assert run("ls", *site.options(cache), TOP).status == 0
    manifest.write_bytes(b"nonsense")
    ran = run("ls", *broken.options(cache), TOP)
    assert ran.status == 125
    assert ".cvmfspublished" in ran.err
    assert run("ls", *site.options(cache), TOP).err == ""


def test_refresh(tmp_path: Path, config_home: Path) -> None:
    """A new revision is seen when the TTL has passed, or when it is asked for."""
    source, storage = tmp_path / "source", tmp_path / "storage"
    source.mkdir()
    run_publish("init", FQRN, "--storage", storage)

    def publish(text: str) -> None:
        (source / "README").write_text(text)
        run_publish("sync", FQRN, source, "-q")

    with Server(storage) as server:
        options = ("--server", f"{server.url}/@fqrn@", "--cache", str(tmp_path / "cache"))
        readme = f"{TOP}/README"
        publish("first")
        assert run("cat", *options, readme).out == b"first"
        publish("second one")
        assert run("cat", *options, readme).out == b"first"
        assert run("repo", "info", "--json", *options, FQRN).json["revision"] == 3
        assert run("cat", *options, readme).out == b"second one"
        publish("the third")
        assert run("cat", *options, "--refresh", readme).out == b"the third"


# repo


def test_repo_info(command: Command, site: Site) -> None:
    facts = command("repo", "info", "--json", FQRN).json
    assert facts["name"] == FQRN
    assert facts["revision"] == facts["newest_revision"] == 3
    assert facts["ttl"] == 240
    assert facts["servers"] == [f"{site.url}/{FQRN}"] == [facts["server_in_use"]]
    assert facts["proxy_in_use"] == "DIRECT"
    assert facts["symlinks"] == 4
    assert facts["nested_catalogs"] == 1
    assert {"v1", "v2"} <= {tag["name"] for tag in facts["tags"]}
    text = command("repo", "info", FQRN).lines
    assert "revision         3" in text
    assert any(line.startswith("tag: ") and " v2" in line for line in text)


@pytest.fixture
def broken(site: Site, tmp_path: Path) -> Iterator[Site]:
    """A copy of the repository that a test may damage."""
    storage = tmp_path / "storage"
    shutil.copytree(site.storage, storage)
    with Server(storage) as server:
        yield site._replace(storage=storage, url=server.url)


def object_of(site: Site, name: str, kind: str = "") -> Path:
    return site.storage / FQRN / "data" / name[:2] / (name[2:] + kind)


def check(site: Site, cache: Path, *options: str) -> Ran:
    return run("repo", "check", *site.options(cache), *options, "-q", FQRN)


def test_repo_check(command: Command, warm: Path) -> None:
    before = sorted(os.listdir(warm / "objects")) if warm.exists() else []
    ran = command("repo", "check", FQRN)
    assert ran.status == 0
    assert ran.out.startswith(f"{FQRN}: revision 3: 2 catalogs, ".encode())
    assert ran.out.endswith(b": 0 faults\n")
    assert (sorted(os.listdir(warm / "objects")) if warm.exists() else []) == before


def test_repo_check_finds_faults(command: Command, broken: Site, tmp_path: Path) -> None:
    names = ("README", "big", "releases/2.0/lib/lib.so")
    paths = (f"{TOP}/{name}" for name in names)
    readme, big, library = command("stat", "--json", *paths).json
    object_of(broken, readme["hash"]).unlink()
    for damaged in (
        object_of(broken, big["chunk_list"][1][0], "P"),
        object_of(broken, library["hash"]),
    ):
        damaged.chmod(0o644)
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
    ran = check(broken, tmp_path / "cache")
    assert ran.status == 1
    faults = sorted(ran.lines)
    assert len(faults) == 3
    assert faults[0] == f"/README: object {readme['hash']}: missing"
    assert faults[1].startswith(f"/big: object {big['chunk_list'][1][0]}P: ")
    assert faults[2].startswith(f"/releases/2.0/lib/lib.so: object {library['hash']}: ")
    assert check(broken, tmp_path / "cache", "--catalogs-only").status == 0
    object_of(broken, library["catalog"], "C").unlink()
    ran = check(broken, tmp_path / "cache", "--catalogs-only")
    assert ran.status == 1
    assert ran.lines == [f"/releases/2.0: catalog {library['catalog']}: missing"]


# cache


@pytest.fixture
def cache(site: Site, tmp_path: Path) -> Command:
    """``cache(ACTION, ARGUMENTS…)`` on a cache of the test's own."""

    def call(action: str, *words: str, url: str | None = None) -> Ran:
        options = site.options(tmp_path / "cache", url)
        if action in ("info", "list", "verify", "clear", "unpin"):
            options = ("--cache", str(tmp_path / "cache"))
        return run("cache", action, *options, *words)

    return call


def stored(directory: Path) -> dict[str, Path]:
    """Every object in a cache."""
    objects = directory / "cache" / "objects"
    return {path.parent.name + path.name: path for path in objects.glob("*/*")}


def test_cache_fetch(cache: Command, site: Site, tmp_path: Path) -> None:
    ran = cache("fetch", TOP)
    assert (ran.status, ran.err) == (0, "")
    # Same content, same object: "zero" and the marker of the nested catalog.
    files = [path for path in site.source.rglob("*") if path.is_file() and not path.is_symlink()]
    different = {path.read_bytes() for path in files}
    assert ran.lines[0].startswith(f"{TOP}: {len(different)} files: 3.6 MB fetched, 0 bytes were")
    assert "0 bytes fetched, 3.6 MB were there" in cache("fetch", TOP).lines[0]
    everything = [f"{TOP}/{path.relative_to(site.source)}" for path in files]
    offline = run("cat", *site.options(tmp_path / "cache", NOWHERE), *everything)
    assert offline.status == 0
    assert offline.out == b"".join(path.read_bytes() for path in files)


def test_cache_fetch_link_and_file(cache: Command) -> None:
    assert cache("fetch", f"{TOP}/current").lines[0].startswith(f"{TOP}/current: 2 files: ")
    assert cache("fetch", f"{TOP}/README").lines[0].startswith(f"{TOP}/README: 1 files: 6 bytes")


def test_cache_fetch_failures(broken: Site, tmp_path: Path, command: Command) -> None:
    paths = [f"{TOP}/many/{number:02}" for number in range(25)]
    for facts in command("stat", "--json", *paths).json:
        object_of(broken, facts["hash"]).unlink()
    options = broken.options(tmp_path / "cache")
    ran = run("cache", "fetch", *options, "-q", f"{TOP}/many", f"{TOP}/nothing")
    assert ran.status == 1
    errors = ran.err.splitlines()
    assert len(errors) == 22
    assert errors[0].startswith(f"pyparrot: {TOP}/many/00: ")
    assert errors[20] == f"pyparrot: {TOP}/many: 5 more failures"
    assert errors[21] == f"pyparrot: {TOP}/nothing: No such file or directory"
    assert run("cat", *options, f"{TOP}/many/29").out == b"29\n"


def test_cache_info_and_list(cache: Command, tmp_path: Path) -> None:
    cache("fetch", "-q", TOP)
    facts = cache("info", "--json").json
    listed = cache("list", "--json").json
    assert facts["directory"] == str(tmp_path / "cache")
    assert facts["objects"] == len(listed) == len(stored(tmp_path))
    assert facts["bytes"] == sum(entry["size"] for entry in listed)
    assert facts["quota"] == 4000 << 20
    assert facts["kinds"]["chunked files"] == 1
    assert facts["kinds"]["indexes"] == facts["kinds"]["catalogs"] == 2
    assert len(cache("list").lines) == len(listed)
    assert any(line.startswith("objects ") for line in cache("info").lines)
    assert "1000.0 kB" not in cache("info", "-o", "CVMFS_QUOTA_LIMIT=1").lines[3]


def test_cache_clear(cache: Command, tmp_path: Path, site: Site) -> None:
    cache("fetch", "-q", TOP)
    cache("pin", "-q", f"{TOP}/current")
    ran = cache("clear")
    assert ran.status == 0
    # Two files, two catalogs and their indexes.
    assert len(stored(tmp_path)) == 6
    assert cache("info", "--json").json["objects"] == 6
    assert cache("clear", "--all").status == 0
    assert stored(tmp_path) == {}
    assert cache("info", "--json").json["pins"] == []
    assert run("cat", *site.options(tmp_path / "cache"), f"{TOP}/README").out == b"hello\n"


def test_cache_pin_works_offline(cache: Command, tmp_path: Path, site: Site) -> None:
    assert cache("pin", f"{TOP}/current/lib/").status == 0
    cache("clear")
    offline = site.options(tmp_path / "cache", NOWHERE)
    path = f"{TOP}/current/lib/lib.so"
    content = (site.source / "current/lib/lib.so").read_bytes()
    assert run("cat", *offline, path).out == content
    assert run("ls", *offline, f"{TOP}/releases/2.0/lib").lines == ["lib.so"]
    assert run("cat", *offline, "-o", "CVMFS_MAX_RETRIES=0", f"{TOP}/README").status == 1
    (pin,) = cache("info", "--json").json["pins"]
    assert (pin["path"], pin["revision"]) == (f"{TOP}/current/lib", 3)
    assert cache("unpin", f"{TOP}/current/lib").status == 0
    assert cache("info", "--json").json["pinned_bytes"] == 0
    cache("clear")
    assert stored(tmp_path) == {}


def test_cache_pins_share_objects(cache: Command, tmp_path: Path) -> None:
    cache("pin", "-q", f"{TOP}/many")
    cache("pin", "-q", f"{TOP}/many/00", f"{TOP}/README")
    cache("unpin", f"{TOP}/many")
    cache("clear")
    names = {stored(tmp_path)[name].read_bytes() for name in stored(tmp_path) if len(name) == 40}
    assert names == {b"0\n", b"hello\n"}


def test_cache_pin_stays_under_pressure(cache: Command, tmp_path: Path, site: Site) -> None:
    """A quota of 4 MB, of which the pin takes most: nothing of it goes."""
    small = ("-o", "CVMFS_QUOTA_LIMIT=4")
    assert cache("pin", *small, f"{TOP}/big").status == 0
    assert cache("fetch", *small, f"{TOP}/releases", f"{TOP}/many", f"{TOP}/bin").status == 0
    assert cache("fetch", *small, TOP).status == 0
    assert cache("info", "--json").json["kinds"]["chunked files"] == 1


def test_cache_unpin_what_is_not_pinned(cache: Command) -> None:
    ran = cache("unpin", f"{TOP}/many")
    assert ran.status == 1
    assert ran.err == (f"pyparrot: {TOP}/many: not pinned (pyparrot cache info lists the pins)\n")


def test_cache_pin_of_nothing(cache: Command) -> None:
    assert cache("pin", f"{TOP}/nothing").status == 1
    assert cache("info", "--json").json["pins"] == []


def test_cache_verify(cache: Command, tmp_path: Path, command: Command) -> None:
    cache("fetch", "-q", TOP)
    ran = cache("verify")
    assert ran.status == 0
    assert ran.out.endswith(b": 0 corrupt\n")
    objects = stored(tmp_path)
    (facts,) = command("stat", "--json", f"{TOP}/README").json
    bad = {
        facts["hash"],
        next(name for name in objects if name.endswith("W")),
        next(name for name in objects if "C." in name),
    }
    for name in bad:
        damaged = objects[name]
        damaged.chmod(0o600)
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
    ran = cache("verify", "-q")
    assert ran.status == 1
    assert {"".join(Path(line.partition(":")[0]).parts[-2:]) for line in ran.lines} == bad
    assert bad.isdisjoint(stored(tmp_path))
    assert cache("verify").status == 0
    assert "0 bytes fetched" not in cache("fetch", TOP).lines[0]
    assert bad <= set(stored(tmp_path))


def test_cache_verify_drops_what_nothing_vouches_for(cache: Command, tmp_path: Path) -> None:
    cache("fetch", "-q", TOP)
    for name, path in stored(tmp_path).items():
        if name.endswith("C"):
            path.unlink()
    (tmp_path / "cache/objects/zz").mkdir()
    (tmp_path / "cache/objects/zz/strange").write_bytes(b"?")
    ran = cache("verify")
    assert ran.status == 1
    assert ran.out.endswith(b": 1 corrupt, 3 dropped as nothing vouches for them\n")
    assert not any("C." in name or name.endswith("W") for name in stored(tmp_path))


# The command line


def test_options_between_paths(command: Command) -> None:
    paths = (f"{TOP}/README", "-d", f"{TOP}/zero", "--json", f"{TOP}/big")
    names = [entry["path"] for entry in command("ls", *paths).json]
    assert names == [f"{TOP}/README", f"{TOP}/big", f"{TOP}/zero"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nonsense",), "nonsense: no such command (pyparrot --help lists them all)"),
        (("--nonsense",), "command line: not understood: --nonsense (pyparrot --help)"),
        (("ls", "--nonsense", TOP), "ls: not understood: --nonsense (pyparrot ls --help)"),
        (
            ("cache", "clear", "x"),
            "cache clear: not understood: x (pyparrot cache clear --help)",
        ),
        (
            ("repo", "info"),
            "repo info: the following arguments are required: FQRN (pyparrot repo info --help)",
        ),
    ],
)
def test_words_that_are_not_understood(words: tuple[str, ...], says: str) -> None:
    assert run(*words) == (125, b"", f"pyparrot: {says}\n")


READING = ("ls", "cat", "stat", "find", "readlink", "repo", "cache", "config")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


def test_every_command_explains_itself() -> None:
    for parser in parsers(cli.new_parser(READING)):
        name = parser.prog.split()[1:]
        if name[:1] and name[0] in READING:
            assert "example" in (parser.epilog or ""), parser.prog
            assert max(map(len, (parser.epilog or "").splitlines())) <= 100
            for line in (parser.epilog or "").splitlines():
                assert not line.startswith("  ") or parser.prog.split()[1] in line, parser.prog


def test_completion_knows_all_options() -> None:
    script = run("completion", "bash").out.decode()
    for parser in parsers(cli.new_parser(tuple(cli.COMMANDS))):
        name = "_".join(parser.prog.split())
        known = re.search(rf"(?m)^_shtab_{name}_option_strings=\((.*)\)$", script)
        assert known, parser.prog
        options = {option for action in parser._actions for option in action.option_strings}
        assert options == set(shlex.split(known[1]))


# The documentation


@pytest.fixture
def newcomer(site: Site, warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """docs/reading.md, where its repository is there; its server has another port."""
    shutil.copy(site.key, tmp_path / "sw.pub")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(site.key.parents[2]))
    monkeypatch.setenv("CVMFS_SERVER_URL", f"{site.url}/@fqrn@")
    monkeypatch.setenv("CVMFS_CACHE_DIR", str(tmp_path / "cache"))
    document = Path(__file__).parents[2] / "docs" / "reading.md"
    return document.read_text().replace("http://127.0.0.1:8000/cvmfs", site.url)


def test_documented_commands_work(newcomer: str) -> None:
    commands = [line for line in newcomer.splitlines() if line.startswith("    pyparrot ")]
    assert len(commands) > 10
    for line in commands:
        ran = run(*shlex.split(line, comments=True)[1:])
        assert ran.status == 0, (line, ran)


def test_documented_python_works(newcomer: str, site: Site) -> None:
    blocks = re.findall(r"(?m)(?:^    from .*\n(?:    .*\n|\n(?=    ))*)", newcomer)
    assert len(blocks) == 3
    printed = io.StringIO()
    with redirect_stdout(printed):
        for block in blocks:
            exec(textwrap.dedent(block), {})
    assert "b'hello\\n'" in printed.getvalue()
    assert printed.getvalue().splitlines()[-2:] == ["['README']", "2 100000 ()"]


# Start-up, and the end


def python(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE)


_MODULES = """
import sys
from pyparrot import cli
try:
    status = cli.main(sys.argv[1:])
except SystemExit as end:
    status = end.code
print("#", status, *sys.modules)
"""


def modules_of(*words: str) -> set[str]:
    """The packages that a command imports."""
    status, *modules = (
        python("-c", _MODULES, *words).stdout.decode("ascii", "replace").split("#")[-1].split()
    )
    assert status == "0"
    return {module.partition(".")[0] for module in modules}


@pytest.mark.cost
@pytest.mark.parametrize("name", ["ls", "cat", "stat", "find", "readlink", "repo", "cache"])
def test_help_is_quick(name: str) -> None:
    costly = {"requests", "urllib3", "cryptography", "diskcache", "cffi", "sqlite3", "tqdm"}
    assert not costly & modules_of(name, "--help")


@pytest.mark.cost
@pytest.mark.parametrize(
    "words",
    [("ls", "-l", TOP), ("stat", TOP), ("cat", f"{TOP}/README"), ("find", TOP, "-maxdepth", "1")],
)
def test_what_is_cached_is_quick(
    site: Site, warm: Path, command: Command, words: tuple[str, ...]
) -> None:
    command(*words)
    loaded = modules_of(words[0], *site.options(warm), *words[1:])
    assert not {"requests", "urllib3", "cryptography", "tqdm"} & loaded


@pytest.mark.cost
def test_version_imports_next_to_nothing() -> None:
    shown = python("-c", _MODULES, "--version").stdout.decode()
    assert shown.startswith("pyparrot ")
    ours = {name for name in shown.split("#")[-1].split() if name.startswith("pyparrot")}
    assert ours == {"pyparrot", "pyparrot.cli", "pyparrot.errors"}
    assert not {"json", "subprocess", "socket", "logging"} & modules_of("--version")


@pytest.mark.parametrize("words", [("ls", "-lR", TOP), ("find", TOP), ("cat", f"{TOP}/big")])
def test_closed_pipe(site: Site, warm: Path, words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "pyparrot", words[0], *site.options(warm), *words[1:]],
            check=False,
            stdout=writer,
            stderr=subprocess.PIPE,
        )
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, b"")


@pytest.mark.parametrize(
    "words", [("ls", TOP), ("find", TOP), ("stat", TOP), ("cat", f"{TOP}/big")]
)
def test_output_that_is_closed_or_full(site: Site, warm: Path, words: tuple[str, ...]) -> None:
    def end(redirection: str) -> tuple[int, bytes]:
        pyparrot = [sys.executable, "-m", "pyparrot", words[0], *site.options(warm), *words[1:]]
        shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *pyparrot]
        ran = subprocess.run(shell, check=False, stderr=subprocess.PIPE)
        return ran.returncode, ran.stderr

    assert end(">&-") == (125, b"pyparrot: standard output: it is closed\n")
    status, message = end(">/dev/full")
    assert status == 125
    assert message.count(b"\n") == 1
    assert b"No space left on device" in message


# The official tools' repositories


class Sample(NamedTuple):
    """A repository that the official tools made, and what their client shows of it."""

    top: str
    options: tuple[str, ...]
    truth: list[dict[str, Any]]


@pytest.fixture(params=["test", "test@v1", "feat", "ext"])
def sample(
    request: pytest.FixtureRequest, fixtures_directory: Path, tmp_path: Path
) -> Iterator[Sample]:
    name, _, tag = request.param.partition("@")
    fqrn = f"{name}.cern.ch"
    truth = fixtures_directory / f"{fqrn}{'@' if tag else ''}{tag}.truth.jsonl"
    with Server(fixtures_directory) as server:
        options = [
            *("--server", f"{server.url}/{fqrn}", "--proxy", "DIRECT"),
            *("--key", str(fixtures_directory / f"{fqrn}.pub")),
            *("--cache", str(tmp_path / "cache")),
            *("-o", f"CVMFS_EXTERNAL_URL={server.url}/{fqrn}.external"),
            *(("--tag", tag) if tag else ()),
        ]
        entries = [json.loads(line) for line in truth.read_text().splitlines()]
        yield Sample(f"/cvmfs/{fqrn}", tuple(options), entries)


def path_of(sample: Sample, entry: dict[str, Any]) -> str:
    path = os.fsdecode(bytes.fromhex(entry["path_hex"])) if "path_hex" in entry else entry["path"]
    return (sample.top + path).rstrip("/")


def test_official_metadata(sample: Sample) -> None:
    found = {
        entry["path"]: entry for entry in run("find", *sample.options, sample.top, "--json").json
    }
    assert set(found) == {path_of(sample, entry) for entry in sample.truth}
    for entry in sample.truth:
        ours = found[path_of(sample, entry)]
        fields = (
            "type",
            "mode",
            "uid",
            "gid",
            "size",
            "mtime",
            "mtime_ns",
            "nlink",
            "target",
            "rdev",
        )
        assert {key: ours.get(key) for key in fields} == {key: entry.get(key) for key in fields}
        if entry["type"] == "file":
            assert ours.get("hash") == entry.get("user.hash")
            assert ours["compression"] == entry["user.compression"]
            assert str(ours["chunks"]) == entry["user.chunks"]
            assert ours["external"] == (entry["user.external_file"] == "1")
            chunks = [
                [name, str(offset), str(size)] for name, offset, size in ours.get("chunk_list", ())
            ]
            assert chunks == entry.get("chunk_list", [])


def test_official_ls(sample: Sample) -> None:
    """Every directory, by ``ls -lR``: modes, owners, sizes and links stand where ls has them."""
    lines = run("ls", "-lRan", *sample.options, sample.top).out.split(b"\n")
    shown = [line for line in lines if line[10:11] == b" " and not line.endswith((b" .", b" .."))]
    expected = [entry for entry in sample.truth if entry["path"] != "/"]
    modes = sorted(line[:10].decode() for line in shown)
    assert modes == sorted(mode_of(entry) for entry in expected)


def mode_of(entry: dict[str, Any]) -> str:
    kinds = {
        "file": stat.S_IFREG,
        "dir": stat.S_IFDIR,
        "symlink": stat.S_IFLNK,
        "blockdev": stat.S_IFBLK,
        "chardev": stat.S_IFCHR,
        "fifo": stat.S_IFIFO,
        "socket": stat.S_IFSOCK,
    }
    return stat.filemode(kinds[entry["type"]] | int(entry["mode"], 8))


def test_official_content(sample: Sample) -> None:
    files = [entry for entry in sample.truth if entry["type"] == "file"]
    content = run("cat", *sample.options, *(path_of(sample, entry) for entry in files))
    assert (content.status, content.err) == (0, "")
    stream = io.BytesIO(content.out)
    for entry in files:
        assert hashlib.sha256(stream.read(entry["size"])).hexdigest() == entry["sha256"]
    assert stream.read() == b""


def test_official_check(sample: Sample) -> None:
    ran = run("repo", "check", *sample.options, sample.top.rpartition("/")[2])
    assert ran.status == 0
    assert b": 0 faults" in ran.out

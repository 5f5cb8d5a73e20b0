"""What a loss of power, a disk or a tool may leave in the cache: the next use mends it.

Each kind of file that reading commands use, with each kind of damage, with and without a network:
with one, every command gives what it gave before; without, it does so as well or says in one line
what is damaged, and why it can't be had again.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from support.publishing import FQRN, Site, fill_source

from pyparrot import cli, serve
from pyparrot.cache.intact import MARK

LIMIT = 20.0
"""Seconds that no command may take."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "ls": ("ls", "-R", f"/cvmfs/{FQRN}"),
    "cat": ("cat", f"/cvmfs/{FQRN}/small", f"/cvmfs/{FQRN}/large"),
    "stat": ("stat", f"/cvmfs/{FQRN}/nested/deep/file"),
    "find": ("find", f"/cvmfs/{FQRN}", "-type", "f"),
    "refresh": ("ls", "--refresh", f"/cvmfs/{FQRN}/nested/deep"),
    "tag": ("ls", "--tag", "v1", f"/cvmfs/{FQRN}"),
    "info": ("repo", "info", FQRN),
}


class Outcome(NamedTuple):
    status: int
    out: bytes
    err: str


class Reader:
    """Reads the repository that is served at *url*, with a cache of its own."""

    def __init__(self, site: Site, url: str, cache: Path) -> None:
        self.site = site
        self.url = url
        self.cache = cache

    def words(self, name: str) -> list[str]:
        command = COMMANDS[name]
        options = ["--cache", str(self.cache), "--server", f"{self.url}/@fqrn@"]
        options += ["--key", str(self.site.key("pub")), "-o", "CVMFS_MAX_RETRIES=0"]
        depth = 2 if command[0] == "repo" else 1
        return [*command[:depth], *options, *command[depth:]]

    def read(self, name: str) -> Outcome:
        """Run a command in this process."""
        out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
        begin = time.monotonic()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(self.words(name))
        out.flush()
        assert time.monotonic() - begin < LIMIT
        assert isinstance(out.buffer, io.BytesIO)
        return Outcome(status, out.buffer.getvalue(), err.getvalue())

    def read_all(self) -> dict[str, Outcome]:
        return {name: self.read(name) for name in COMMANDS}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("published"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(site.base / "config"))
        site.good("init", FQRN, "--storage", site.storage, "--chunk-size", "1:1:2")
        site.source.mkdir()
        fill_source(site.source)
        site.good("sync", FQRN, site.source, "--tag", "v1")
        (site.source / "later").write_bytes(b"the third revision")
        site.good("sync", FQRN, site.source)
        yield site


class Warm(NamedTuple):
    """A cache that has all, what the commands gave then, and the server."""

    site: Site
    cache: Path
    good: dict[str, Outcome]
    server: serve.Server


@pytest.fixture(scope="module")
def warm(published: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    cache = tmp_path_factory.mktemp("warm") / "cache"
    with serve.Server(published.storage) as server:
        good = Reader(published, server.url, cache).read_all()
        assert all(outcome.status == 0 for outcome in good.values()), good
        yield Warm(published, cache, good, server)


def objects(*patterns: str) -> Callable[[Path], list[Path]]:
    def find(cache: Path) -> list[Path]:
        found = [
            file
            for file in sorted((cache / "objects").glob("??/*"))
            if any(re.fullmatch(pattern, file.parent.name + file.name) for pattern in patterns)
        ]
        assert found
        return found

    return find


def file_of(*names: str) -> Callable[[Path], list[Path]]:
    return lambda cache: [cache.joinpath(*names)]


HASH = "[0-9a-f]{40}"
KINDS: dict[str, Callable[[Path], list[Path]]] = {
    "manifest": file_of("manifests", FQRN),
    "trust record": file_of("origins", FQRN),
    "certificate": objects(f"{HASH}X"),
    "history": objects(f"{HASH}H"),
    "catalogs": objects(f"{HASH}C"),
    "indexes": objects(f"{HASH}C[.].*"),
    "files": objects(HASH),
    "chunked files": objects(f"{HASH}W"),
    "catalogs and indexes": objects(f"{HASH}C.*"),
    "all objects": objects(".*"),
}


def rewrite(change: Callable[[bytes], bytes], keep_time: bool) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        times = file.stat()
        content = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(change(content))
        file.chmod(0o500)
        if keep_time:
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    return damage


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    for place in range(0, len(changed), 97):
        changed[place] ^= 1 << place % 8
    return bytes(changed)


def replaced(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)
        if not file.is_symlink():
            os.utime(file, ns=(MARK, MARK))

    return damage


def full_directory(file: Path) -> None:
    file.mkdir()
    (file / "something").write_bytes(b"in the way")


DAMAGE: dict[str, Callable[[Path], None]] = {
    # What a loss of power leaves has its time already.
    "emptied": rewrite(lambda _: b"", keep_time=True),
    "cut": rewrite(lambda content: content[: len(content) // 2], keep_time=True),
    "cut a little": rewrite(lambda content: content[:-1], keep_time=True),
    "bits": rewrite(flipped, keep_time=False),
    "zeros": rewrite(lambda content: bytes(len(content)), keep_time=False),
    "garbage": rewrite(lambda _: b"\xff\xfe garbage \xe4\n" * 50, keep_time=True),
    "a directory": replaced(full_directory),
    "a pipe": replaced(os.mkfifo),
    "a dangling link": replaced(lambda file: file.symlink_to("nowhere")),
    "a link in a circle": replaced(lambda file: file.symlink_to(file.name)),
}


def damaged_copy(warm: Warm, kind: str, damage: str, tmp_path: Path) -> Path:
    cache = tmp_path / "cache"
    shutil.copytree(warm.cache, cache, symlinks=True)
    for file in KINDS[kind](cache):
        DAMAGE[damage](file)
    return cache


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_mended(kind: str, damage: str, warm: Warm, tmp_path: Path) -> None:
    cache = damaged_copy(warm, kind, damage, tmp_path)
    reader = Reader(warm.site, warm.server.url, cache)
    for name in COMMANDS:
        outcome = reader.read(name)
        expected = warm.good[name]
        assert (outcome.status, outcome.err) == (0, ""), (name, outcome)
        assert _comparable(outcome.out) == _comparable(expected.out), name
    if kind == "catalogs":
        return  # which nobody reads while there are indexes of them
    for file in KINDS[kind](cache):
        assert file.is_file()
        assert kind in ("manifest", "trust record") or file.stat().st_mtime_ns == MARK


def _comparable(out: bytes) -> bytes:
    return re.sub(rb"(?m)^cache .*$", b"", out)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_without_a_network(kind: str, damage: str, warm: Warm, tmp_path: Path) -> None:
    """Right, or one line for each path: with what is damaged, and why it can't be had again."""
    cache = damaged_copy(warm, kind, damage, tmp_path)
    with serve.Server(warm.site.storage) as gone:
        url = gone.url
    reader = Reader(warm.site, url, cache)
    for name in ("ls", "cat", "stat", "tag"):
        outcome = reader.read(name)
        if outcome.status == 0:
            assert outcome.out == warm.good[name].out
        lines = outcome.err.splitlines()
        assert outcome.status == 0 or lines, outcome
        assert len(lines) <= 3, outcome
        for line in lines:
            assert re.match(r"pyparrot: .*: .*", line), outcome
            assert FQRN in line or str(cache) in line, outcome
            assert "Traceback" not in line
            assert "Errno" not in line
    # And with the network it is as before.
    reader = Reader(warm.site, warm.server.url, cache)
    for name in ("ls", "cat"):
        outcome = reader.read(name)
        assert (outcome.status, outcome.out) == (0, warm.good[name].out), outcome


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run_mends_damage(damage: str, warm: Warm, tmp_path: Path) -> None:
    cache = damaged_copy(warm, "all objects", damage, tmp_path)
    for kind in ("manifest", "trust record"):
        for file in KINDS[kind](cache):
            DAMAGE[damage](file)
    reader = Reader(warm.site, warm.server.url, cache)
    top = f"/cvmfs/{FQRN}"
    options = [word for word in reader.words("stat") if word not in COMMANDS["stat"]]
    script = f"cat {top}/small {top}/large && ls {top}/nested/deep"
    done = subprocess.run(
        [sys.executable, "-m", "pyparrot", "run", *options, "--", "sh", "-c", script],
        env=warm.site.environment,
        capture_output=True,
        timeout=LIMIT * 3,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == warm.good["cat"].out + b"file\n"


def test_no_permission(ordinary: Site) -> None:
    """Mode 0, for a user who can't go round it."""
    ordinary.run("init", FQRN, "--storage", ordinary.storage, "--chunk-size", "1:1:2")
    fill = ordinary.source / "small"
    fill.write_bytes(b"small")
    done = ordinary.run("sync", FQRN, ordinary.source)
    assert done.status == 0, done
    cache = ordinary.base / "cache"
    with serve.Server(ordinary.storage) as server:
        reader = Reader(ordinary, server.url, cache)
        assert _as_ordinary(ordinary, reader.words("info")).returncode == 0
        words = [word for word in reader.words("cat") if not word.endswith("/large")]
        assert _as_ordinary(ordinary, words).stdout == b"small"
        for kind in ("manifest", "trust record", "certificate", "history", "catalogs", "indexes"):
            for file in KINDS[kind](cache):
                file.chmod(0)
            for command in (words, reader.words("info")):
                done_reading = _as_ordinary(ordinary, command)
                assert (done_reading.returncode, done_reading.stderr) == (0, b""), kind
        for file in KINDS["all objects"](cache):
            file.chmod(0)
        done_reading = _as_ordinary(ordinary, words)
        assert (done_reading.stdout, done_reading.stderr) == (b"small", b"")


def _as_ordinary(site: Site, words: list[str]) -> subprocess.CompletedProcess[bytes]:
    user = site._user
    options: dict[str, Any] = {}
    if user is not None:
        options = {"user": user, "group": user, "extra_groups": []}
    return subprocess.run(
        [sys.executable, "-m", "pyparrot", *words],
        env=site.environment,
        cwd=site.base,
        capture_output=True,
        timeout=LIMIT * 3,
        check=False,
        **options,
    )

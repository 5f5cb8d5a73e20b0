"""All that commands print, log and report, in good and in bad cases, is free of passwords."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.faulty_server import FaultyServer, dead_port, forward
from support.publishing import FQRN, Site

from pyparrot import serve

SECRET = "Geheim42"
LIMIT = 60.0


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("published"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(site.base / "config"))
        site.good("init", FQRN, "--storage", site.storage)
        site.source.mkdir()
        (site.source / "file").write_bytes(b"content\n")
        site.good("sync", FQRN, site.source)
    return site


def with_secret(url: str) -> str:
    return url.replace("://", f"://user:{SECRET}@")


def run(site: Site, *words: str, expect: int | None = 0, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyparrot", *words],
        env={**site.environment, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert expect is None or done.returncode == expect, done
    assert "Traceback" not in done.stderr
    assert done.stdout + done.stderr
    assert SECRET not in done.stdout, done.stdout
    assert SECRET not in done.stderr, done.stderr
    return done.stdout + done.stderr


def options(site: Site, cache: Path, *more: str) -> list[str]:
    return [
        "--cache",
        str(cache),
        "--key",
        str(site.key("pub")),
        "-o",
        "CVMFS_MAX_RETRIES=0",
        *more,
    ]


def assert_no_secret_in(directory: Path) -> None:
    """Nor is one left in any file."""
    for top, _, names in os.walk(directory):
        for name in names:
            assert SECRET.encode() not in (Path(top) / name).read_bytes(), name


def test_what_works(published: Site, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    log = tmp_path / "log"
    with serve.Server(published.storage) as server, FaultyServer(forward(like_squid=True)) as proxy:
        url = with_secret(server.url) + "/@fqrn@"
        proxies = (
            with_secret(proxy.url) + f"|user:{SECRET}@127.0.0.1:{proxy.url.rpartition(':')[2]}"
        )
        there = options(published, cache, "--server", url, "--proxy", proxies)
        top = f"/cvmfs/{FQRN}"
        for words in (
            ("ls", *there, top),
            ("cat", *there, f"{top}/file"),
            ("stat", *there, "--json", f"{top}/file"),
            ("find", *there, top),
            ("repo", "info", *there, FQRN),
            ("repo", "info", "--json", *there, FQRN),
            ("repo", "check", *there, FQRN),
            ("cache", "fetch", *there, top),
            ("run", "-vv", "--stats", *there, "--", "cat", f"{top}/file"),
            ("run", "-vv", "--log", str(log), *there, "--", "cat", f"{top}/file"),
        ):
            run(published, *words)
    assert SECRET not in log.read_text()
    assert proxy.count > 0
    assert_no_secret_in(cache)


def test_what_is_configured(published: Site, tmp_path: Path) -> None:
    values = {
        "CVMFS_SERVER_URL": f"http://user:{SECRET}@127.0.0.1:1/@fqrn@;http://{SECRET}@[::1]:2/x",
        "CVMFS_HTTP_PROXY": f"user:{SECRET}@127.0.0.1:3|http://u:{SECRET}@127.0.0.1:4;DIRECT",
        "CVMFS_EXTERNAL_URL": f"http://127.0.0.1:5/x?token={SECRET}",
        "CVMFS_FALLBACK_PROXY": f"u:{SECRET}/x@127.0.0.1:6",
    }
    words = [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
    for shown in (
        run(published, "config", "show", FQRN, *words),
        run(published, "config", "show", "--json", FQRN, *words),
        run(published, "config", "show", FQRN, expect=0, **values),
    ):
        for port in "13456":
            assert f"127.0.0.1:{port}" in shown
    directory = tmp_path / "pyparrot"
    directory.mkdir()
    (directory / "default.local").write_text(
        f"CVMFS_SERVER_URL=http://u:{SECRET}@127.0.0.1/x\nodd $(echo http://u:{SECRET}@127.0.0.1/x)\n"
    )
    for extra in ((), ("--json",)):
        run(published, "config", "show", FQRN, *extra, XDG_CONFIG_HOME=str(tmp_path))


def test_what_fails(published: Site, tmp_path: Path) -> None:
    with dead_port() as port:
        dead = f"http://user:{SECRET}@127.0.0.1:{port}"
        cases: list[tuple[str, ...]] = [
            ("--server", f"{dead}/@fqrn@"),
            ("--server", f"{dead}/a;{dead}/b"),
            ("--server", f"{dead}/x?token={SECRET}"),
            ("--server", f"{dead}/x#{SECRET}"),
            ("--server", f"ftp://user:{SECRET}@127.0.0.1/x"),
            ("--server", f"http://user:{SECRET}@/x"),
            ("--server", f"http://user:{SECRET}/slash@127.0.0.1/x"),
            ("--server", f"http://user:{SECRET} blank@127.0.0.1/x"),
            ("--server", f"http://user:{SECRET}@127.0.0.1:99999/x"),
            ("--server", f"http://user:{SECRET}@no such host/x"),
            ("--server", "http://127.0.0.1:1/x", "--proxy", dead),
            ("--server", "http://127.0.0.1:1/x", "--proxy", f"user:{SECRET}@127.0.0.1:{port}"),
            ("--server", "http://127.0.0.1:1/x", "--proxy", f"ftp://u:{SECRET}@127.0.0.1"),
            ("--server", "http://127.0.0.1:1/x", "--proxy", f"http://u:{SECRET}@a b"),
            ("--serer", f"{dead}/x"),
            ("--revision", f"{dead}/x"),
            ("-o", f"{dead}/x"),
            ("-o", f"CVMFS_TIMEOUT={dead}/x"),
        ]
        for number, more in enumerate(cases):
            there = options(published, tmp_path / f"cache{number}", *more)
            run(published, "ls", *there, f"/cvmfs/{FQRN}", expect=None)
            run(published, "repo", "info", *there, FQRN, expect=None)
        dead_there = options(published, tmp_path / "cache", "--server", f"{dead}/@fqrn@")
        run(published, "run", "-vv", *dead_there, "--", "ls", f"/cvmfs/{FQRN}", expect=None)
        mount = f"/sw=cvmfs+{dead}/{FQRN}"
        run(published, "run", "-vv", *dead_there, "-M", mount, "--", "ls", expect=None)


def test_command_lines(published: Site, tmp_path: Path) -> None:
    """What ``ps`` shows of all processes of a run, to everybody."""
    with serve.Server(published.storage) as server:
        url = with_secret(server.url) + "/@fqrn@"
        there = options(published, tmp_path / "cache", "--server", url, "--proxy", "DIRECT")
        script = "echo ready; cat; exit 0"
        with subprocess.Popen(
            [sys.executable, "-m", "pyparrot", "run", *there, "--", "sh", "-c", script],
            env=published.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == b"ready\n"
            shown = list(command_lines(str(tmp_path / "cache")))
            process.stdin.close()
            assert process.wait(LIMIT) == 0
    assert len(shown) >= 3
    assert not [line for line in shown if SECRET.encode() in line]


def command_lines(text: str) -> Iterator[bytes]:
    end = time.monotonic() + LIMIT
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and time.monotonic() < end:
            try:
                line = Path("/proc", entry, "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in line:
                yield line

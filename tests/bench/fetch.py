"""How fast many small files are fetched: `read.py` tells more."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import multiprocessing
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from report import Row, timed

from pyparrot.parallel import THREADS
from pyparrot.progress import Progress
from pyparrot.repository import open_repository
from pyparrot.sources.cvmfs.handles import Body
from pyparrot.sources.cvmfs.prefetch import prefetch
from pyparrot.sources.cvmfs.remote import RemoteRepository

FQRN = "bench.example.org"
NGINX = "/usr/sbin/nginx"
DELAY = 0.020
FILES_A_DIRECTORY = 100
BY_ONE = 200
"""How many files are fetched one by one through the delay: it takes long enough."""


class Site(NamedTuple):
    """A published repository that is served: on which port, its files, its public key."""

    port: int
    storage: str
    key: str
    server: str


@contextlib.contextmanager
def served(work: str, files: int) -> Iterator[Site]:
    """Publish small files, as many as that, and serve them."""
    source, storage, home = (os.path.join(work, name) for name in ("tree", "storage", "home"))
    _make_files(source, files)
    environment = {**os.environ, "XDG_CONFIG_HOME": home}
    for words in (["init", FQRN, "--storage", storage], ["sync", FQRN, source]):
        command = [sys.executable, "-m", "pyparrot", "publish", *words]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    key = next(Path(home).rglob(f"{FQRN}.pub"))
    port = _free_port()
    server = "nginx" if os.access(NGINX, os.X_OK) else "pyparrot serve"
    if server == "nginx":
        command = [NGINX, "-p", work, "-c", _nginx_configuration(work, storage, port)]
    else:
        command = [sys.executable, "-m", "pyparrot", "serve", storage, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            # The client reads no configuration but its own.
            os.environ["XDG_CONFIG_HOME"] = os.path.join(work, "no-configuration")
            yield Site(port, storage, str(key), server)
        finally:
            process.terminate()


def _make_files(directory: str, count: int) -> None:
    chance = random.Random(1)
    for number in range(count):
        folder = os.path.join(directory, f"d{number // FILES_A_DIRECTORY:04}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"f{number:06}.py"), "wb") as file:
            size = min(200_000, int(chance.lognormvariate(8, 1)))
            file.write(b"# %d\n" % number + chance.randbytes(size // 2).hex().encode())


def _nginx_configuration(work: str, storage: str, port: int) -> str:
    file = os.path.join(work, "nginx.conf")
    user = "user root;" if os.geteuid() == 0 else ""
    Path(file).write_text(
        f"daemon off; {user} worker_processes 1; pid {work}/nginx.pid; error_log {work}/errors;\n"
        "events { worker_connections 512; }\n"
        "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
        f" client_body_temp_path {work}/n1; proxy_temp_path {work}/n2;"
        f" fastcgi_temp_path {work}/n3; uwsgi_temp_path {work}/n4; scgi_temp_path {work}/n5;\n"
        f" server {{ listen 127.0.0.1:{port}; location /cvmfs/ {{ alias {storage}/; }} }} }}\n"
    )
    return file


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _forward(port: int, target: int, delay: float) -> None:
    """Pass connections on, each answer's bytes *delay* seconds later. Runs in its own process."""

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(1 << 16):
            # Held back, but not one after the other: that would limit the throughput as well.
            if delay:
                loop.call_later(delay, writer.write, data)
            else:
                writer.write(data)
        loop.call_later(delay, writer.close)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(
            pump(reader, back, 0), pump(there, writer, delay), return_exceptions=True
        )

    async def run() -> None:
        server = await asyncio.start_server(accepted, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(run())


@contextlib.contextmanager
def delayed(port: int) -> Iterator[int]:
    """The port of a forwarder to *port*."""
    own = _free_port()
    process = multiprocessing.Process(target=_forward, args=(own, port, DELAY), daemon=True)
    process.start()
    try:
        _wait_for(own)
        yield own
    finally:
        process.terminate()
        process.join()


@contextlib.contextmanager
def opened(site: Site, port: int, work: str) -> Iterator[RemoteRepository]:
    """The repository, with an empty cache.

    Nothing is removed before the end: for minutes after many files were removed, some file systems
    (ext4 without a journal) make new ones far more slowly.
    """
    cache = tempfile.mkdtemp(prefix="cache-", dir=work)
    server = f"http://127.0.0.1:{port}/cvmfs/@fqrn@"
    repository = open_repository(FQRN, server=server, key=site.key, proxy="DIRECT", cache=cache)
    with closing(repository):
        yield repository


def _prefetch(repository: RemoteRepository) -> None:
    outcome = prefetch(repository, [b"/"], Progress("", "", quiet=True))
    assert not outcome.failures, outcome.failures[:3]


def _one_by_one(repository: RemoteRepository) -> None:
    for listed in islice(repository.regular_files(["/"]), BY_ONE):
        repository.body(listed.node, listed.path)


def _requests_alone(repository: RemoteRepository, port: int, work: str) -> None:
    """The same bytes with `requests`: asked for, checked, unpacked, written."""
    import requests

    base = f"http://127.0.0.1:{port}/cvmfs/{FQRN}/data/"
    local = threading.local()
    target = tempfile.mkdtemp(prefix="alone-", dir=work)

    def fetch(digest: str) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.trust_env = False
        packed = local.session.get(base + digest[:2] + "/" + digest[2:]).content
        assert hashlib.sha1(packed, usedforsecurity=False).hexdigest() == digest
        with open(os.path.join(target, digest), "xb") as file:
            file.write(zlib.decompress(packed))

    bodies = [Body.of(listed.node) for listed in repository.regular_files(["/"])]
    digests = {body.digest.hex() for body in bodies if body.digest is not None}
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fetch, digests))


def fetching(work: str, files: int, rounds: int) -> Iterator[Row]:
    """Fetching many small files."""
    times: list[list[float]] = []
    with served(work, files) as site, delayed(site.port) as slow:
        for _ in range(rounds):
            with opened(site, site.port, work) as repository:
                begun = time.process_time()
                fast = timed(partial(_prefetch, repository)) / files
                processor = (time.process_time() - begun) / files
                alone = timed(partial(_requests_alone, repository, site.port, work)) / files
            with opened(site, slow, work) as repository:
                behind = timed(partial(_prefetch, repository)) / files
            with opened(site, slow, work) as repository:
                single = timed(partial(_one_by_one, repository)) / BY_ONE
            times.append([1000 * seconds for seconds in (fast, processor, alone, behind, single)])
    fast, processor, alone, behind, single = (statistics.median(column) for column in zip(*times))
    yield Row(f"fetch of {files:,} files from {site.server}, each", fast, "ms", "< 0.4", alone)
    yield Row("  CPU time of the client alone", processor, "ms")
    yield Row(f"  behind {DELAY * 1000:.0f} ms", behind, "ms")
    yield Row("  the same, one by one", single, "ms")
    yield Row("  how much longer that takes", single / behind, "times", ">= 10")

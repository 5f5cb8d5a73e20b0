"""How fast repositories are read: look-ups, the making of indexes, fetching, and memory.

look-ups: random distinct real paths of 3 to 5 parts, over the whole catalog, through the C walk
  (``lookups.c``, compiled here against ``csrc``), in nanoseconds of CPU time; "absent" are names
  that are not there in directories that are. The floor is two random reads of the same file, the
  second's place depending on the first: what a table and a record cost in cache misses alone.
index: an index file made of a catalog; the floor reads the catalog's rows and does nothing else.
fetch: all of a repository's small files into an empty cache, from nginx (or, without it,
  `pyparrot serve`) on loopback, with `pyparrot.cache.prefetch`; also the CPU time of this process
  alone. Through a forwarder that holds each answer back by 20 ms, the same, and one by one. The
  floor is `requests` in as many threads, each with a session: get, check the hash, write a file.
memory: a process of its own opens an index: what it needs more than before (RSS), and its share
  of the mapped file (PSS), after the opening and after 10,000 look-ups.

All are medians of several rounds. Other programs on the machine disturb the wall-clock times.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import multiprocessing
import os
import platform
import random
import shutil
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
from typing import Callable, NamedTuple

from pyparrot.index import ROOT_HASH, Index, build
from pyparrot.repository import open_repository
from pyparrot.repository.cvmfs import catalog as catalogs
from pyparrot.repository.cvmfs.catalog import Catalog, Entry
from pyparrot.repository.cvmfs.hashes import Algorithm
from pyparrot.repository.cvmfs.remote import RemoteRepository
from pyparrot.walk import Found, Snapshot

FQRN = "bench.example.org"
NGINX = "/usr/sbin/nginx"
DELAY = 0.020
HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "csrc"
MOST_PATHS = 300_000
SMALL_FILES_A_DIRECTORY = 100
BY_ONE = 200
"""How many files are fetched one by one through the delay: it takes long enough."""


class Row(NamedTuple):
    """A figure: the median, what is wanted of it, and the floor below which it can't be."""

    what: str
    value: float
    unit: str
    wanted: str = ""
    floor: float | None = None


# Catalogs


def make_catalog(work: str, entries: int) -> tuple[str, list[bytes]]:
    """A catalog with so many entries, and the paths of its files."""
    file = os.path.join(work, f"catalog-{entries}")
    digest = Algorithm.SHA1.of(b"").digest
    directory = Entry(b"", catalogs.DIRECTORY, 0o040755, 4096, 1_700_000_000, None, 0, 0)
    regular = Entry(b"", catalogs.FILE, 0o100644, 3000, 1_700_000_000, 5, 0, 0, digest=digest)
    paths: list[bytes] = []
    with closing(Catalog.create(file)) as made:
        made.put([(b"", directory)])
        source = islice(_tree(), entries - 1)
        while batch := list(islice(source, 20_000)):
            made.put(
                [
                    (
                        path,
                        (regular if is_file else directory)._replace(name=path.rpartition(b"/")[2]),
                    )
                    for path, is_file in batch
                ]
            )
            paths += (path for path, is_file in batch if is_file)
    return file, paths


def _tree() -> Iterator[tuple[bytes, bool]]:
    """Paths as in software trees, and whether each is a file's; directories come first."""
    for package in range(10**9):
        top = b"/package%d" % package
        yield top, False
        for version in range(8):
            folder = top + b"/%d.%d" % (version // 3, version)
            yield folder, False
            for name in (b"/lib", b"/lib/python")[: version % 3]:
                folder += name if name == b"/lib" else b"/python"
                yield folder, False
            for number in range(100):
                yield folder + b"/module_%d_%d.py" % (number, package % 7), True


def make_index(catalog: str, output: str) -> None:
    """Build the index file *output*."""
    with closing(Catalog.open(catalog)) as opened:
        build(opened, Algorithm.SHA1.of(b"catalog"), b"", ROOT_HASH, output)


def look_ups(work: str, sizes: list[int], rounds: int) -> Iterator[Row]:
    """Look-ups in catalogs of these sizes."""
    program = os.path.join(work, "lookups")
    sources = [str(HERE / "lookups.c"), str(CORE / "index.c"), str(CORE / "walk.c")]
    options = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{CORE}"]
    subprocess.run(["cc", *options, *sources, "-o", program], check=True)
    for size in sizes:
        catalog, paths = make_catalog(work, size)
        index = os.path.join(work, f"index-{size}")
        make_index(catalog, index)
        listed = os.path.join(work, "paths")
        chance = random.Random(1)
        chosen = chance.sample(paths, min(MOST_PATHS, len(paths)))
        Path(listed).write_bytes(b"".join(path + b"\n" for path in chosen))
        result = subprocess.run(
            [program, index, listed, str(rounds)], check=True, stdout=subprocess.PIPE, text=True
        )
        lines = [[float(word) for word in line.split()] for line in result.stdout.splitlines()]
        present, absent, floor = (statistics.median(column) for column in zip(*lines))
        yield Row(f"look-up among {size:,}, present", present, "ns", "< 200", floor)
        yield Row(f"look-up among {size:,}, absent", absent, "ns", "< 200", floor)


def index_build(work: str, entries: int, rounds: int) -> Iterator[Row]:
    """The making of an index."""
    catalog, _ = make_catalog(work, entries)
    output = os.path.join(work, "built")
    times, floors = [], []
    for _ in range(rounds):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(output)
        times.append(_timed(lambda: make_index(catalog, output)))
        floors.append(_timed(lambda: _read_rows(catalog)))
    value, floor = statistics.median(times), statistics.median(floors)
    yield Row(f"index of {entries:,} entries", value, "s", "< 1", floor)


def _read_rows(catalog: str) -> None:
    with closing(Catalog.open(catalog)) as opened:
        for _ in opened.rows():
            pass


def _timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


# Fetching


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
    server = NGINX if os.access(NGINX, os.X_OK) else "pyparrot serve"
    if server == NGINX:
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
        folder = os.path.join(directory, f"d{number // SMALL_FILES_A_DIRECTORY:04}")
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
    """The repository, with an empty cache."""
    cache = os.path.join(work, "cache")
    shutil.rmtree(cache, ignore_errors=True)
    server = f"http://127.0.0.1:{port}/cvmfs/@fqrn@"
    repository = open_repository(FQRN, server=server, key=site.key, proxy="DIRECT", cache=cache)
    with closing(repository):
        yield repository


def _prefetch(repository: RemoteRepository) -> None:
    from pyparrot.cache.prefetch import prefetch
    from pyparrot.progress import Progress

    outcome = prefetch(repository, [b"/"], Progress(show=False))
    assert not outcome.failures, outcome.failures[:3]


def _one_by_one(repository: RemoteRepository) -> None:
    for listed in islice(repository.regular_files(["/"]), BY_ONE):
        repository.body(listed.node, listed.path)


def _fetch_floor(repository: RemoteRepository, port: int, work: str) -> None:
    """The same bytes with `requests` alone: asked for, checked, unpacked, written."""
    import requests

    base = f"http://127.0.0.1:{port}/cvmfs/{FQRN}/data/"
    local = threading.local()
    target = os.path.join(work, "floor")
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)

    def fetch(digest: str) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.trust_env = False
        packed = local.session.get(base + digest[:2] + "/" + digest[2:]).content
        assert hashlib.sha1(packed, usedforsecurity=False).hexdigest() == digest
        with open(os.path.join(target, digest), "xb") as file:
            file.write(zlib.decompress(packed))

    digests = {listed.node.digest.hex() for listed in repository.regular_files(["/"])}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fetch, digests))


def fetching(work: str, files: int, rounds: int) -> Iterator[Row]:
    """Fetching many small files."""
    with served(work, files) as site, delayed(site.port) as slow:
        fast_times: list[float] = []
        processor: list[float] = []
        floors: list[float] = []
        slow_times: list[float] = []
        single: list[float] = []
        for _ in range(rounds):
            with opened(site, site.port, work) as repository:
                begun = time.process_time()
                fast_times.append(_timed(partial(_prefetch, repository)) / files)
                processor.append((time.process_time() - begun) / files)
                floor_of = partial(_fetch_floor, repository, site.port, work)
                floors.append(_timed(floor_of) / files)
            with opened(site, slow, work) as repository:
                slow_times.append(_timed(partial(_prefetch, repository)) / files)
            with opened(site, slow, work) as repository:
                single.append(_timed(partial(_one_by_one, repository)) / BY_ONE)
        medians = [
            1000 * statistics.median(times)
            for times in (fast_times, processor, slow_times, single, floors)
        ]
        fast, cpu, slow_value, one, floor = medians
        yield Row(f"fetch of {files:,} files, each", fast, "ms", "< 0.4", floor)
        yield Row("  CPU time of the client alone", cpu, "ms")
        yield Row(f"  behind {DELAY * 1000:.0f} ms", slow_value, "ms")
        yield Row(f"  behind {DELAY * 1000:.0f} ms, one by one", one, "ms")
        yield Row("  how much faster that is", one / slow_value, "times", ">= 10")


# Memory


def memory(work: str, entries: int, rounds: int) -> Iterator[Row]:
    """What a process needs that reads an index."""
    catalog, paths = make_catalog(work, entries)
    index = os.path.join(work, "index")
    make_index(catalog, index)
    chosen = os.path.join(work, "chosen")
    some = random.Random(2).choices(paths, k=10_000)
    Path(chosen).write_bytes(b"\n".join(some))
    measured = []
    for _ in range(rounds):
        command = [sys.executable, str(HERE / "read.py"), "--reader", index, chosen]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured.append([int(word) for word in result.stdout.split()])
    before, after, pss, after_all, pss_all = (statistics.median(c) / 1024 for c in zip(*measured))
    size = os.path.getsize(index) / 2**20
    yield Row(f"index file of {entries:,} entries", size, "MiB")
    yield Row("  RSS before it is opened", before, "MiB")
    yield Row("  RSS more, when it is opened", after - before, "MiB")
    yield Row("  PSS of the map, when it is opened", pss, "MiB")
    yield Row("  RSS more, after 10,000 look-ups", after_all - before, "MiB")
    yield Row("  PSS of the map, after 10,000 look-ups", pss_all, "MiB")


def reader(index: str, chosen: str) -> None:
    """Runs in a process of its own: prints kB before, opened (and the map's), used (the same)."""
    paths = Path(chosen).read_bytes().split(b"\n")
    before = _kilobytes("VmRSS:", "status")
    snapshot = Snapshot(Index(index), b"/cvmfs/" + FQRN.encode(), {})
    figures = [before, _kilobytes("VmRSS:", "status"), _kilobytes("Pss:", "smaps", index)]
    for path in paths:
        assert isinstance(snapshot.walk(path), Found)
    figures += [_kilobytes("VmRSS:", "status"), _kilobytes("Pss:", "smaps", index)]
    print(*figures)


def _kilobytes(key: str, file: str, mapped: str = "") -> int:
    """The sum of *key* in a file of /proc/self; of one file's maps if *mapped* is given."""
    total, counts = 0, not mapped
    with open(f"/proc/self/{file}", encoding="utf-8") as stream:
        for line in stream:
            words = line.split()
            if mapped and "-" in words[0] and not words[0].endswith(":"):
                counts = words[-1] == mapped
            elif counts and words[0] == key:
                total += int(words[1])
    return total


# All together


def show(rows: list[Row]) -> None:
    """Print a table."""
    print(f"{'':42}{'median':>10}{'':6}{'wanted':>8}{'floor':>10}")
    for row in rows:
        floor = "" if row.floor is None else f"{row.floor:10.2f}"
        print(f"{row.what:42}{row.value:10.2f} {row.unit:5}{row.wanted:>8}{floor}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="tools/bench read",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes (1.0)")
    parser.add_argument("--only", choices=("lookups", "index", "fetch", "memory"), help="one part")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--work", metavar="DIR", help="where to make catalogs and repositories")
    parser.add_argument("--reader", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.reader:
        reader(*arguments.reader)
        return

    def scaled(size: int) -> int:
        return max(1000, int(size * arguments.scale))

    sizes = sorted({scaled(size) for size in (1_000, 100_000, 1_000_000)})
    parts: dict[str, Callable[[str], Iterator[Row]]] = {
        "lookups": lambda work: look_ups(work, sizes, arguments.rounds),
        "index": lambda work: index_build(work, scaled(200_000), arguments.rounds),
        "fetch": lambda work: fetching(work, scaled(5_000), arguments.rounds),
        "memory": lambda work: memory(work, scaled(1_000_000), arguments.rounds),
    }
    rows: list[Row] = []
    for name, measure in parts.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="pyparrot-bench-", dir=arguments.work) as work:
                rows += measure(work)
    server = "nginx" if os.access(NGINX, os.X_OK) else "pyparrot serve (nginx is not here)"
    print(
        f"{len(os.sched_getaffinity(0))} cores, Linux {platform.release()},"
        f" Python {platform.python_version()}, {server}; medians of {arguments.rounds} rounds"
    )
    show(rows)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump([row._asdict() for row in rows], file, indent=1)


if __name__ == "__main__":
    main()

"""What running under pyparrot costs: single system calls and whole commands, beside native.

All that takes part does the same work in turns, round for round: native on local disk, pyparrot on
a published copy over HTTP (warm), proot if it is installed, and others that options name, such as

    --peer 'parrot=parrot_run -M /p=TREE --' --tree parrot=/p
    --peer fuse= --tree fuse=/cvmfs/bench.example.org

where TREE stands for the local directory. Another version of pyparrot takes part as

    --peer 'old=/old/bin/pyparrot run --server URL --cache WORK/old --' --tree old=PUBLISHED

where URL stands for the server of the published copy, whose keys it finds, WORK for the directory
that everything is in, and PUBLISHED for the copy's path.

A figure is the median of the rounds; what counts is its
ratio to native in the same rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import report

FQRN = "bench.example.org"
TREE = f"/cvmfs/{FQRN}"
MEGABYTE = 1 << 20
ROUNDS_OF_CALLS = 2000
IDENTITY = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")


class Peer(NamedTuple):
    """What is measured: the words before a command, and where it sees the tree."""

    name: str
    prefix: tuple[str, ...]
    tree: str
    environment: dict[str, str]


# The tree


def make_tree(tree: Path, scale: float) -> None:
    """Make everything that the rows need."""
    chance = random.Random(1)
    tree.mkdir(parents=True)
    (tree / "small").write_bytes(chance.randbytes(4096))
    (tree / "large").write_bytes(os.urandom(int(256 * scale) * MEGABYTE or MEGABYTE))
    shutil.copy("/bin/true", tree / "true")
    make_files(tree / "many", 1000, 1000, 10, chance)
    for number in range(LIBRARY_DIRECTORIES):
        (tree / f"libraries/d{number}").mkdir(parents=True)
        (tree / f"libraries/d{number}/libbench{number}.so").write_bytes(b"")
    make_files(tree / "wide", int(20_000 * scale), 200, 20, chance)
    make_files(tree / "files", int(5_000 * scale), 100, 2000, chance)
    make_files(tree / "work", int(9_000 * scale), 100, 500, chance)
    # The inode numbers and change times in git's index are those of this disk: no copy has them.
    same = [["config", "core.checkStat", "minimal"], ["config", "core.trustctime", "false"]]
    commit = [*IDENTITY, "commit", "-qm", "all"]
    for words in (["init", "-q"], *same, ["add", "."], commit):
        subprocess.run(["git", "-C", tree / "work", *words], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path("/usr/lib") / version
    if library.is_dir() and Path("/usr/bin", version).is_file():
        (tree / "python/bin").mkdir(parents=True)
        shutil.copy(f"/usr/bin/{version}", tree / "python/bin/python3")
        ignored = shutil.ignore_patterns("test", "dist-packages")
        shutil.copytree(library, tree / "python/lib" / version, ignore=ignored, symlinks=True)


def make_files(
    directory: Path, count: int, a_directory: int, size: int, chance: random.Random
) -> None:
    """Make *count* files of about *size* bytes, so many in each directory."""
    for number in range(count):
        if number % a_directory == 0:
            place = directory / f"d{number // a_directory}" if count > a_directory else directory
            place.mkdir(parents=True, exist_ok=True)
        (place / f"file{number}").write_text(f"{chance.random()}\n" * (size // 20 + 1))


# The rows

COMMANDS = {
    "python, 40 imports": "{tree}/python/bin/python3 -c '{imports}'",
    "git status, 9,000 files": "git --no-optional-locks -C {tree}/work status --short",
    "tar of 5,000 files to a pipe": "sh -c 'tar -cf - {tree}/files | cat >/dev/null'",
    "grep -r over 5,000 files": "sh -c 'grep -r nothing.to.find {tree}/files || true'",
    "find over 20,000 names": "sh -c 'find {tree}/wide >/dev/null'",
    "ls -lR over 20,000 names": "sh -c 'ls -lR {tree}/wide >/dev/null'",
    "gcc -O1, real paths": "gcc -O1 -c -o /dev/null {source}",
}
EXECS = {
    "exec with LD_LIBRARY_PATH of 20 directories": "20 {tree}/libraries /bin/true",
    "exec with LD_LIBRARY_PATH of 150 directories": "150 {tree}/libraries /bin/true",
    "exec with LD_LIBRARY_PATH of 20 real directories": "20 {real}/libraries /bin/true",
    "exec with LD_LIBRARY_PATH of 150 real directories": "150 {real}/libraries /bin/true",
    "exec of bash with LD_LIBRARY_PATH of 20 directories": "20 {tree}/libraries /bin/bash -c :",
    "exec from the tree with LD_LIBRARY_PATH of 20 directories": "20 {tree}/libraries {tree}/true",
}
"""How many directories, where they are, and what is started; ``{real}`` is the local tree."""

LIBRARY_DIRECTORIES = 150

IMPORTS = (
    "import argparse, asyncio, base64, bz2, calendar, codecs, collections, concurrent.futures,"
    " configparser, contextlib, copy, csv, ctypes, datetime, decimal, difflib, dis, email, enum,"
    " fractions, functools, getpass, glob, gzip, hashlib, heapq, html, http.client, inspect, json,"
    " logging, lzma, mailbox, multiprocessing, pathlib, pickle, sqlite3, subprocess, tarfile,"
    " unittest, urllib.request, uuid, xml.dom.minidom, zipfile"
)


def measure_calls(helper: str, peer: Peer) -> dict[str, float]:
    """Nanoseconds of each single call."""
    command = [*peer.prefix, helper, peer.tree, str(ROUNDS_OF_CALLS)]
    done = run(command, peer.environment)
    return {name: float(figure) for name, figure in map(str.split, done.stdout.splitlines())}


def measure_command(helper: str, peer: Peer, command: str, source: str) -> float:
    """Seconds of a command, inside, without the start of the peer and the first touch."""
    words = shlex.split(command.format(tree=peer.tree, imports=IMPORTS, source=source))
    done = run([*peer.prefix, helper, "--time", peer.tree, *words], peer.environment)
    return float(done.stderr.strip().splitlines()[-1])


def measure_exec(helper: str, peer: Peer, command: str, real: str) -> float:
    """Seconds that a program takes from its start to its end, with a long library path."""
    words = shlex.split(command.format(tree=peer.tree, real=real))
    done = run([*peer.prefix, helper, "--exec", *words], peer.environment)
    return float(done.stdout)


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command that must not fail."""
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )


def measure_start(peer: Peer, *command: str) -> float:
    """Seconds of a small command, from outside: start and all."""
    return float(report.timed(lambda: run([*peer.prefix, *command], peer.environment)))


# Everything together


@contextlib.contextmanager
def published(work: Path, tree: Path) -> Iterator[Peer]:
    """The tree as a repository that is served; pyparrot as a peer."""
    environment = {"XDG_CONFIG_HOME": str(work / "config"), "XDG_CACHE_HOME": str(work / "cache")}
    pyparrot = [str(Path(sys.executable).with_name("pyparrot"))]  # as users start it
    storage = str(work / "storage")
    run([*pyparrot, "publish", "init", FQRN, "--storage", storage], environment)
    run([*pyparrot, "publish", "sync", FQRN, str(tree)], environment)
    with subprocess.Popen(
        [*pyparrot, "serve", storage, "--port", "0", "--quiet"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            prefix = (*pyparrot, "run", "--server", url, "--")
            yield Peer("pyparrot", prefix, TREE, environment)
        finally:
            server.terminate()


def peers_of(
    arguments: argparse.Namespace, tree: Path, work: Path, pyparrot: Peer
) -> Iterator[Peer]:
    """Native, proot, and those that the options name."""
    url = pyparrot.prefix[pyparrot.prefix.index("--server") + 1]
    keys = {"XDG_CONFIG_HOME": pyparrot.environment["XDG_CONFIG_HOME"]}
    yield Peer("native", (), str(tree), {})
    if shutil.which("proot"):
        seen = str(work / "seen")
        os.mkdir(seen)
        yield Peer("proot", ("proot", "-b", f"{tree}:{seen}"), seen, {})
    trees = dict(word.split("=", 1) for word in arguments.tree)
    for word in arguments.peer:
        name, prefix = word.split("=", 1)
        for text, meaning in {"TREE": tree, "URL": url, "WORK": work}.items():
            prefix = prefix.replace(text, str(meaning))
        words = tuple(shlex.split(prefix))
        seen = trees.get(name, str(tree)).replace("PUBLISHED", TREE)
        yield Peer(name, words, seen, keys if url in prefix else {})


def supervisor_memory(peer: Peer, helper: str) -> float:
    """The supervisor's resident memory (MB) after the calls were made."""
    script = f"{shlex.quote(helper)} {peer.tree} 200 >/dev/null; sleep 3; :"
    with subprocess.Popen(
        [*peer.prefix, "sh", "-c", script], env={**os.environ, **peer.environment}
    ) as front:
        time.sleep(2)
        children = Path(f"/proc/{front.pid}/task/{front.pid}/children").read_text().split()
        text = Path(f"/proc/{children[0]}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measure, print, save."""
    parser = report.parser("run", __doc__)
    add = parser.add_argument
    for option, metavar, text in (
        ("--peer", "NAME=PREFIX", "another program to measure: the words before the command"),
        ("--tree", "NAME=PATH", "where that program shows the tree"),
    ):
        add(option, metavar=metavar, action="append", default=[], help=text)
    add("--only", metavar="TEXT", default="", help="only commands whose names have TEXT")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        work = Path(name)
        tree = work / "tree"
        make_tree(tree, arguments.scale)
        helper = str(work / "calls")
        here = Path(__file__).parent
        subprocess.run(["cc", "-O2", "-o", helper, here / "calls.c"], check=True)
        with published(work, tree) as pyparrot:
            others = list(peers_of(arguments, tree, work, pyparrot))
            rows = measure(arguments, helper, work, [others[0], pyparrot, *others[1:]])
            memory = supervisor_memory(pyparrot, helper)
    print(f"supervisor's memory: {memory:.1f} MB")
    rows.append({"what": "supervisor's memory", "unit": "MB", "pyparrot": memory})
    report.save(arguments.json, arguments.rounds, rows)


@contextlib.contextmanager
def failing(peer: Peer) -> Iterator[None]:
    """A peer that can't do something has no figure for it."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        print(f"{peer.name}: {error.stderr.strip()[-200:]}", file=sys.stderr)


def measure(
    arguments: argparse.Namespace, helper: str, work: Path, peers: list[Peer]
) -> list[dict[str, object]]:
    """All rows, all peers, in turns."""
    figures: dict[str, dict[str, list[float]]] = {}
    source = str(Path(__file__).with_name("calls.c"))
    commands = {n: c for n, c in COMMANDS.items() if arguments.only in n}
    execs = {n: c for n, c in EXECS.items() if arguments.only in n}
    if not Path(peers[0].tree, "python").is_dir():
        commands.pop("python, 40 imports", None)

    def note(row: str, peer: Peer, value: float) -> None:
        figures.setdefault(row, {}).setdefault(peer.name, []).append(value)

    def once(peer: Peer) -> None:
        if not arguments.only:
            with failing(peer):
                note("start: true", peer, measure_start(peer, "true"))
                note("start: ls TREE", peer, measure_start(peer, "ls", peer.tree))
            with failing(peer):
                for row, nanoseconds in measure_calls(helper, peer).items():
                    note(row, peer, nanoseconds / 1e9)
        for row, command in commands.items():
            with failing(peer):
                note(row, peer, measure_command(helper, peer, command, source))
        for row, command in execs.items():
            with failing(peer):
                note(row, peer, measure_exec(helper, peer, command, peers[0].tree))

    for peer in peers:  # warm everything up
        once(peer)
    forget_large(work)
    for peer in peers:
        with failing(peer):
            measure_calls(helper, peer)
    figures.clear()
    for _ in range(arguments.rounds):
        for peer in peers:
            once(peer)
    return table(figures, [peer.name for peer in peers])


def forget_large(directory: Path) -> None:
    """Let large files be read into memory anew: as they were written they may lie there in other
    pieces, which says nothing of who reads them."""
    os.sync()
    for file in directory.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_size >= MEGABYTE:
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def table(figures: dict[str, dict[str, list[float]]], names: list[str]) -> list[dict[str, object]]:
    """Print medians and ratios to native, and give them as rows."""
    print(f"{'':58}{'native':>12}" + "".join(f"{name:>12}" for name in names[1:]))
    rows = []
    for row, by_peer in figures.items():
        native = statistics.median(by_peer["native"])
        line = f"{row:58}{shown(native):>12}"
        entry: dict[str, object] = {"what": row, "unit": "s", "native": native}
        for name in names[1:]:
            if name not in by_peer:
                line += f"{'-':>12}"
                continue
            pairs = zip(by_peer[name], by_peer["native"])
            ratio = statistics.median(theirs / ours for theirs, ours in pairs)
            entry[name] = statistics.median(by_peer[name])
            entry[f"{name}/native"] = ratio
            line += f"{ratio:11.2f}x"
        print(line)
        rows.append(entry)
    return rows


def shown(seconds: float) -> str:
    """A time for people."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


if __name__ == "__main__":
    main()

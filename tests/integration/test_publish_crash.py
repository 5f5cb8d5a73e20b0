"""``pyparrot publish`` when it is killed, interrupted, or runs out of disk, and two at once."""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pyparrot.cli import main

FQRN = "sw.example.org"
FAILURE = 125
LIMIT = 60.0

DRIVER = """
import os, signal, sys
from pyparrot.cli import main
base, wanted, report = sys.argv[1], int(sys.argv[2]), sys.argv[3]
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "sqlite3.connect"}
seen = 0
def hook(event, arguments):
    global seen
    if event not in EVENTS or not arguments:
        return
    path = arguments[0]
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(path, str) and path.startswith(base):
        seen += 1
        if seen == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
status = main(sys.argv[4:])
if not wanted:
    count = seen
    with open(report, "w") as file:
        file.write(str(count))
sys.exit(status)
"""
"""Runs a command and kills it before the n-th time that it touches a file of the site: unlike a
clock, that reaches every state that a crash can leave, the rare ones of a commit too."""


class Result(NamedTuple):
    status: int
    err: str


class Site:
    """A repository with its configuration, and a source, below *base*."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "storage" / FQRN
        self.source = base / "source"
        self.archive = base / "archive.tar"
        self.scratch = base / "scratch"

    def copy(self, base: Path) -> Site:
        """The same once more."""
        shutil.copytree(self.base, base, symlinks=True)
        settings = base / "config" / "pyparrot" / "repositories.d" / FQRN / "server.conf"
        settings.write_text(settings.read_text().replace(str(self.base), str(base)))
        return Site(base)

    @property
    def environment(self) -> dict[str, str]:
        config = str(self.base / "config")
        return {**os.environ, "XDG_CONFIG_HOME": config, "TMPDIR": str(self.scratch)}

    @property
    def manifest(self) -> bytes:
        return (self.root / ".cvmfspublished").read_bytes()

    @property
    def revision(self) -> int:
        lines = self.manifest.splitlines()
        return next(int(line[1:]) for line in lines if line[:1] == b"S")

    @property
    def temporary(self) -> list[str]:
        """What lies in ``data/txn``."""
        return sorted(os.listdir(self.root / "data" / "txn"))

    def start(self, *words: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "pyparrot", "publish", *map(str, words)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *words: str | Path, **options: Any) -> Result:
        return finish(self.start(*words, **options))

    def driven(self, wanted: int, report: Path, *words: str | Path) -> int:
        """Run under the driver; gives the exit code."""
        return subprocess.run(
            [
                *(sys.executable, "-c", DRIVER, str(self.base), str(wanted), str(report)),
                *("publish", *map(str, words)),
            ],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT,
            check=False,
        ).returncode

    def good(self, *words: str | Path) -> None:
        """Have a command succeed; in this process, which is faster."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CONFIG_HOME", str(self.base / "config"))
            # tempfile remembers the directory that it once chose.
            patch.setattr(tempfile, "tempdir", str(self.scratch))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(["publish", *map(str, words)])
        assert (status, err.getvalue()) == (0, ""), (status, err.getvalue(), out.getvalue())

    def check(self) -> None:
        self.good("check", FQRN)

    def recovers(self) -> None:
        """The revision is whole, the next run works, and it tidies up."""
        self.check()
        before = self.revision
        (self.source / "next").write_bytes(os.urandom(64))
        self.good("sync", FQRN, self.source)
        assert self.revision == before + 1
        assert self.temporary == ["lock"]
        self.check()


def finish(process: subprocess.Popen[bytes]) -> Result:
    try:
        _, err = process.communicate(timeout=LIMIT)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Result(process.returncode, err.decode())


def assert_one_line(result: Result, *parts: str) -> None:
    assert result.status == FAILURE, result
    assert result.err.startswith("pyparrot: "), result
    assert result.err.count("\n") == 1, result
    assert result.err[:-1].isprintable(), result
    for part in parts:
        assert part in result.err, result


def fill(source: Path, files: int, seed: int) -> None:
    """Two catalogs' worth of files, some of them large enough to be cut."""
    generator = random.Random(seed)
    for number in range(files):
        directory = source / f"{number % 7}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number}").write_bytes(generator.randbytes(300 + number))
    (source / "3" / ".cvmfscatalog").touch()
    (source / "large").write_bytes(generator.randbytes(5 << 19))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Three revisions, a tag, and a source and a tar file that have something new."""
    site = Site(tmp_path_factory.mktemp("crash") / "site")
    site.scratch.mkdir(parents=True)
    storage = site.base / "storage"
    site.good("init", FQRN, "--storage", storage, "--chunk-size", "1:1:2")
    fill(site.source, 20, 1)
    site.good("sync", FQRN, site.source, "--tag", "v1")
    (site.source / "passing").write_bytes(b"in revision 3 only")
    site.good("sync", FQRN, site.source)
    (site.source / "passing").write_bytes(b"in revision 4 only")
    site.good("sync", FQRN, site.source)
    (site.source / "passing").unlink()
    site.good("sync", FQRN, site.source)
    assert site.revision == 5
    fill(site.source, 40, 2)
    with tarfile.open(site.archive, "w") as archive:
        archive.add(site.source, "")
    return site


@pytest.fixture
def site(template: Site, tmp_path: Path) -> Site:
    return template.copy(tmp_path / "site")


# Killed


COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {
    "sync": (("sync", FQRN, "SOURCE", "--tag", "v2"), 7),
    "ingest": (("ingest", FQRN, "ARCHIVE", "--into", "/new"), 4),
    "gc": (("gc", FQRN, "--keep-days", "0"), 5),
    "tag add": (("tag", "add", FQRN, "v2"), 3),
    "rollback": (("rollback", FQRN, "v1"), 3),
    "resign": (("resign", FQRN, "--new-certificate"), 6),
}
"""What is killed, and how often."""


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.timeout(120)
def test_killed_at_any_moment(template: Site, tmp_path: Path, name: str) -> None:
    words, kills = COMMANDS[name]
    counted = template.copy(tmp_path / "counted")
    assert counted.driven(0, tmp_path / "count", *_filled(words, counted)) == 0
    total = int((tmp_path / "count").read_text())
    # The last few touches are the commit; what is before is much of the same.
    last = min(total, 9)
    generator = random.Random()
    moments = {
        *generator.sample(range(total - last + 1, total + 1), min(last, kills - kills // 3)),
        *generator.sample(range(1, total - last + 1), min(kills // 3, total - last)),
    }
    for moment in sorted(moments):
        site = template.copy(tmp_path / f"{moment}")
        old = site.manifest
        status = site.driven(moment, tmp_path / "none", *_filled(words, site))
        # Threads may do their work in fewer steps than they were counted to take.
        assert status in (-signal.SIGKILL, 0), moment
        if site.manifest != old:
            assert site.revision in (5, 6), moment
        # The lock of the dead process must not be in the way of any command.
        if name == "resign" and status != 0:
            _believed(site, moment)
            site.good("resign", FQRN, "--new-certificate")
        try:
            site.recovers()
        except AssertionError as error:
            raise AssertionError(f"killed at touch {moment} of {total}") from error
        shutil.rmtree(site.base)


def _filled(words: tuple[str, ...], site: Site) -> list[str]:
    places = {"SOURCE": str(site.source), "ARCHIVE": str(site.archive)}
    return [places.get(word, word) for word in words]


def _believed(site: Site, moment: int) -> None:
    """Clients go on believing: the whitelist lists the certificate that the manifest names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(site.base / "config"))
        from pyparrot.publish import keys, signed_files
        from pyparrot.publish.repository import StoredRepository
        from pyparrot.sources.cvmfs import signature
        from pyparrot.sources.cvmfs.hashes import Algorithm, Kind

        repository = StoredRepository.open(FQRN)
        named = repository.manifest.certificate
        assert named is not None
        pem = repository.storage.read(named, Kind.CERTIFICATE)
        master = keys.load_public_key(keys.key_file(FQRN, "pub"))
        whitelist = signed_files.read_whitelist(repository.storage, FQRN, master)
    der = signature.certificate_der(signature.load_certificate(pem))
    assert Algorithm.SHA1.of(der) in whitelist.fingerprints, f"killed at touch {moment}"


def test_killed_by_the_clock(site: Site) -> None:
    """As a batch system does it; unlike above, also in the middle of a write."""
    fill(site.source, 400, 3)
    for delay in (0.15, 0.2, 0.25, 0.3):
        process = site.start("sync", FQRN, site.source)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        process.kill()
        finish(process)
        assert site.revision in (5, 6)
        site.check()
    site.recovers()


def test_garbage_of_a_killed_run_is_collected(template: Site, site: Site, tmp_path: Path) -> None:
    assert site.driven(0, tmp_path / "count", "sync", FQRN, str(site.source)) == 0
    total = int((tmp_path / "count").read_text())
    killed = template.copy(tmp_path / "killed")
    objects = count_objects(killed)
    assert killed.driven(total - 12, tmp_path / "none", "sync", FQRN, str(killed.source)) == -9
    assert killed.revision == 5
    assert count_objects(killed) > objects
    killed.good("gc", FQRN)
    assert count_objects(killed) <= objects
    killed.recovers()


def count_objects(site: Site) -> int:
    return sum(len(files) for _, _, files in os.walk(site.root / "data")) - len(site.temporary)


def test_what_lies_about_is_cleared_away(site: Site) -> None:
    temporary = site.root / "data" / "txn"
    (temporary / "lock").write_bytes(b"999999999 \xff\n")
    (temporary / "12345.0").write_bytes(b"half an object")
    (temporary / "12345.1-journal").symlink_to("nowhere")
    (temporary / "directory").mkdir()
    (temporary / "directory" / "file").touch()
    site.recovers()


def test_killed_while_it_is_made(site: Site) -> None:
    """The same command again goes on, whatever is there."""
    other = "new.example.org"
    config = site.base / "config" / "pyparrot"
    command = ("init", other, "--storage", str(site.base / "storage"))
    probe = site.copy(site.base.parent / "probe")
    report = site.base.parent / "count"
    storage = str(probe.base / "storage")
    assert probe.driven(0, report, "init", other, "--storage", storage) == 0
    total = int(report.read_text())
    # First come settings and keys, then many directories; then what is in them, and the manifest.
    # The last touches read what is made already.
    finished = []
    for moment in (4, 7, total - 100, *range(total - 5, total + 1)):
        assert site.driven(moment, report, *command) == -signal.SIGKILL
        finished.append((config / "repositories.d" / other / "server.conf").exists())
        if not finished[-1]:
            site.good(*command)
        site.good("check", other)
        assert len(list((config / "keys").glob(f"{other}.*"))) == 4
        shutil.rmtree(site.base / "storage" / other)
        shutil.rmtree(config / "repositories.d" / other)
        for file in (config / "keys").glob(f"{other}.*"):
            file.unlink()
    assert finished == sorted(finished)
    assert not finished[3]
    site.recovers()


# Interrupted, and two at once


@contextlib.contextmanager
def under_way(site: Site, *words: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A command that holds the lock and is stopped; it is continued or killed at the end."""
    process = site.start(*words, **options)
    lock = site.root / "data" / "txn" / "lock"
    try:
        until = time.monotonic() + LIMIT
        while lock.read_bytes().strip() != b"%d" % process.pid:
            assert process.poll() is None, "ended before it could be stopped"
            assert time.monotonic() < until
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        yield process
        process.send_signal(signal.SIGCONT)
    finally:
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LIMIT)
            process.kill()
        process.communicate()


def test_one_writer_at_a_time(site: Site) -> None:
    fill(site.source, 200, 4)
    with under_way(site, "sync", FQRN, site.source) as first:
        for words in (
            ("sync", FQRN, site.source),
            ("gc", FQRN),
            ("tag", "add", FQRN, "v2"),
            ("resign", FQRN),
        ):
            result = site.run(*words)
            assert_one_line(
                result,
                f"another publication is under way (process {first.pid})",
                "(wait until it has ended)",
            )
        # Readers need not wait.
        site.check()
        site.good("info", FQRN)
    assert first.returncode == 0
    assert site.revision == 6
    site.recovers()


def test_two_at_once(site: Site) -> None:
    fill(site.source, 200, 4)
    processes = [site.start("sync", FQRN, site.source) for _ in range(3)]
    results = [finish(process) for process in processes]
    assert any(result.status == 0 for result in results)
    for result in results:
        if result.status != 0:
            assert_one_line(result, "another publication is under way (process ")
    assert site.revision == 6
    site.recovers()


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1])
def test_interrupted(site: Site, delay: float) -> None:
    """Ctrl-C: nothing is left behind, here or in the directory for temporary files."""
    fill(site.source, 3000, 5)
    with under_way(site, "sync", FQRN, site.source) as process:
        process.send_signal(signal.SIGCONT)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        result = finish(process)
    assert result == (130, "")
    assert site.revision == 5
    assert site.temporary == ["lock"]
    assert os.listdir(site.scratch) == []
    site.recovers()


def test_terminated(site: Site) -> None:
    fill(site.source, 1000, 5)
    with under_way(site, "sync", FQRN, site.source) as process:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        result = finish(process)
    assert result == (128 + signal.SIGTERM, "")
    assert site.revision == 5
    assert site.temporary == ["lock"]
    assert os.listdir(site.scratch) == []
    site.recovers()


def test_kept_alive_by_nohup(site: Site) -> None:
    with under_way(site, "sync", FQRN, site.source, preexec_fn=_ignore_hangup) as process:
        process.send_signal(signal.SIGHUP)
    assert process.returncode == 0
    assert site.revision == 6


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_scratch_of_a_killed_writer_is_cleared_away(site: Site) -> None:
    """What it unpacked lies beside the objects, where the next writer looks."""
    with under_way(site, "sync", FQRN, site.source) as process:
        process.kill()
    assert os.listdir(site.scratch) == []
    site.recovers()


def test_interrupted_garbage_collection(site: Site) -> None:
    with under_way(site, "gc", FQRN, "--keep-days", "0") as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        result = finish(process)
    assert result == (130, "")
    site.recovers()


# Full


def _allow(size: int) -> Any:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("size", [0, 4096, 20_000, 1 << 20])
@pytest.mark.parametrize("action", ["sync", "ingest", "tag add"])
def test_files_may_not_grow(site: Site, action: str, size: int) -> None:
    """Like a disk that fills at a certain place: "File too large" instead of "No space left"."""
    words = _filled(COMMANDS[action][0], site)
    old = site.manifest
    result = site.run(*words, preexec_fn=_allow(size))
    if action == "tag add" and size >= 20_000:
        assert result.status == 0
    else:
        assert_one_line(result)
        assert site.manifest == old
        assert site.temporary == ["lock"]
        assert os.listdir(site.scratch) == []
    site.recovers()


def test_files_stored_whole_may_not_grow(site: Site) -> None:
    """A body too large for the memory goes to a file piece by piece."""
    settings = site.base / "config" / "pyparrot" / "repositories.d" / FQRN / "server.conf"
    with open(settings, "a", encoding="utf-8") as file:
        file.write("CVMFS_USE_FILE_CHUNKING=no\nCVMFS_COMPRESSION_ALGORITHM=none\n")
    with open(site.source / "huge", "wb") as huge:
        huge.truncate(33 << 20)
    result = site.run("sync", FQRN, site.source, preexec_fn=_allow(3 << 20))
    assert_one_line(result, str(site.root / "data"), "File too large")
    assert site.temporary == ["lock"]
    site.recovers()


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def resize(directory: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(directory)], check=True)


def room(directory: Path) -> int:
    """Free bytes."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


NO_SPACE = "No space left on device"


@pytest.mark.parametrize("left", [0, 8, 32, 400, 2600])
@pytest.mark.parametrize("action", ["sync", "ingest"])
def test_disk_fills(template: Site, tmp_path: Path, action: str, left: int) -> None:
    """At different places: a lock, an object, a chunk, a catalog, the manifest."""
    site = template.copy(tmp_path / "site")
    storage = site.base / "storage"
    moved = tmp_path / "moved"
    storage.rename(moved)
    with small_disk(storage, "12m"):
        shutil.copytree(moved, storage, dirs_exist_ok=True)
        ballast = storage / "ballast"
        with open(ballast, "wb") as stream:
            stream.write(bytes(room(storage) - left * 1024))
        old = site.manifest
        result = site.run(*_filled(COMMANDS[action][0], site))
        assert_one_line(result, NO_SPACE, str(storage), "free some space")
        assert site.manifest == old
        assert site.temporary in (["lock"], [])
        site.check()
        resize(storage, "40m")
        site.recovers()


@pytest.mark.parametrize("left", [4, 12])
def test_scratch_disk_fills(site: Site, left: int) -> None:
    """A command that only reads unpacks catalogs in the directory for temporary files."""
    with small_disk(site.scratch, "4m"):
        (site.scratch / "ballast").write_bytes(bytes(room(site.scratch) - left * 1024))
        assert_one_line(site.run("info", FQRN), NO_SPACE, str(site.scratch), "free some space")
        assert os.listdir(site.scratch) == ["ballast"]
        site.good("sync", FQRN, site.source)


@pytest.mark.parametrize("pages", range(1, 7))
def test_disk_of_the_keys_is_full(site: Site, pages: int) -> None:
    """Each file takes a page: keys and settings are there together or not at all."""
    other = "new.example.org"
    moved = site.base / "config"
    moved.rename(site.base / "moved")
    with small_disk(moved, f"{pages * 4}k"):
        command = ("init", other, "--storage", site.base / "storage")
        result = site.run(*command)
        if result.status != 0:
            assert_one_line(result, NO_SPACE, str(moved))
            assert [path for path in moved.rglob("*") if path.is_file()] == []
            resize(moved, "64k")
            site.good(*command)
        site.good("check", other)

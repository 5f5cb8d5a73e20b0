"""Damage to a file of a warm cache, of every kind."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from pathlib import Path

from support.runs import PYPARROT

from faults import outcome
from faults.faults import Fault
from faults.outcome import Outcome

_OTHER_USER = 54_321


def _bits(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(min(len(content), chance.randint(1, 8))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    _write_in_place(path, bytes(content))


def _write_in_place(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode
    path.chmod(0o600)
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write(content)
    path.chmod(mode)


def _cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    _write_in_place(path, content[: chance.randrange(len(content) + 1)])


def _empty(path: Path, _: random.Random) -> None:
    _write_in_place(path, b"")


def _hole(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + 4096)
    content[start:end] = bytes(end - start)
    _write_in_place(path, bytes(content))


def _grow(path: Path, chance: random.Random) -> None:
    _write_in_place(path, path.read_bytes() + chance.randbytes(chance.randint(1, 9000)))


def _garbage(path: Path, chance: random.Random) -> None:
    _write_in_place(path, chance.randbytes(chance.randrange(1, 9000)))


def _absent(path: Path, _: random.Random) -> None:
    path.unlink()


def _directory(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if chance.random() < 0.5:
        (path / "file").write_text("x")


def _fifo(path: Path, _: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _socket(path: Path, _: random.Random) -> None:
    path.unlink()
    here = os.getcwd()
    os.chdir(path.parent)  # its whole name may be too long for an address
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def _dangling(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def _loop(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _mode(path: Path, _: random.Random) -> None:
    path.chmod(0)


def _owner(path: Path, _: random.Random) -> None:
    os.chown(path, _OTHER_USER, _OTHER_USER)


def _other_file(path: Path, chance: random.Random) -> None:
    others = [other for other in path.parent.iterdir() if other.is_file() and other != path]
    content = chance.choice(others).read_bytes() if others else b"other"
    _write_in_place(path, content)


WAYS = {
    "bits": _bits,
    "cut": _cut,
    "empty": _empty,
    "hole": _hole,
    "grown": _grow,
    "garbage": _garbage,
    "absent": _absent,
    "directory": _directory,
    "fifo": _fifo,
    "socket": _socket,
    "dangling link": _dangling,
    "loop": _loop,
    "mode 0": _mode,
    "owner": _owner,
    "other file": _other_file,
}
_IN_PLACE = ("bits", "cut", "empty", "hole", "grown", "garbage", "other file")


class Damage(Fault):
    """A file of the cache is damaged, and gets a new modification time as it would.

    The next run has to heal it by itself.
    """

    name = "damage"
    keeps_time = False

    def try_in(self, scratch: Path, chance: random.Random) -> tuple[str, Outcome]:
        """See `Fault.try_in`."""
        cache = self.setting.copy_of_warm_cache(scratch)
        damaged = [self._damage_one(cache, chance) for _ in range(chance.choice((1, 1, 1, 4)))]
        url = chance.choice((None, None, "http://127.0.0.1:1/cvmfs/@fqrn@"))
        ended = self.setting.run(cache, url=url)
        found = self.judge(ended, cache)
        fault = "; ".join(damaged) + (" (without network)" if url else "")
        return fault, self.then_healed(found, cache)

    def judge(self, ended: outcome.Ended, cache: Path) -> Outcome:
        """What came of the run with the damaged *cache*."""
        return outcome.judge(ended, self.setting.native)

    def _damage_one(self, cache: Path, chance: random.Random) -> str:
        files = sorted(path for path in cache.rglob("*") if path.is_file() or path.is_symlink())
        path = chance.choice(files)
        ways = WAYS if not self.keeps_time else {name: WAYS[name] for name in _IN_PLACE}
        if os.geteuid() != 0:
            ways = {name: way for name, way in ways.items() if name != "owner"}
        name = chance.choice(sorted(ways))
        if path.is_symlink() and name not in ("absent", "directory", "fifo", "dangling link"):
            name = "absent"
        before = os.lstat(path)
        ways[name](path, chance)
        if os.geteuid() == 0 and name != "owner" and os.path.lexists(path):
            os.chown(path, before.st_uid, before.st_gid, follow_symlinks=False)
        if self.keeps_time:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return f"{path.relative_to(cache)}: {name}"


class KeptTime(Damage):
    """The same, but the file's modification time and size stay, as when a disk goes bad.

    Runs can't see that. ``cache verify`` has to find all of it.
    """

    name = "kept-time"
    keeps_time = True

    def judge(self, ended: outcome.Ended, cache: Path) -> Outcome:
        """A wrong outcome is accepted if verifying finds the damage and the next run is right."""
        found = outcome.judge(ended, self.setting.native)
        world = self.setting.world
        verified = subprocess.run(
            [*PYPARROT, "cache", "verify", "--cache", str(cache)],
            env=world.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=outcome.HANG_SECONDS,
            **world.user.options(),
        )
        if found.kind == "wrong" and verified.returncode == 1 and verified.stdout:
            return Outcome("clean", f"not seen by the run: {found.why}")
        return found

"""The world that the cases are about: three repositories, and a real directory beside them.

What is in it stands once on the disk, from where it is published. Natively the cases see copies in
file systems of memory, mounted read-only in a namespace of their own; where that is forbidden,
plain copies. Under pyparrot there is nothing on the disk at the same paths, or something else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from program import Case, Program
from support import run_publish

from pyparrot.serve import Server

HERE = Path(__file__).parent
LIMIT = 120
OLD = 1_000_000_000
LONG_NAME = "n" * 255
ODD_NAMES = [b"\xff\xfe", b"new\nline", b"with space", LONG_NAME.encode(), b"...", b"-"]
MANY = 2000

FQRNS = {"A": "a.example.org", "B": "b.example.org", "I": "inner.example.org"}


class World(NamedTuple):
    """Where things are. *server* is the URL of all repositories."""

    top: Path
    places: dict[str, bytes]
    server: str

    @property
    def mounts(self) -> dict[str, Path]:
        """The mount point of each repository."""
        return {name: Path(os.fsdecode(self.places[name])) for name in FQRNS}

    @property
    def can_mount(self) -> bool:
        """Whether an own mount namespace can be had."""
        words = [str(self.top / "cover"), str(self.top / "at"), "--", shutil.which("true") or ""]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def native(self, cases: list[Case]) -> dict[str, list[str]]:
        """What they give without pyparrot, if that is to be the same and can be tried."""
        cases = [case for case in cases if case.reason is None]
        if not self.can_mount:
            self._copy_in_place()
            return self._run([], [case for case in cases if not case.needs_mounts])
        words = [str(self.top / "cover"), str(self.top / "at")]
        for name, at in self.mounts.items():
            words += [str(self.top / "published" / name), str(at)]
        return self._run([*words, "--"], cases)

    def under_pyparrot(self, cases: list[Case], engine: str) -> dict[str, list[str]]:
        """What they give under pyparrot; *engine* is its name, perhaps with ``+shim``."""
        shutil.rmtree(self.top / "at")
        (self.top / "at" / "a").mkdir(parents=True)
        (self.top / "at" / "a" / "file").write_text("what lies below a mount point")
        (self.top / "at" / "a" / "below").write_text("")
        name, shim, _ = engine.partition("+shim")
        words = [sys.executable, "-m", "pyparrot", "run", "--engine", name]
        words += ["--shim", "auto" if shim else "off"]
        words += ["--cache", str(self.top / "cache"), *self.options(), "--"]
        return self._run(words, cases)

    def options(self) -> list[str]:
        """How pyparrot is told of the repositories."""
        words = ["--key", str(self.top / "key.pub"), "--proxy", "DIRECT"]
        for name, at in self.mounts.items():
            words += ["-M", f"{at}=cvmfs+{self.server}/{FQRNS[name]}"]
        return words

    def _run(self, words: list[str], cases: list[Case]) -> dict[str, list[str]]:
        make_real(self.top / "real", self.places)
        program = Program(cases, self.places)
        script = self.top / "script"
        script.write_text(program.script)
        command = [*words, str(self.top / "steps"), str(script)]
        ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT)
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout[-2000:]
        return program.outcomes(ran.stdout)

    def _copy_in_place(self) -> None:
        """Put copies of what was published where it is to be seen."""
        for name, at in self.mounts.items():
            shutil.rmtree(at, ignore_errors=True)
            at.mkdir(parents=True)
            source = self.top / "published" / name
            subprocess.run(["cp", "-a", f"{source}/.", at], check=True)
        for name, at in self.mounts.items():  # the one in another has changed that
            times = (self.top / "published" / name).stat()
            os.utime(at, ns=(times.st_atime_ns, times.st_mtime_ns))


@contextlib.contextmanager
def make_world(top: Path) -> Iterator[World]:
    """Build and publish it in *top*, and serve it meanwhile."""
    at = top / "at"
    places = {
        "A": at / "a",
        "B": at / "b" / "nested" / "deep",
        "I": at / "a" / "inner",
        "P": at / "b",
        "W": at,
        "R": top / "real",
    }
    at.mkdir()
    encoded = {name: os.fsencode(path) for name, path in places.items()}
    for name in ("steps", "cover"):
        assert compile_c(f"{name}.c", top / name, "-pthread")
    if not compile_c("tell.c", top / "tell", "-static"):  # not everybody has the static library
        compile_c("tell.c", top / "tell")
    published = top / "published"
    make_a(published / "A", encoded)
    make_b(published / "B", encoded)
    make_inner(published / "I")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(top / "config"))
        keys = top / "config" / "pyparrot" / "keys"
        master: list[str] = []
        for name, fqrn in FQRNS.items():
            run_publish("init", fqrn, "--storage", str(top / "storage"), *master)
            run_publish("sync", fqrn, str(published / name), "--quiet")
            master = ["--master-key", str(keys / f"{FQRNS['A']}.masterkey")]
        shutil.copy(keys / f"{FQRNS['A']}.pub", top / "key.pub")
        with Server(str(top / "storage"), port=0) as server:
            yield World(top, encoded, server.url)


def compile_c(source: str, program: Path, *options: str) -> bool:
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-o", str(program), str(HERE / source)]
    compiled = subprocess.run([*command, *options], check=False, stderr=subprocess.DEVNULL)
    return compiled.returncode == 0


# What is in it


def link(top: Path, name: str, target: bytes | str) -> None:
    os.symlink(os.fsencode(target), os.fsencode(top / name))


def write(path: Path, content: bytes | str = b"", mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


def age(top: Path) -> None:
    """Give everything times that are long ago, and different."""
    paths = [os.fsencode(top)]
    for directory, directories, files in os.walk(os.fsencode(top)):
        paths += [os.path.join(directory, name) for name in directories + files]
    for number, path in enumerate(sorted(paths)):
        time = (OLD + number) * 1_000_000_000 + number * 1001
        os.utime(path, ns=(time, time), follow_symlinks=False)


def make_socket(path: Path) -> None:
    """A name for a socket; it is bound where its path is short enough."""
    before = os.open(".", os.O_PATH)
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.fchdir(before)
    os.close(before)


def make_a(top: Path, places: dict[str, bytes]) -> None:
    write(top / "file", "content of file\n")
    write(top / "empty")
    write(top / "big", bytes(range(251)) * 400)
    write(top / "readonly", "r", 0o444)
    write(top / "dir" / "file", "content of dir/file\n")
    write(top / "dir" / "sub" / "deep", "deep\n")
    (top / "emptydir").mkdir()
    write(top / "sticky" / "file")
    (top / "sticky").chmod(0o1777)
    write(top / "inner" / "hidden", "what lies below a mount point")
    for directory in ("nested", "nested/more"):
        write(top / directory / ".cvmfscatalog")
        write(top / directory / "file", f"in {directory}\n")
    for number in range(MANY):
        write(top / "many" / f"entry-{number:04}")
    for name in ODD_NAMES:
        (top / "odd").mkdir(exist_ok=True)
        write(top / "odd" / os.fsdecode(name), name)
    write(top / "links" / "one", "linked\n")
    os.link(top / "links" / "one", top / "links" / "two")
    os.mkfifo(top / "fifo", 0o644)
    make_socket(top / "socket")
    write(top / "attributes", "a")
    with contextlib.suppress(OSError):  # the cases about them are equal then, too
        os.setxattr(top / "attributes", "user.one", b"1")
        os.setxattr(top / "attributes", "user.second", b"two and \0\xff")
        os.setxattr(top / "dir", "user.directory", b"d")
    make_links(top, places)
    make_programs(top, places)
    age(top)


def make_links(top: Path, places: dict[str, bytes]) -> None:
    a, b, real = places["A"], places["B"], places["R"]
    for name, target in {
        **{"link": "file", "dirlink": "dir", "dangling": "nothing", "loop": "loop", "self": "."},
        **{"looptwo": "loopthree", "loopthree": "looptwo", "up": "..", "slash": "file/"},
        **{"dirslash": "dir/", "dots": "dir/../dir/./file", "long": "./" * 2000 + "file"},
        **{"missingdir": "nothing/file", "throughfile": "file/x", "top": "/", "etc": "/etc"},
        **{"proc": "/proc/self", "fdlink": "/proc/self/fd/100", "toinner": "inner/file"},
        **{"upinner": "dir/../inner", "nestedlink": "nested/more/file", "fifolink": "fifo"},
    }.items():
        link(top, name, target)
    link(top, "absolute", a + b"/file")
    link(top, "absdir", a + b"/dir")
    link(top, "absself", a)
    link(top, "out", real)
    link(top, "outfile", real + b"/file")
    link(top, "outback", real + b"/back")
    link(top, "outmissing", real + b"/new")
    link(top, "tob", b)
    link(top, "tobfile", b + b"/file")
    link(top, "crossloop", b + b"/crossloop")
    link(top, "relative-out", os.path.relpath(real, a))
    link(top, "dir/uplink", "../file")
    link(top, "chain0", "file")
    for number in range(1, 46):
        link(top, f"chain{number}", f"chain{number - 1}")


def make_b(top: Path, places: dict[str, bytes]) -> None:
    write(top / "file", "content of B\n")
    write(top / "dir" / "file", "content of B's dir\n")
    link(top, "toa", places["A"])
    link(top, "toafile", places["A"] + b"/dir/file")
    link(top, "back", places["A"] + b"/tob/dir")
    link(top, "crossloop", places["A"] + b"/crossloop")
    age(top)


def make_inner(top: Path) -> None:
    write(top / "file", "content of inner\n")
    write(top / "sub" / "file", "content of inner/sub\n")
    link(top, "up", "..")
    link(top, "upfile", "../file")
    age(top)


def make_programs(top: Path, places: dict[str, bytes]) -> None:
    programs = top / "bin"
    programs.mkdir()
    a, real = (os.fsdecode(places[name]) for name in "AR")
    shutil.copy(top.parent.parent / "tell", programs)
    compile_c("tell.c", programs / "dynamic")
    loader = os.path.realpath("/lib64/ld-linux-x86-64.so.2")
    shutil.copy(loader, programs / "ld.so")
    compile_c("tell.c", programs / "own-loader", f"-Wl,--dynamic-linker={a}/bin/ld.so")
    shutil.copy(programs / "tell", programs / "a-name-of-more-than-fifteen")
    for name, first in {
        "script": f"#!{a}/bin/tell",
        "script-argument": f"#!{a}/bin/tell  one two\t three  ",
        "script-blank": f"#! \t {a}/bin/tell \t",
        "script-real": "#!/bin/sh\necho $0 $*; exit 3",
        "script-real-tell": f"#!{real}/tell with",
        "script-real-script": f"#!{real}/script with",
        "script-nested": f"#!{a}/bin/script-argument outer",
        "script-relative": "#!bin/tell",
        "script-missing": f"#!{a}/bin/nothing",
        "script-dir": f"#!{a}/dir",
        "script-not-executable": f"#!{a}/file",
        "script-link": f"#!{a}/bin/tell-link",
        "script-loader": f"#!{a}/bin/own-loader",
        "script-empty": "#!",
        "script-blanks": "#!   \t ",
        "script-long": "#!" + a + "/./" * 90 + "bin/tell",
        "script-long-argument": f"#!{a}/bin/tell " + "x" * 300,
        "script-env": "#!/usr/bin/env -S printf %s-%s",
        **{f"script-{n}": f"#!{a}/bin/script-{n - 1}" for n in range(2, 8)},
        "script-1": f"#!{a}/bin/tell",
    }.items():
        write(programs / name, first + "\n", 0o755)
    write(programs / "script-no-end", f"#!{a}/bin/tell", 0o755)
    write(programs / "plain", "echo no first line\n", 0o755)
    write(programs / "garbage", b"\x7fELF" + bytes(60), 0o755)
    write(programs / "nothing-in-it", b"", 0o755)
    write(programs / "not-executable", f"#!{a}/bin/tell\n", 0o644)
    link(programs, "tell-link", "tell")
    link(programs, "script-by-link", "script")


def make_real(top: Path, places: dict[str, bytes]) -> None:
    """The directory that is real on both sides, as new: cases change it."""
    if top.exists():
        (top / "locked").chmod(0o755)
        shutil.rmtree(top)
    a = places["A"]
    beside = os.fsencode(os.path.relpath(os.fsdecode(a), top))
    write(top / "file", "content of the real file\n")
    write(top / "other", "other\n")
    write(top / "empty")
    write(top / "dir" / "file", "content of the real dir/file\n")
    write(top / "noaccess", "secret", 0)
    write(top / "locked" / "file")
    (top / "emptydir").mkdir()
    os.mkfifo(top / "fifo")
    shutil.copy(top.parent / "tell", top)
    shutil.copy(top.parent / "published" / "A" / "bin" / "own-loader", top)
    write(top / "script", f"#!{os.fsdecode(a)}/bin/tell of-real\n", 0o755)
    write(top / "script-missing", f"#!{os.fsdecode(a)}/bin/nothing\n", 0o755)
    write(top / "script-dir", f"#!{os.fsdecode(a)}/dir\n", 0o755)
    write(top / "script-script", f"#!{os.fsdecode(top)}/script\n", 0o755)
    write(top / "script-real", "#!/bin/sh\necho $0 $*\n", 0o755)
    for name, target in {
        **{"link": b"file", "dangling": b"nothing", "loop": b"loop", "dirlink": b"dir"},
        **{"back": a + b"/dir", "backfile": a + b"/file", "backmissing": a + b"/nothing"},
        **{"chain": a + b"/chain20", "longchain": a + b"/chain39", "again": a + b"/out/file"},
        **{"tell-link": a + b"/bin/tell", "relative": beside},
        **{"tob": places["B"], "inner": places["I"]},
    }.items():
        link(top, name, target)
    age(top)
    (top / "locked").chmod(0)

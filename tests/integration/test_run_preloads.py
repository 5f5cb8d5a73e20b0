"""Libraries that the user preloads are the command's: it gets them, and all works as natively.

They may take over any function of the C library, tell other times of files, begin processes in
their constructors, or wait for locks.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import pytest
from support.runs import PYPARROT, TREE, World, assert_same, world
from support.software import compile_c

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "preloads.example.org"
LIMIT = 60.0
PROGRAM = Path(sys.executable).with_name("pyparrot")
OWN = Path(__file__).with_name("preload.c")

PRELOADED = {
    "own": "@@/lib/preload.so",
    "faketime": "/usr/lib/*/faketime/libfaketime.so.1",
    "faketime, threads": "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "jemalloc": "/usr/lib/*/libjemalloc.so.2",
    "tcmalloc": "/usr/lib/*/libtcmalloc_minimal.so.4",
    "eatmydata": "/usr/lib/*/libeatmydata.so",
}
"""What is preloaded: a file of the tree, or of a package of Debian's (``tools/check``)."""

SCRIPT = """#!/bin/sh
date +%Y
cat @@/file @@/absent
ls -l --time-style=+%Y @@/dir | sed 1d
cd @@/dir && pwd && ls | wc -l
grep -q "${LD_PRELOAD##*/}" /proc/self/maps && echo preloaded
echo $LD_PRELOAD
sh -c 'exit 3'; echo $?
"""


def fill(tree: Path) -> None:
    (tree / "file").write_text("content\n")
    (tree / "dir").mkdir()
    for number in range(3):
        (tree / "dir" / f"{number}").write_text(f"{number}\n")
    compile_c(tree / "lib" / "preload.so", OWN.read_text(), "-shared", "-fPIC", "-ldl", "-pthread")
    for place, root in (("native", str(tree)), ("run", f"/cvmfs/{FQRN}")):
        script = tree / place / "script"
        script.parent.mkdir()
        script.write_text(SCRIPT.replace("@@", root))
        script.chmod(0o755)


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    with world(FQRN, fill) as made:
        yield made


def variables(name: str, given_to: str) -> dict[str, str]:
    pattern = PRELOADED[name]
    if not pattern.startswith("@@"):
        found = glob(pattern)
        if not found:
            pytest.skip(f"{pattern} is not installed")
        pattern = found[0]
    return {given_to: pattern, "FAKETIME": "-2y"}


@pytest.mark.parametrize("name", PRELOADED)
def test_for_the_command_alone(sw: World, name: str) -> None:
    given = variables(name, "WANTED")
    words = ("sh", "-c", 'LD_PRELOAD=$WANTED exec "$@"', "sh")
    native = sw.native(*words, "@@/native/script", environment=given, limit=LIMIT)
    run = sw.run(*words, "@@/run/script", environment=given, limit=LIMIT)
    assert "preloaded\n" in native.out
    assert_same(run, native)


@pytest.mark.parametrize("name", PRELOADED)
def test_for_everything(sw: World, name: str) -> None:
    """It is in the environment of ``pyparrot run`` itself."""
    if not is_launcher():
        pytest.skip("pyparrot was installed as a Python script, which has what is preloaded")
    given = variables(name, "LD_PRELOAD")
    if name == "own":
        given["LD_PRELOAD"] = str(sw.source / "lib" / "preload.so")
    words = sw.prefix()
    words[: len(PYPARROT)] = [str(PROGRAM)]
    native = sw.native("@@/native/script", environment=given, limit=LIMIT)
    run = sw.native(*words, f"{sw.root}/run/script", environment=given, limit=LIMIT)
    assert "preloaded\n" in native.out
    assert_same(run._replace(err=shown(sw, run.err), out=shown(sw, run.out)), native)


def is_launcher() -> bool:
    return PROGRAM.is_file() and PROGRAM.read_bytes().startswith(b"\x7fELF")


def shown(sw: World, text: str) -> str:
    return text.replace(sw.root, TREE)


def test_fakeroot_inside(sw: World) -> None:
    """A preload library that talks to a daemon of its own."""
    fakeroot = shutil.which("fakeroot") or pytest.skip("fakeroot is not installed")
    script = "id -u; touch own; chown 7:8 own; stat -c '%u %g' own @@/file; tail @@/file"
    native, run = sw.both(fakeroot, "sh", "-c", script, limit=LIMIT)
    assert native.out.startswith("0\n7 8\n")
    assert_same(run, native)

"""How the dynamic linker finds libraries in a run: as it does natively, with the shim in it, too.

A linker with directories to look in gets the shim while it runs. The first that is met only makes
the image for it: so commands in a run begin when another program has had the shim in its linker.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import runs
from support.runs import Outcome, World, assert_same, world
from support.software import compile_c

pytestmark = [pytest.mark.usefixtures("shim"), pytest.mark.timeout(240)]

FQRN = "linker.example.org"
OPENER = Path(__file__).parent / "shim" / "opener.c"
DIRECTORIES = 40
IMAGE = r"r-xp.*/objects/.*I\.[0-9a-f.]*$"
PATIENCE = 200  # tries

READY = f"""
    i=0
    until LD_LIBRARY_PATH=/absent/1:/absent/2 grep -q '{IMAGE}' /proc/self/maps; do
        i=$((i + 1))
        [ $i -lt {PATIENCE} ] || {{ echo 'the linker has no shim'; exit 99; }}
        sleep 0.05
    done
"""

NAME_C = 'const char *name(void) {{ return "{0}"; }}\nconst char *{1}(void) {{ return name(); }}\n'
MAIN_C = """
    #include <stdio.h>
    const char *one(void), *two(void);
    int main(void) { printf("%s, %s\\n", one(), two()); return 0; }
"""


AUDIT_C = """
    #include <link.h>
    #include <stdio.h>
    unsigned la_version(unsigned version) { return version; }
    char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag)
    {
        dprintf(1, "%s %u\\n", name, flag);
        return (char *)name;
    }
"""


def library(tree: Path, directory: str, name: str) -> None:
    """A library that says where it lies."""
    source = NAME_C.format(f"{name} of {directory}", name)
    target = tree / directory / f"lib{name}.so"
    compile_c(target, source, "-shared", "-fPIC", "-Wl,-Bsymbolic", f"-Wl,-soname,lib{name}.so")


def fill(tree: Path) -> None:
    for directory in (
        "lib/a",
        "lib/b",
        "lib/h/glibc-hwcaps/x86-64-v2",
        "plat/lib/x86_64-linux-gnu",
    ):
        library(tree, directory, "one")
    for directory in ("lib/b", "lib/h"):
        library(tree, directory, "two")
    for number in range(DIRECTORIES):
        library(tree, f"many/d{number:02}", f"n{number}")
    (tree / "lib" / "link").symlink_to("b")
    library(tree, "files", "three")
    linked = ("-L", tree / "lib" / "b", "-lone", "-ltwo")
    compile_c(tree / "bin" / "plain", MAIN_C, *linked)
    compile_c(tree / "bin" / "runpath", MAIN_C, *linked, "-Wl,-rpath,$ORIGIN/../lib/b")
    rpath = ("-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN/../lib/a:$ORIGIN/../lib/link")
    compile_c(tree / "bin" / "rpath", MAIN_C, *linked, *rpath)
    compile_c(tree / "bin" / "opener", OPENER.read_text(), "-ldl", "-pthread")
    compile_c(tree / "bin" / "fixed", "int main(void) { return 7; }", "-static-pie")
    compile_c(tree / "audit.so", AUDIT_C, "-shared", "-fPIC")
    shutil.copy("/bin/true", tree / "bin" / "true")


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    with world(FQRN, fill) as made:
        yield made


def both(sw: World, script: str) -> tuple[Outcome, Outcome]:
    """Run a script natively and in a run; there with the shim in linkers, if there is a shim."""
    script = "many=$(echo @@/many/d* | tr ' ' :)\n" + script
    ready = READY if runs.shim == "auto" else ""
    return sw.native("sh", "-c", script), sw.run("sh", "-c", ready + script)


CASES = {
    "one": "LD_LIBRARY_PATH=@@/lib/a:@@/lib/b @@/bin/plain",
    "the other way round": "LD_LIBRARY_PATH=@@/lib/b:@@/lib/a @@/bin/plain",
    "absent ones": "LD_LIBRARY_PATH=/absent:@@/absent:@@/bin/plain:@@/lib/a:@@/lib/b @@/bin/plain",
    "many": "LD_LIBRARY_PATH=$many:@@/lib/b @@/bin/plain; LD_LIBRARY_PATH=$many:@@/lib/b bash -c :",
    "real and virtual": """
        mkdir real; cp @@/lib/a/libone.so real
        LD_LIBRARY_PATH=$PWD/real:@@/lib/b @@/bin/plain
        LD_LIBRARY_PATH=@@/lib/b:$PWD/real @@/bin/plain
        cp @@/bin/plain .; LD_LIBRARY_PATH=$PWD/real:@@/lib/b ./plain""",
    "symlinks to the tree": """
        ln -s @@ tree; ln -s @@/lib/b direct; mkdir real; ln -s @@/lib/b/libtwo.so real
        LD_LIBRARY_PATH=$PWD/tree/lib/a:$PWD/direct @@/bin/plain
        LD_LIBRARY_PATH=$PWD/real:$PWD/tree/lib/link @@/bin/plain
        LD_LIBRARY_PATH=$PWD/real/../tree/lib/a:$PWD/absent/../direct:$PWD/direct @@/bin/plain""",
    "real symlinks": """
        mkdir real; cp @@/lib/a/libone.so real; ln -s real link; cp @@/lib/b/libtwo.so .
        ln -s ../libtwo.so real/libtwo.so
        LD_LIBRARY_PATH=$PWD/link @@/bin/plain""",
    "relative": """
        mkdir real; cp @@/lib/a/libone.so real
        LD_LIBRARY_PATH=real:@@/lib/b @@/bin/plain
        cd @@/lib/a; LD_LIBRARY_PATH=.:../b @@/bin/plain; LD_LIBRARY_PATH=:../link @@/bin/plain
        LD_LIBRARY_PATH=../b: @@/bin/plain""",
    "origin": "LD_LIBRARY_PATH='$ORIGIN/../lib/a:${ORIGIN}/../lib/b' @@/bin/plain",
    "lib": "LD_LIBRARY_PATH='@@/plat/$LIB:@@/lib/b' @@/bin/plain",
    "hwcaps": "LD_LIBRARY_PATH=@@/lib/h @@/bin/plain",
    "runpath": "@@/bin/runpath; LD_LIBRARY_PATH=@@/lib/a @@/bin/runpath",
    "rpath": "@@/bin/rpath; LD_LIBRARY_PATH=@@/lib/b @@/bin/rpath",
    "missing": """
        @@/bin/plain; LD_LIBRARY_PATH=$many @@/bin/plain
        LD_LIBRARY_PATH=@@/lib/a @@/bin/plain""",
    "no library": """
        mkdir real; echo text >real/libone.so; mkfifo real/libtwo.so; mkdir real/libthree.so
        LD_LIBRARY_PATH=$PWD/real:@@/lib/b @@/bin/plain
        LD_LIBRARY_PATH=$PWD/real:@@/lib/b @@/bin/opener open:libthree.so""",
    "unreadable": """
        mkdir real; cp @@/lib/a/libone.so real; chmod 0 real/libone.so
        LD_LIBRARY_PATH=$PWD/real:@@/lib/b @@/bin/plain; chmod 0 real
        LD_LIBRARY_PATH=$PWD/real:@@/lib/b @@/bin/plain""",
    "opened later": """
        LD_LIBRARY_PATH=$many:@@/lib/b @@/bin/opener open:libone.so open:libn7.so \\
            open:libabsent.so fork:libn8.so thread:libn9.so open:@@/files/libthree.so \\
            open:@@/files/libabsent.so""",
    "opened elsewhere": """
        LD_LIBRARY_PATH=.:$many @@/bin/opener cd:@@/lib/a open:./libone.so cd:@@/lib/b \\
            open:libtwo.so cd:@@/files open:./libthree.so open:./libone.so""",
    "with a filter": """
        LD_LIBRARY_PATH=$many:@@/lib/b @@/bin/opener open:libone.so filter open:libn7.so \\
            open:libabsent.so open:@@/files/libthree.so""",
    "preloaded": "LD_PRELOAD=libone.so LD_LIBRARY_PATH=$many:@@/lib/a:@@/lib/b @@/bin/plain",
    "audited": "LD_AUDIT=@@/audit.so LD_LIBRARY_PATH=$many:@@/lib/a:@@/lib/b @@/bin/plain",
    "static": "LD_LIBRARY_PATH=$many @@/bin/fixed; echo $?",
    "by the linker": """
        for how in --list '' --verify; do
            /lib64/ld-linux-x86-64.so.2 $how --library-path $many:@@/lib/a:@@/lib/b @@/bin/plain
            echo $?
        done | sed 's/ (0x.*//; /libc.so\\|vdso/d'""",
    "little memory": "ulimit -v 300000; LD_LIBRARY_PATH=$many:@@/lib/b @@/bin/plain",
    "few descriptors": """
        for n in 3 4 5 6; do
            (ulimit -n $n; LD_LIBRARY_PATH=$many:@@/lib/b exec @@/bin/plain)
            echo $?
        done""",
    "as said": """
        LD_DEBUG=libs LD_LIBRARY_PATH=/absent:@@/lib/a:@@/absent:@@/lib/b:. @@/bin/plain 2>&1 |
            sed 's/^ *[0-9]*://'""",
    "where it lies": """
        LD_LIBRARY_PATH=$many @@/bin/true
        LD_LIBRARY_PATH=$many sed -n 's/.* //; /ld-linux/p' /proc/self/maps | sort -u""",
}


@pytest.mark.parametrize("name", CASES)
def test_as_natively(sw: World, name: str) -> None:
    native, run = both(sw, CASES[name])
    assert_same(run, native)


def test_only_few_look_ups_leave_the_program(sw: World) -> None:
    """An exec costs as few trapped calls with many directories as with none."""
    if runs.shim != "auto":
        pytest.skip("it is about the shim")
    few, many = (
        trapped(sw, f"{READY} many={path}; export LD_LIBRARY_PATH=$many; {30 * '@@/bin/true;'}")
        for path in ("@@/lib/a", ":".join(f"@@/many/d{n:02}" for n in range(DIRECTORIES)))
    )
    assert many < few + 30 * 4


def trapped(sw: World, script: str) -> int:
    """How many calls of a script are trapped."""
    outcome = sw.run("sh", "-c", script, options=["--stats"])
    assert outcome.status == 0, outcome.err
    words = outcome.err.split()
    return int(words[words.index("trapped") - 1])


def test_without_proc(sw: World) -> None:
    """In a root without /proc the linker goes on as it is."""
    if os.geteuid() != 0:
        pytest.skip("only root may change roots")
    script = """
        mkdir -p root/lib64 root/lib root/bin; cp /bin/true root/bin
        for file in $(ldd /bin/true | grep -o '/[^ ]*'); do
            mkdir -p root/$(dirname $file); cp $file root/$file
        done
        LD_LIBRARY_PATH=/lib:/lib64:/bin unshare -Ur chroot root /bin/true; echo $?"""
    native, run = both(sw, script)
    assert_same(run, native)

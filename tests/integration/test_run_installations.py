"""Whole installations, moved into a repository: CPython with its own tests, a compiler, languages.

By default only a few of CPython's tests run; with ``PYPARROT_TESTS=all`` everything does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import installations, software
from support.runs import EVERYTHING, World, assert_same, world

pytestmark = pytest.mark.usefixtures("shim")

everything = pytest.mark.skipif(not EVERYTHING, reason="takes long: PYPARROT_TESTS=all")

# CPython


@pytest.fixture(scope="module")
def python() -> Iterator[World]:
    with world("python.example.org", installations.fill_python) as made:
        yield made


DIFFERENT = {
    # These first take away what may lie beside the standard library, such as
    # lib/python3.11/@test_1_tmp.pyc. It is not there: natively that is ENOENT, which they expect,
    # but on a file system that is mounted read-only EROFS comes first.
    "test_import.ImportTests.test_import": "ERROR",
    "test_import.PycacheTests.test___cached__": "ERROR",
    "test_import.PycacheTests.test_package___cached___from_pyc": "ERROR",
    "test_import.PycacheTests.test_recompute_pyc_same_second": "ERROR",
}
"""CPython's tests that end in another way than natively, and why."""

QUICK = ("test_glob", "test_posix")
LONG = ("test_os", "test_pathlib", "test_import", "test_shutil", "test_subprocess")


def results(report: str) -> dict[str, str]:
    """How each test has ended: ``ok``, ``skipped``, ``FAIL``, ``ERROR``."""
    line = r"^test\w* \(test\.([\w.]+)\)(?:\n.*?)? \.\.\. .*?(ok|skipped|FAIL|ERROR)"
    found = dict(re.findall(line, report, re.MULTILINE))
    for outcome, name in re.findall(r"^(FAIL|ERROR): \w+ \(test\.([\w.]+)\)", report, re.MULTILINE):
        found[name] = outcome
    return found


@pytest.mark.parametrize("module", (*QUICK, *LONG) if EVERYTHING else QUICK)
def test_cpython(python: World, module: str) -> None:
    words = ("@@/bin/python3.11", "-B", "-m", "unittest", "-v", f"test.{module}")
    native, run = python.both(*words, environment={"LD_LIBRARY_PATH": "@@/lib"}, limit=900)
    expected, found = results(native.err), results(run.err)
    assert len(expected) > 10, native
    expected.update({name: DIFFERENT[name] for name in expected if name in DIFFERENT})
    different = {
        name: f"{expected.get(name)}, but {found.get(name)}"
        for name in {*expected, *found}
        if expected.get(name) != found.get(name)
    }
    assert not different, f"{different}\n{run.err}"


def test_cpython_from_inside(python: World) -> None:
    script = """if __name__ == "__main__":
        import asyncio, ctypes, json, multiprocessing, os, sqlite3, subprocess, sys
        print(sys.prefix, sys.executable, os.__file__, json.__spec__.origin, len(sys.path))
        os.chdir(sys.prefix + "/lib")
        print(os.getcwd(), len(os.listdir("python3.11/json")))
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            print(pool.map(abs, range(-9, 9)))
        child = [sys.executable, "-c", "import os; print(os.getcwd())"]
        print(subprocess.check_output(child))
    """
    words = ("bash", "-c", 'echo "$1" > script.py; @@/bin/python3.11 -B script.py', "-", script)
    native, run = python.both(*words, environment={"LD_LIBRARY_PATH": "@@/lib"})
    assert_same(run, native)
    assert run.status == 0, run


@pytest.fixture(scope="module")
def numpy() -> Iterator[World]:
    with world("numpy.example.org", installations.fill_numpy) as made:
        yield made


@everything
@pytest.mark.parametrize("name", ["python", "python3"])
def test_numpy_and_scipy(numpy: World, name: str) -> None:
    script = """if 1:
        import importlib.metadata, pkgutil, sys, threading
        import numpy, scipy, scipy.integrate, scipy.linalg, scipy.optimize, scipy.signal
        import scipy.sparse.linalg, scipy.stats
        print(sys.prefix, sys.executable, numpy.__file__, scipy.__version__)
        a = numpy.arange(250000.0).reshape(500, 500) % 17 + 300 * numpy.eye(500)
        print(round(float(numpy.linalg.slogdet(a)[1]), 6), numpy.fft.rfft(a[0])[:3].round(6))
        print(round(scipy.integrate.quad(lambda x: x * x, 0, 3)[0], 9))
        print(round(scipy.optimize.brentq(lambda x: x - 2, 0, 9), 9))
        threads = [threading.Thread(target=scipy.linalg.lu_factor, args=(a,)) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        numpy.save("a.npy", a)
        print((numpy.load("a.npy", mmap_mode="r") == a).all())
        print(len(list(pkgutil.walk_packages(scipy.__path__, "scipy.", onerror=print))))
        for found in sorted(importlib.metadata.distributions(), key=lambda found: found.name):
            print(found.name, found.version, len(found.files))
    """
    native, run = numpy.both(f"@@/venv/bin/{name}", "-c", script)
    assert_same(run, native)
    assert run.status == 0, run


# Others


@everything
def test_toolchain() -> None:
    script = """
        gcc() { @@/toolchain/usr/bin/gcc --sysroot=@@/toolchain "$@"; }
        gcc -print-prog-name=cc1
        gcc -print-file-name=libc.so
        gcc -print-search-dirs
        for i in {1..30}; do
            for header in stdio stdlib math pthread string signal time sys/stat unistd; do
                echo "#include <$header.h>"
            done > f$i.c
            echo "int f$i(void) { return $i; }" >> f$i.c
        done
        echo 'extern int printf(const char *, ...);
        int f7(void), f30(void); int main(void) { return printf("%d\\n", f7() + f30()); }' > main.c
        for i in {1..30}; do
            gcc -O2 -c f$i.c &
            [ $((i % 4)) = 0 ] && wait
        done
        wait
        gcc -O2 -c main.c
        gcc main.o f*.o -o main -lm -Wl,-t | sort
        ./main
        echo $?
        gcc -O2 -S -o - f3.c
        echo '#include <absent.h>' | gcc -x c -
        echo 'int' | gcc -x c -
        ls | wc -l
        @@/toolchain/usr/bin/nm main | grep -c f
    """
    with world("gcc.example.org", installations.fill_toolchain) as made:
        native, run = made.both("bash", "-c", script)
        assert_same(run, native)
        assert "\n37\n3\n" in run.out, run


@everything
def test_node() -> None:
    def fill(tree: Path) -> None:
        installations.fill_node(tree)
        software.fill_languages(tree)
        software.fill_data(tree)

    with world("node.example.org", fill) as made:
        native, run = made.both("@@/bin/node", "@@/node/walk.js", "@@/data", "/bin/echo")
        assert_same(run, native)
        assert run.status == 0, run


@everything
def test_java() -> None:
    def fill(tree: Path) -> None:
        installations.fill_java(tree)
        software.fill_java(tree)

    with world("java.example.org", fill) as made:
        words = ("-cp", "@@/programs", "Walk", "@@/java/conf", "/bin/echo")
        native, run = made.both("@@/java/bin/java", *words)
        assert_same(run, native)
        assert run.status == 0, run


@everything
def test_perl() -> None:
    script = r"""
        use strict; use POSIX; use Data::Dumper; use List::Util 'sum'; use Encode; use Storable;
        print "$^X ", join(" ", sort values %INC), " ", sum(1..9), "\n";
        print `$^X -e 'print 7'`, "\n";
    """
    with world("perl.example.org", installations.fill_perl) as made:
        libraries = ":".join(f"@@/perl/lib/{number}" for number in range(9))
        environment = {"PERL5LIB": libraries}
        native, run = made.both("@@/perl/bin/perl", "-e", script, environment=environment)
        assert_same(run, native)
        assert run.status == 0, run
        assert "@@/perl/lib" in run.out

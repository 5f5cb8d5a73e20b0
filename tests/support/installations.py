"""Whole installations, copied from this machine into a tree; skipped where they are not here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest


def program(name: str) -> Path:
    """The file of a program of this machine."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"no {name} here")
    return Path(os.path.realpath(found))


# CPython

LEFT_OUT = ("__pycache__", "site-packages", "dist-packages", "idlelib", "tkinter", "ensurepip",
            "config-3*", "lib2to3", "pydoc_data", "turtledemo", "distutils")  # fmt: skip


class Python(NamedTuple):
    """An installed Python with its own tests."""

    binary: Path
    library: Path
    shared: Path | None
    """``libpython…so``, if it has one."""


def find_python() -> Python:
    """A CPython 3.11 with its tests, wherever there is one."""
    ask = (
        "import os, sysconfig, test.test_os; get = sysconfig.get_config_var;"
        "print(os.path.dirname(os.__file__));"
        "print(os.path.join(get('LIBDIR'), get('INSTSONAME')) if get('Py_ENABLE_SHARED') else '')"
    )
    for binary in (
        *(str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.11*/bin/python3.11"))),
        "/usr/bin/python3.11",
        "/usr/local/bin/python3.11",
    ):
        if not os.access(binary, os.X_OK):
            continue
        words = [binary, "-I", "-c", ask]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            library, shared = done.stdout.splitlines()
            has_shared = shared and os.path.exists(shared)
            return Python(Path(binary), Path(library), Path(shared) if has_shared else None)
    pytest.skip("no CPython 3.11 with its tests: apt-get install libpython3.11-testsuite")


def fill_python(tree: Path) -> None:
    """A CPython that can be anywhere, with its standard library and its tests."""
    installed = find_python()
    library = tree / "lib" / "python3.11"
    shutil.copytree(
        installed.library,
        library,
        ignore=shutil.ignore_patterns(*LEFT_OUT),
        ignore_dangling_symlinks=True,
    )
    for directory in (library, library / "test"):
        (directory / ".cvmfscatalog").touch()
    (tree / "bin").mkdir()
    shutil.copy2(installed.binary, tree / "bin" / "python3.11")
    if installed.shared:
        shutil.copy2(installed.shared, tree / "lib")


def fill_numpy(tree: Path) -> None:
    """A virtual environment with numpy and scipy, from the package registry."""
    environment = tree / "venv"
    base = os.path.realpath(sys.executable)
    made = subprocess.run([base, "-m", "venv", environment], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no virtual environments here: apt-get install python3-venv")
    pip = (environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    done = subprocess.run(
        [*pip, "install", "--quiet", "--no-compile", "--only-binary=:all:", "numpy", "scipy"],
        capture_output=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        pytest.skip(f"no numpy and scipy to be had: {done.stderr.decode()[-200:]}")
    for found in environment.rglob("tests"):
        shutil.rmtree(found, ignore_errors=True)


# A compiler with all that it needs


LIBRARIES = ("crt1.o", "Scrt1.o", "crti.o", "crtn.o", "libc.so", "libc_nonshared.a", "libc.so.6",
             "libm.so", "libm.so.6", "libmvec.so.1", "libpthread.a", "libgcc_s.so.1")  # fmt: skip


def fill_toolchain(tree: Path) -> None:
    """gcc, its parts, binutils, and the C library's headers and files: a system root of its own."""
    root = tree / "toolchain"
    gcc = program("gcc")

    def say(*words: str) -> str:
        return subprocess.check_output([gcc, *words], text=True).strip()

    own = Path(say("-print-libgcc-file-name")).resolve().parent
    triplet = say("-dumpmachine")
    for name in ("gcc", "as", "ld", "ar", "nm", "strip"):
        copy(program(name), root / "usr" / "bin" / name)
    no = ("cc1plus", "lto1", "g++*", "plugin", "*san*", "libstdc++*", "libgfortran*", "*.py")
    ignore = shutil.ignore_patterns(*no)
    shutil.copytree(own, root / str(own)[1:], ignore=ignore, ignore_dangling_symlinks=True)
    include = Path("/usr/include")
    for name in ("linux", "asm-generic", triplet):
        if (include / name).is_dir():
            shutil.copytree(
                include / name,
                root / "usr" / "include" / name,
                ignore=shutil.ignore_patterns("c++", "python*"),
                ignore_dangling_symlinks=True,
            )
    for file in include.glob("*.h"):
        copy(file, root / "usr" / "include" / file.name)
    for name in LIBRARIES:
        found = Path(say(f"-print-file-name={name}"))
        if found.is_absolute() and found.exists():
            copy(found, root / "usr" / "lib" / triplet / name)
    (root / "lib").symlink_to("usr/lib")
    loader = next(Path("/lib64").glob("ld-linux*"))
    copy(loader, root / "lib64" / loader.name)


def copy(source: Path, target: Path) -> None:
    """Copy a file, and make the directories above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


# Others


def fill_node(tree: Path) -> None:
    """node, which is one large file."""
    copy(program("node"), tree / "bin" / "node")


def fill_java(tree: Path) -> None:
    """A Java run-time environment."""
    home = program("java").parents[1]
    ignore = shutil.ignore_patterns("jmods", "src.zip", "demo", "man", "ct.sym", "include", "legal")
    shutil.copytree(home, tree / "java", ignore=ignore, ignore_dangling_symlinks=True)
    # Some distributions have its configuration in /etc.
    for path in (tree / "java").rglob("*"):
        if path.is_symlink() and re.match("/etc/", os.readlink(path)):
            real = path.resolve()
            path.unlink()
            shutil.copytree(real, path) if real.is_dir() else shutil.copy2(real, path)


def fill_perl(tree: Path) -> None:
    """Perl with its library."""
    perl = program("perl")
    copy(perl, tree / "perl" / "bin" / "perl")
    places = subprocess.check_output([perl, "-e", 'print join "\\n", @INC'], text=True)
    for number, place in enumerate(places.splitlines()):
        if os.path.isdir(place) and "local" not in place:
            target = tree / "perl" / "lib" / str(number)
            shutil.copytree(place, target, ignore_dangling_symlinks=True)

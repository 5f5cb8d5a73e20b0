"""Programs on a repository, beside the same programs on the directory that it was made from.

Everything runs as an ordinary user, over HTTP.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import software
from support.runs import World, assert_same, world

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "sw.example.org"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    if not shutil.which("gcc"):
        pytest.skip("no gcc: apt-get install gcc")

    def fill(tree: Path) -> None:
        software.fill_data(tree)
        software.fill_git(tree)
        software.fill_programs(tree, f"/cvmfs/{FQRN}")
        software.fill_languages(tree)
        software.fill_java(tree)

    with world(FQRN, fill) as made:
        yield made


def read_cases() -> Iterator[Any]:
    """The cases of run_programs.sh: a script and the program that it is about."""
    for text in (HERE / "run_programs.sh").read_text().split("\n### ")[1:]:
        head, _, script = text.partition("\n")
        name, _, needs = head.partition(" ")
        yield pytest.param(script.strip(), needs, id=name)


QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_PAGER": "cat", "JAVA_TOOL_OPTIONS": ""}


@pytest.mark.parametrize(("script", "needs"), list(read_cases()))
def test_same_as_natively(sw: World, script: str, needs: str) -> None:
    if needs and not shutil.which(needs):
        pytest.skip(f"no {needs} here")
    native, run = sw.both("bash", "-c", script, environment=QUIET)
    assert_same(run, native)
    assert native.out + native.err, "a command that says nothing shows nothing"


# Interpreters in the repository


@pytest.mark.parametrize("name", ["own-loader", "outer", "nested", "loaded"])
def test_interpreter_in_the_repository(sw: World, name: str) -> None:
    """What names its interpreter by an absolute path has a twin for the tree on the disk."""
    native = sw.native(f"@@/native/{name}", "one", "two")
    run = sw.run(f"@@/virtual/{name}", "one", "two")
    assert_same(run, native._replace(out=native.out.replace("/native/", "/virtual/")))
    assert run.status == 0
    assert "one two" in run.out


def test_real_script_with_an_interpreter_in_the_repository(sw: World) -> None:
    script = (
        "echo '#!@@/bin/own-bash' > s; echo 'echo $0 $BASH $*' >> s; chmod +x s; ./s 1; exec ./s 2"
    )
    native, run = sw.both("bash", "-c", script)
    assert_same(run, native)
    assert run.out.splitlines() == ["./s @@/bin/own-bash 1", "WORK/s @@/bin/own-bash 2"]


def test_thousands_of_arguments(sw: World) -> None:
    words = [f"argument {number}" for number in range(9000)]
    native, run = sw.both("@@/bin/script", *words)
    assert_same(run, native)
    assert "script @@/bin/script 9000 argument 0 argument 1" in run.out


# Debuggers


def test_gdb(sw: World) -> None:
    if not shutil.which("gdb"):
        pytest.skip("no gdb here")
    commands = (
        *("set confirm off", "set debuginfod enabled off", "break depth if left == 2", "run"),
        *("backtrace", "print left", "info sharedlibrary", "finish", "finish", "kill"),
    )
    words = [word for command in commands for word in ("-ex", command)]
    outcome = sw.run(
        "gdb", "-q", "-nx", "-batch", *words, "--args", "@@/bin/steps", "@@/data/text/lines"
    )
    assert "read: line 0 of the file" in outcome.out, outcome
    assert "#3 " in outcome.out, outcome
    assert "$1 = 2" in outcome.out, outcome
    assert "Value returned is $2 = 2" in outcome.out, outcome


def test_strace(sw: World) -> None:
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    script = "cd @@/data; ls text; @@/bin/who x; cat absent"
    outcome = sw.run("strace", "-f", "-e", "trace=openat,execve,chdir", "bash", "-c", script)
    assert outcome.status == 1
    assert "no newline" in outcome.out
    # Its short name is another: two tracers can't hold one task, and pyparrot gives it up.
    assert re.search(
        "^@@/bin/who x name .* exe @@/bin/who .* cwd @@/data size 1$", outcome.out, re.M
    )
    assert re.search(r'"absent", O_RDONLY\) += -1 ENOENT', outcome.err)

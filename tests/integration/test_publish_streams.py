"""Standard streams of ``pyparrot publish``, its help, and completion."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

import pytest
from support.publishing import (
    FQRN,
    Result,
    Site,
    assert_one_line,
)

from pyparrot.cli import main

# What Python prints of errors in finalizers would be more than one line.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


def test_output_that_cannot_be_written(site: Site) -> None:
    with open("/dev/full", "wb") as full:
        result = site.run("info", FQRN, stdout=full)
    assert_one_line(result, "No space left on device")


def test_output_that_nobody_reads(site: Site) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = site.run("info", FQRN, stdout=writer)
    os.close(writer)
    assert (result.status, result.err) == (141, "")


@pytest.mark.parametrize("descriptor", [0, 1])
def test_closed_streams(site: Site, descriptor: int) -> None:
    def close() -> None:
        os.close(descriptor)

    options: dict[str, Any] = {"stdin": None, "stdout": None, "preexec_fn": close}
    assert site.run("sync", FQRN, site.source, "--tag", "x", **options).status == 0
    with site.unharmed():
        result = site.run("ingest", FQRN, "-", **options)
        assert_one_line(result, "standard input|tar file")


def test_names_that_the_terminal_cannot_show(site: Site) -> None:
    (site.source / "ünïcode").touch()
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    result = site.run("sync", FQRN, site.source, "--dry-run", environment=ascii_only)
    assert (result.status, result.err) == (0, "")
    result = site.run("sync", FQRN, site.source / "no süch", environment=ascii_only)
    assert_one_line(result, "No such file")


COMMANDS = [
    [],
    ["publish"],
    *(["publish", name] for name in ("init", "sync", "ingest", "tag", "rollback", "resign")),
    *(["publish", name] for name in ("check", "gc", "info")),
    *(["publish", "tag", name] for name in ("add", "list", "remove")),
    ["serve"],
    ["completion"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("usage: pyparrot")
    assert max(map(len, shown.out.splitlines())) <= 100


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "publish" in script
    if shell != "tcsh":  # whose completion knows no options of actions
        assert "--storage" in script
    if shell != "tcsh" and shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script.encode(), capture_output=True, check=True)
        assert done.stderr == b""


@pytest.mark.parametrize("words", [["nonsense"], ["publish", "--nonsense"], ["completion", "sh"]])
def test_unknown_words(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    status = main(words)
    assert_one_line(Result(status, *capsys.readouterr()), "--help")

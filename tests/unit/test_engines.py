"""Engines are found by name, and one that can't work here says so in one line."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pyparrot.run import engines
from pyparrot.run.engines.base import Engine, Unavailable
from pyparrot.run.engines.notify import NotifyEngine

ELSEWHERE = """
import sys, types
from pyparrot.run import engines
from pyparrot.run.engines.base import Attachment, Engine, Unavailable

class Elsewhere(Engine):
    name = "elsewhere"
    @classmethod
    def install(cls, cookie, to_supervisor): to_supervisor.send(b"nothing")
    @classmethod
    def attach(cls, from_command):
        assert from_command.recv(64) == b"nothing"
        raise Unavailable("not on this computer", "take another one")
    def __init__(self, *words): raise AssertionError
    start = counters = __init__

module = types.ModuleType("pyparrot.run.engines.elsewhere")
module.Elsewhere = Elsewhere
sys.modules[module.__name__] = module
engines._ENGINES["elsewhere"] = "Elsewhere"
from pyparrot.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", engines.names())
def test_engines_are_found_by_name(name: str) -> None:
    engine = engines.load(name)
    assert issubclass(engine, Engine)
    assert name in (engines.AUTOMATIC, engine.name)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError):
        engines.load("nothing")
    command = [sys.executable, "-m", "pyparrot", "run", "--engine", "nothing", "--", "true"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (125, "")
    assert "'nothing'" in ran.stderr
    assert "'notify'" in ran.stderr


def test_the_engine_that_was_asked_for_is_taken(tmp_path: Path) -> None:
    """It can't work here, and the run says so in one line."""
    command = [sys.executable, "-c", ELSEWHERE, "run", "--cache", str(tmp_path / "cache")]
    ran = subprocess.run(
        [*command, "--engine", "elsewhere", "--", "echo", "never"],
        check=False,
        capture_output=True,
        text=True,
    )
    message = "pyparrot: run: not on this computer (take another one)\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (125, "", message)
    ran = subprocess.run(
        [*command, "--engine", "notify", "--", "echo", "here"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "here\n", "")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"E%d" % errno.EBUSY, "already in a run"),
        (b"E%d" % errno.ENOSYS, f"no seccomp user notification here: {os.strerror(errno.ENOSYS)}"),
        (b"L123", "no seccomp user notification here"),
        (b"", "no seccomp user notification here: no answer"),
    ],
)
def test_what_the_child_says_is_understood(message: bytes, why: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(message) if message else theirs.close()
        with pytest.raises(Unavailable, match=why):
            NotifyEngine.attach(ours)

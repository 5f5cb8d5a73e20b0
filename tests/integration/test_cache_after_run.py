"""A cache that runs have filled: every kind of object is known, right, and stays."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from support.runs import PYPARROT, World, world

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "after.example.org"


def cache(action: str, *words: str, made: World) -> str:
    command = [*PYPARROT, "cache", action, *words, "--cache", f"{made.home}/user/cache"]
    ran: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        env=made.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        **made.user.options(),
    )
    return ran.stdout


def fill(tree: Path) -> None:
    (tree / "file").write_text("remote\n")


def objects(made: World) -> set[str]:
    return {each["name"] for each in json.loads(cache("list", "--json", made=made))}


def test_a_healthy_cache(shim: str) -> None:
    with world(FQRN, fill) as made:
        local = made.work()
        (local / "file").write_text("local\n")
        words = ("cat", f"/cvmfs/{FQRN}/file", "/local.d/file")
        options = ("--mount", f"/local.d={local}", "-o", "CVMFS_QUOTA_LIMIT=-1")
        ran = made.run(*words, options=options)
        assert (ran.status, ran.out, ran.err) == (0, "remote\nlocal\n", "")
        kinds = json.loads(cache("info", "--json", made=made))["kinds"]
        assert kinds["copies of local files"] == kinds["files"] == kinds["indexes"] == 1
        assert ("copies of C libraries" in kinds) == (shim != "off")
        assert "other" not in kinds
        before = objects(made)
        assert cache("verify", made=made).endswith(": 0 corrupt\n")
        assert objects(made) == before

"""What the fuzzers start from, and what they once found, goes through their targets here."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.corpus import first_inputs
from fuzz.targets import TARGETS
from support.sanitized import CORE, TESTS, built, run


@pytest.mark.parametrize("name", ["index", "walk", "build"])
def test_inputs_of_c(name: str, tmp_path: Path) -> None:
    parts = ("core/index", "core/snapshot", "core/variant", "core/walk", "python/index_build")
    core = [CORE / f"{part}.c" for part in parts]
    ours = [TESTS / "fuzz" / "replay.c", TESTS / "fuzz" / f"fuzz_{name}.c"]
    program = built(tmp_path, name, [*ours, *core])
    files = []
    for number, content in enumerate(first_inputs(name)):
        files.append(tmp_path / f"input-{number}")
        files[-1].write_bytes(content)
    assert files
    run(program, *files)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_of_python(name: str) -> None:
    inputs = first_inputs(name)
    assert inputs
    for content in inputs:
        TARGETS[name](content)

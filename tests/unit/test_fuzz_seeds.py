"""What the fuzzers start from, and what they once found, goes through their targets here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fuzz.corpus import first_inputs
from fuzz.targets import TARGETS

TESTS = Path(__file__).parents[1]
CORE = TESTS.parent / "csrc"
CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


def compiled(program: Path, *sources: Path) -> subprocess.CompletedProcess[str]:
    options = ("-std=c11", "-D_GNU_SOURCE", "-g", "-O1", *CHECKS, f"-I{CORE}")
    command = [os.environ.get("CC", "cc"), *options, *map(str, sources), "-o", str(program)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("name", ["index", "walk", "build"])
def test_inputs_of_c(name: str, tmp_path: Path) -> None:
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if compiled(tmp_path / "probe", probe).returncode != 0:
        pytest.skip("the C compiler has no sanitizers")
    parts = ("core/index", "core/snapshot", "core/variant", "core/walk", "python/index_build")
    core = [CORE / f"{part}.c" for part in parts]
    ours = [TESTS / "fuzz" / "replay.c", TESTS / "fuzz" / f"fuzz_{name}.c"]
    built = compiled(tmp_path / name, *ours, *core)
    assert built.returncode == 0, built.stderr
    files = []
    for number, content in enumerate(first_inputs(name)):
        files.append(tmp_path / f"input-{number}")
        files[-1].write_bytes(content)
    assert files
    # Leaks can't be looked for where a debugger has hold of the process.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    ran = subprocess.run(
        [str(tmp_path / name), *map(str, files)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_of_python(name: str) -> None:
    inputs = first_inputs(name)
    assert inputs
    for content in inputs:
        TARGETS[name](content)

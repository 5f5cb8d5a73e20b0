"""The engine's C: what it includes, and how it works with an engine that is written for the test
(``engine_checks.c``), under sanitizers."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest
from support.libraries import compiler

TOP = Path(__file__).parents[2]
SOURCES = (
    "core/image.c",
    "engine/worker.c",
    "engine/shortage.c",
    "engine/engine_memory.c",
    "engine/mapping_pool.c",
    "task/known_images.c",
    "task/descriptors.c",
    "task/proc.c",
    "task/remote.c",
    "task/family.c",
    "task/reaper.c",
)
FLAGS = ("-std=c11", "-pthread", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


ABOVE = {
    "launcher": ("core", "task", "engine", "libc", "shim", "python"),
    "core": ("task", "engine", "libc", "shim", "python"),
    "task": ("engine", "libc", "shim", "python"),
    "engine": ("libc", "python"),
    "libc": ("python",),
    "shim": ("task", "engine", "libc", "python"),
    "arch": ("core", "task", "engine", "libc", "shim", "python"),
    "python": ("task", "engine", "libc", "shim", "arch"),
}
"""What the C in a folder may not include (csrc/README.md says what it may)."""


@pytest.mark.parametrize("folder", ABOVE)
def test_includes_point_down(folder: str) -> None:
    files = sorted((TOP / "csrc" / folder).glob("*.[ch]"))
    found = [
        f"{file.name}: {included}"
        for file in files
        for included in re.findall(r'^#include "(.+)"$', file.read_text(), re.MULTILINE)
        if included.split("/")[0] in ABOVE[folder]
    ]
    assert files
    assert found == []


def test_the_way_of_a_call_and_the_pool_of_mappings(tmp_path: Path) -> None:
    program = tmp_path / "checks"
    sources = [TOP / "csrc" / name for name in SOURCES]
    checks = TOP / "tests" / "support" / "engine_checks.c"
    wrapped = "-Wl,--wrap=open"
    options: list[str | Path] = [*FLAGS, *SANITIZERS, wrapped, f"-I{TOP / 'csrc'}", "-o", program]
    subprocess.run([compiler(), *options, checks, *sources], check=True)
    ran = subprocess.run([program], check=False, capture_output=True, text=True)
    said = "pyparrot: run: too few open files are allowed: calls have failed (ulimit -n)\n"
    assert (ran.returncode, ran.stderr) == (0, said), ran.stdout + ran.stderr
    assert ran.stdout.endswith("done\n")


def test_no_call_is_lost_when_supervisors_and_tracers_are_killed(tmp_path: Path) -> None:
    program = tmp_path / "checks"
    source = TOP / "csrc" / "engine" / "engine_memory.c"
    checks = TOP / "tests" / "support" / "handover_checks.c"
    options: list[str | Path] = [*FLAGS, "-pthread", f"-I{TOP / 'csrc'}", "-o", program]
    subprocess.run([compiler(), *options, checks, source], check=True)
    seed = random.randrange(1 << 31)
    ran = subprocess.run(
        [program, "1500", str(seed)], check=False, capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stderr) == (0, ""), f"seed {seed}: {ran.stdout}{ran.stderr}"
    assert " 0 mixed up, all free" in ran.stdout
    assert " 0 begun again" not in ran.stdout  # or nothing was killed in the midst of a call

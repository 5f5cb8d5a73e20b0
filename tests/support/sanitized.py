"""C programs for tests, compiled with AddressSanitizer and UBSan.

With a directory in the variable ``PYPARROT_C_COVERAGE`` they are compiled into it, and leave there
for gcov which lines they ran (``tools/coverage``).
"""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.libraries import compiler

TESTS = Path(__file__).parents[1]
CORE = TESTS.parent / "csrc"
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-g", "-O1", f"-I{CORE}")
_CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@functools.cache
def _has_sanitizers() -> bool:
    with tempfile.TemporaryDirectory() as directory:
        probe = Path(directory, "probe.c")
        probe.write_text("int main(void) { return 0; }\n")
        command = [compiler(), *_CHECKS, str(probe), "-o", str(Path(directory, "probe"))]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def built(directory: Path, name: str, sources: Sequence[Path], *options: str) -> Path:
    """The program *name*; the test is skipped if the compiler has no sanitizers."""
    if not _has_sanitizers():
        pytest.skip("the C compiler has no sanitizers")
    measured = os.environ.get("PYPARROT_C_COVERAGE")
    flags = [*_FLAGS, *_CHECKS]
    if measured:
        directory = Path(tempfile.mkdtemp(dir=measured, prefix=f"{name}-"))
        flags += ["--coverage", "-fprofile-abs-path"]
    program = directory / name
    # Options are for the linker, too: they come last.
    command = [compiler(), *flags, *map(str, sources), "-o", str(program), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return program


def run(program: Path, *arguments: Path) -> None:
    """Run a program that ends with 0 and says nothing if all is well."""
    # Leaks can't be looked for where a debugger has hold of the process.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    command = [str(program), *map(str, arguments)]
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr

"""The decision core and the engines' C, without an engine: the programs in ``c/``, sanitized."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.sanitized import CORE, built, run

HERE = Path(__file__).parent / "c"
DECISIONS = sorted((CORE / "core").glob("*.c"))

# The sources of each, beside its own, and options for the linker.
PROGRAMS: dict[str, tuple[list[Path], tuple[str, ...]]] = {
    "test_decide": ([HERE / "world.c", CORE / "python" / "index_build.c", *DECISIONS], ()),
    "test_filter": (
        [CORE / "engine" / "filter.c", *DECISIONS],
        ("-Wl,--wrap=prctl,--wrap=syscall",),
    ),
}


def test_each_program_is_run() -> None:
    assert {file.stem for file in HERE.glob("test_*.c")} == {*PROGRAMS}


@pytest.mark.parametrize("name", PROGRAMS)
def test_c(name: str, tmp_path: Path) -> None:
    sources, options = PROGRAMS[name]
    run(built(tmp_path, name, [HERE / f"{name}.c", *sources], f"-I{HERE}", *options))

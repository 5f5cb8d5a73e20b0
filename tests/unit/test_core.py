"""What Python sees of the C core: taken from its headers, and the stub for the type checker."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def build() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "csrc/python/ffi_build.py"))


def marked(path: Path, *regions: str) -> str:
    marks = [f"/* cffi: begin */\n{region}\n/* cffi: end */\n" for region in regions]
    path.write_text("#ifndef X\n" + "int hidden(void);\n".join(marks) + "#endif\n")
    return str(path)


def test_the_stub_is_what_the_extension_says() -> None:
    stub = runpy.run_path(str(ROOT / "csrc/python/stub.py"))["stub"]
    assert (ROOT / "pyparrot/_core.pyi").read_text() == stub(), "python csrc/python/stub.py"


def test_only_what_is_marked_is_seen(build: dict[str, Any], tmp_path: Path) -> None:
    declaration = ["int", "f(int);", "struct", "s", "{", "int", "a;", "};"]
    header = marked(tmp_path / "x.h", "int f(int); /* a\n comment */", "struct s {\n    int a;\n};")
    assert build["declarations"](header).split() == declaration
    (tmp_path / "y.h").write_text("int g(void);\n")
    assert build["declarations"](str(tmp_path / "y.h")) == ""


@pytest.mark.parametrize(
    ("source", "declaration"),
    [
        ("#define A 4096u", "#define A 4096u"),
        ("#define A (1u << 20)", "#define A ..."),
        ("#define A \\\n    UINT64_C(1) /* one */", "#define A ..."),
        ("#define A -0x1", "#define A -0x1"),
        ('#define A "text"', "static char *const A;"),
        (
            "static inline int f(int a,\n    int b)\n{\n    if (a) {\n    }\n}\nint g;",
            "int f(int a, int b); int g;",
        ),
    ],
)
def test_definitions_become_declarations(
    build: dict[str, Any], tmp_path: Path, source: str, declaration: str
) -> None:
    header = marked(tmp_path / "x.h", source)
    assert build["declarations"](header).split() == declaration.split()


@pytest.mark.parametrize(
    "text",
    [
        "/* cffi: begin */\nint f(void);\n",
        "int f(void);\n/* cffi: end */\n",
        "/* cffi: begin */\n/* cffi: begin */\n/* cffi: end */\n/* cffi: end */\n",
    ],
)
def test_a_mark_without_its_other_half_is_an_error(
    build: dict[str, Any], tmp_path: Path, text: str
) -> None:
    header = tmp_path / "x.h"
    header.write_text(text)
    with pytest.raises(SystemExit, match=r"x\.h: every 'cffi: begin' needs"):
        build["declarations"](str(header))


@pytest.mark.parametrize("text", ["#ifdef A\nint f(void);\n#endif", "pid_t f(void);", "int f("])
def test_a_header_that_cffi_cannot_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    folder = tmp_path / "csrc"
    folder.mkdir()
    marked(folder / "bad.h", text)
    monkeypatch.chdir(tmp_path)
    build = runpy.run_path(str(ROOT / "csrc/python/ffi_build.py"))
    with pytest.raises(SystemExit, match=r"csrc/bad\.h: cffi cannot read what is marked"):
        build["build"]()


def test_another_directory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build = runpy.run_path(str(ROOT / "csrc/python/ffi_build.py"))
    with pytest.raises(SystemExit, match="nothing is marked for cffi"):
        build["build"]()


def test_headers_come_after_those_that_they_include(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "csrc"
    folder.mkdir()
    (folder / "a.h").write_text('#include <stdint.h>\n#include "z.h"\n')
    (folder / "b.h").write_text('#include "a.h"\n')
    (folder / "z.h").write_text("")
    monkeypatch.chdir(tmp_path)
    build = runpy.run_path(str(ROOT / "csrc/python/ffi_build.py"))
    assert build["in_order"](build["HEADERS"]) == ["csrc/z.h", "csrc/a.h", "csrc/b.h"]

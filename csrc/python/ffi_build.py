"""Tell cffi what Python sees of the C core (API mode, out of line): the module ``pyparrot._core``.

That is what stands between ``/* cffi: begin */`` and ``/* cffi: end */`` in any header of csrc/.
There may be structs, enums, declarations of functions, ``static inline`` functions (Python can call
them as any other), and macros whose value is an integer or a text; nothing conditional. The C
compiler reads the same headers, so the two cannot differ.
"""

import os
import re
from collections.abc import Iterator
from glob import glob

from cffi import FFI

FOLDERS = ("core", "engine", "libc", "python", "task")
SOURCES = sorted(source for folder in FOLDERS for source in glob(f"csrc/{folder}/*.c"))
HEADERS = sorted(glob("csrc/**/*.h", recursive=True))

# What is the C library's own.
LIBRARY = "int syncfs(int fd);"
LIBRARY_HEADERS = ("unistd.h",)

_MARK = re.compile(r"^[ \t]*/\* cffi: (begin|end) \*/[ \t]*$", re.MULTILINE)
_INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INLINE = re.compile(r"^static inline ([^{};]+)\{.*?^\}", re.MULTILINE | re.DOTALL)
_DEFINE = re.compile(r"^#define (\w+)[ \t]+(.+?)[ \t]*$", re.MULTILINE)
_LITERAL = re.compile(r"-?(0x[0-9a-f]+|[0-9]+)[ul]*", re.IGNORECASE)


def in_order(headers: list[str]) -> list[str]:
    """The *headers*, those that one includes before it."""
    done: dict[str, None] = {}

    def add(header: str) -> None:
        if header in headers and header not in done:
            for included in _INCLUDE.findall(_content(header)):
                add(f"csrc/{included}")
            done[header] = None

    for header in headers:
        add(header)
    return list(done)


def declarations(header: str) -> str:
    """What stands between the marks of *header*, as cffi wants it; "" if there are none."""
    text = "".join(_regions(header, _content(header)))
    text = _COMMENT.sub(" ", text).replace("\\\n", " ")
    text = _INLINE.sub(lambda function: f"{function[1].rstrip()};", text)
    return _DEFINE.sub(_constant, text)


def _regions(header: str, text: str) -> Iterator[str]:
    marks = list(_MARK.finditer(text))
    if [mark[1] for mark in marks] != ["begin", "end"] * (len(marks) // 2):
        raise SystemExit(f"{header}: every 'cffi: begin' needs one 'cffi: end' behind it")
    for begin, end in zip(marks[::2], marks[1::2]):
        yield text[begin.end() : end.start()]


def _constant(define: "re.Match[str]") -> str:
    """A macro: cffi computes with literals, and asks the C compiler for everything else."""
    name, value = define[1], define[2]
    if value.startswith('"'):
        return f"static char *const {name};"
    return f"#define {name} {value if _LITERAL.fullmatch(value) else '...'}"


def _content(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def build() -> FFI:
    """The whole extension, for cffi to compile. Has to be called at the top of the source tree."""
    ffibuilder = FFI()
    ffibuilder.cdef(LIBRARY)
    included = []
    for header in in_order(HEADERS):
        text = declarations(header)
        if text:
            try:
                ffibuilder.cdef(text)
            except Exception as error:
                raise SystemExit(f"{header}: cffi cannot read what is marked: {error}") from error
            included.append(f'#include "{os.path.relpath(header, "csrc")}"\n')
    if not included:
        raise SystemExit("nothing is marked for cffi: is this the top of the source tree?")
    ffibuilder.set_source(
        "pyparrot._core",
        "".join([*(f"#include <{header}>\n" for header in LIBRARY_HEADERS), *included]),
        sources=SOURCES,
        include_dirs=["csrc"],
        define_macros=[("_GNU_SOURCE", None)],
        extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra"],
        depends=HEADERS,
    )
    return ffibuilder

"""Make ``generated/syscalls.h`` of ``syscalls.tbl``, where the columns are explained.

    python csrc/generate.py

``setup.py`` does it before it builds. The conformance tests take the calls from `read_table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TABLE = HERE / "syscalls.tbl"
HEADER = HERE / "generated" / "syscalls.h"

CPUS = ("x86_64", "aarch64")
"""The columns of numbers. The compiler's macro for each is ``__CPU__``."""

HANDLINGS = {"decide": "DECIDED", "notice": "NOTICED", "filter": "FILTERED", "pass": "PASSED"}
OPTIONS = frozenset(
    ("nofollow", "null_path", "null_if_empty_path", "empty_path", "cwd", "old_dirent", "shim")
)

FIELDS = {
    "fd": "descriptor",
    "path": "path",
    "fd2": "second_descriptor",
    "path2": "second_path",
    "flags": "flags",
    "value": "value",
    "name": "name",
    "out": "output",
    "in": "input",
    "size": "size",
    "argv": "argv",
}
"""The words of the column *arguments* that have a field in struct pp_spec, in the fields' order."""

PLAIN = ("bytes", "envp", "instance", "int", "mount_id", "pointer", "times")
"""The words that have none."""


class Call(NamedTuple):
    """A row of the table; *numbers* has the CPUs that know the call."""

    name: str
    numbers: dict[str, int]
    handling: str
    operation: str
    arguments: tuple[str, ...]
    options: tuple[str, ...]


def read_table(text: str | None = None) -> list[Call]:
    """The rows of the table, or of the *text* of one. `ValueError`: it is not as it has to be."""
    calls = []
    lines = TABLE.read_text(encoding="utf-8") if text is None else text
    for number, line in enumerate(lines.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                calls.append(_call(*line.split()))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{TABLE.name}, line {number}: {error}") from error
    _refuse_twice("call", [call.name for call in calls])
    for cpu in CPUS:
        numbers = [call.numbers[cpu] for call in calls if cpu in call.numbers]
        _refuse_twice(f"number of {cpu}", numbers)
    return calls


def _call(name: str, *columns: str) -> Call:
    if len(columns) < len(CPUS) + 3:
        raise ValueError(f"{name} has too few columns")
    numbers = {cpu: int(text) for cpu, text in zip(CPUS, columns) if text != "-"}
    handling, operation, arguments, *options = columns[len(CPUS) :]
    roles = () if arguments == "-" else tuple(arguments.split(","))
    call = Call(name, numbers, handling, operation, roles, tuple(options))
    if handling not in HANDLINGS:
        raise ValueError(f"{name}: no handling is called {handling}")
    if not OPTIONS.issuperset(options):
        raise ValueError(f"{name}: unknown options in {' '.join(options)}")
    words = [word.partition(":")[0] for word in call.arguments]
    if len(words) > 6 or not set(words) <= {*FIELDS, *PLAIN}:
        raise ValueError(f"{name}: unknown arguments in {arguments}")
    _refuse_twice(f"argument of {name}", [word for word in words if word in FIELDS])
    if "fd2" in words and "fd" not in words:
        raise ValueError(f"{name}: fd2 without fd")
    return call


def _refuse_twice(what: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} given twice: {value}")
        seen.add(value)


def header(calls: list[Call]) -> str:
    """The text of the header made of *calls*."""
    return "\n".join(_header(calls)) + "\n"


def _header(calls: list[Call]) -> Iterator[str]:
    operations = list(dict.fromkeys(call.operation for call in calls))
    decided = dict.fromkeys(call.operation for call in calls if call.handling == "decide")
    yield "/* Made of syscalls.tbl by generate.py; changes are lost. */"
    yield "/* clang-format off */"
    yield "#ifndef PYPARROT_GENERATED_SYSCALLS_H"
    yield "#define PYPARROT_GENERATED_SYSCALLS_H"
    yield ""
    yield "enum pp_operation {"
    yield from (f"    PP_OP_{name.upper()}," for name in ("none", *operations))
    yield "};"
    yield ""
    yield "#define PP_DECIDERS(DECIDER) \\"
    yield " \\\n".join(f"    DECIDER({name}, PP_OP_{name.upper()})" for name in decided)
    keyword = "if"
    for cpu in CPUS:
        known = [call for call in calls if cpu in call.numbers]
        yield ""
        yield f"#{keyword} defined(__{cpu}__)"
        yield "enum {"
        for call in known:
            if call.handling == "filter":  # all others are known by what they do
                yield f"    PP_NUMBER_{call.name.upper()} = {call.numbers[cpu]},"
        yield f"    PP_NUMBERS_END = {max((call.numbers[cpu] for call in known), default=0) + 1}"
        yield "};"
        yield "#define PP_SPECS \\"
        yield " \\\n".join(f"    {_spec(call, call.numbers[cpu])}" for call in known)
        keyword = "elif"
    yield ""
    yield "#else"
    yield '#error "syscalls.tbl has no numbers for this CPU"'
    yield "#endif"
    yield ""
    yield "#endif"


def _spec(call: Call, number: int) -> str:
    places = dict.fromkeys(FIELDS, -1)
    for index, word in enumerate(call.arguments):
        if word.partition(":")[0] in places:
            places[word.partition(":")[0]] = index
    options = " | ".join(f"PP_SPEC_{option.upper()}" for option in call.options) or "0"
    fields = [
        f".handling = PP_{HANDLINGS[call.handling]}",
        f".operation = PP_OP_{call.operation.upper()}",
        f".options = {options}",
        f".count = {len(call.arguments)}",
        *(f".{field} = {places[word]}" for word, field in FIELDS.items()),
    ]
    return f"[{number}] = {{{', '.join(fields)}}}, /* {call.name} */"


def write_header() -> None:
    """Write the header if it is not what the table gives: its time tells what has to be built."""
    text = header(read_table())
    if not HEADER.exists() or HEADER.read_text(encoding="utf-8") != text:
        HEADER.parent.mkdir(exist_ok=True)
        HEADER.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_header()

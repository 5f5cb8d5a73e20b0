"""Reads assignments from shell text without a shell: nothing is run, nothing is looked up.

Understood are assignments, also with ``export`` or ``readonly``, and what decides which of them
apply: ``if``, ``[ ... ]`` about strings and numbers, ``&&``, ``||``, ``!`` and ``return``. All else
becomes a `Problem`. A condition that is not understood takes its whole ``if`` with it, so that
no assignment is made that a shell might have skipped.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pyparrot.config.shell_grammar import (
    Chain,
    Command,
    Commands,
    If,
    Not,
    Opaque,
    Simple,
    commands,
)
from pyparrot.config.shell_tokens import Expansion, Part, Unclosed, Unknown, Word

MAX_TEXT = 1 << 20
"""Characters that a text may have."""

_MAX_VALUE = 1 << 16
_MAX_VALUES = 1 << 22  # all of them together: a text of 1 MiB could name a long one very often
_MAX_PROBLEMS = 100
_MAX_SHOWN = 200  # characters of a line that a problem shows

_STRING_TESTS = {"=": operator.eq, "==": operator.eq, "!=": operator.ne}
_NUMBER_TESTS = {
    "-eq": operator.eq,
    "-ne": operator.ne,
    "-lt": operator.lt,
    "-le": operator.le,
    "-gt": operator.gt,
    "-ge": operator.ge,
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


class Assignment(NamedTuple):
    """A variable that was given a value, in *line*."""

    name: str
    value: str
    line: int


class Problem(NamedTuple):
    """What could not be read of *file*, and *why*: *text* of *line*, or all of it (line 0)."""

    file: str
    line: int
    text: str
    why: str

    def __str__(self) -> str:
        if not self.line:
            return f"{self.file}: {self.why}"
        return f"{self.file}:{self.line}: not understood: {self.text} ({self.why})"


class Parsed(NamedTuple):
    """What a text holds, in its order."""

    assignments: tuple[Assignment, ...]
    problems: tuple[Problem, ...]


def parse(text: str, variables: Mapping[str, str], origin: str) -> Parsed:
    """The assignments in *text*, which may refer to each other and to *variables*.

    *origin* names the text in problems. No text makes this fail.
    """
    if len(text) > MAX_TEXT:
        return Parsed((), (Problem(origin, 0, "", "not read: larger than 1 MiB"),))
    reader = _Reader(variables)
    reader.read(text)
    lines = text.split("\n")
    return Parsed(
        tuple(reader.assignments),
        tuple(
            Problem(origin, line, lines[line - 1].strip()[:_MAX_SHOWN], why)
            for line, why in reader.problems
        ),
    )


class _NotUnderstood(Exception):
    def __init__(self, line: int, why: str) -> None:
        super().__init__(line, why)
        self.line = line
        self.why = why


class _Return(Exception):
    """The text says itself that the rest of it is to be ignored."""


class _Reader:
    def __init__(self, variables: Mapping[str, str]) -> None:
        self.assignments: list[Assignment] = []
        self.problems: list[tuple[int, str]] = []
        self._variables = variables
        self._values: dict[str, str] = {}
        self._expanded = 0

    def read(self, text: str) -> None:
        try:
            self._run(commands(text))
        except _Return:
            pass
        except Unclosed as end:
            self.problems.append((end.line, f"{end.why}; nothing from here on was read"))

    # Commands

    def _run(self, listed: Iterable[Command]) -> None:
        for command in listed:
            try:
                self._run_one(command)
            except _NotUnderstood as problem:
                if len(self.problems) >= _MAX_PROBLEMS:
                    raise Unclosed(problem.line, "the last of too many problems") from None
                self.problems.append((problem.line, problem.why))

    def _run_one(self, command: Command) -> None:
        if isinstance(command, If):
            self._run(self._branch(command))
        else:
            self._holds(command)

    def _branch(self, command: If) -> Commands:
        """The commands that the conditions choose."""
        try:
            for conditions, chosen in command.branches:
                if [self._holds(condition) for condition in conditions][-1]:
                    return chosen
        except _NotUnderstood as problem:
            raise _NotUnderstood(command.line, f"its condition: {problem.why}") from None
        return command.otherwise

    def _holds(self, command: Command) -> bool:
        """Run a command and tell whether it succeeds."""
        if isinstance(command, Simple):
            return self._simple(command.words)
        if isinstance(command, Not):
            return not self._holds(command.command)
        if isinstance(command, Chain):
            status = True
            for joint, link in command.links:
                if not joint or status == (joint == "&&"):
                    status = self._holds(link)
            return status
        raise _NotUnderstood(
            command.line, command.why if isinstance(command, Opaque) else "a joined if"
        )

    def _simple(self, words: Sequence[Word]) -> bool:
        first = words[0].bare
        if all(word.name for word in words):
            self._assign(words)
        elif first in ("export", "readonly"):
            if any(not word.bare or word.bare.startswith("-") for word in words if not word.name):
                raise _NotUnderstood(words[0].line, first)
            self._assign([word for word in words if word.name])
        elif first in ("[", "test", ":", "true", "false"):
            arguments = [self._argument(word) for word in words[1:]]
            return self._builtin(first, arguments, words[0].line)
        elif first == "return":
            raise _Return
        else:
            sourced = first in (".", "source")
            raise _NotUnderstood(words[0].line, "another file" if sourced else "a command")
        return True

    def _builtin(self, name: str, arguments: list[str], line: int) -> bool:
        if name not in ("[", "test"):
            return name != "false"
        if name == "[" and (not arguments or arguments.pop() != "]"):
            raise _NotUnderstood(line, "] is missing")
        return _test(arguments, line)

    # Values

    def _assign(self, words: Iterable[Word]) -> None:
        for word in words:
            self._set(word.name, self._expand(word.parts, word.line), word.line)

    def _set(self, name: str, value: str, line: int) -> None:
        self._values[name] = value
        self.assignments.append(Assignment(name, value, line))

    def _argument(self, word: Word) -> str:
        value = self._expand(word.parts, word.line)
        return f"{word.name}={value}" if word.name else value

    def _expand(self, parts: Iterable[Part], line: int) -> str:
        pieces, length = [], 0
        for part in parts:
            if isinstance(part, Unknown):
                raise _NotUnderstood(line, part.why)
            piece = part if isinstance(part, str) else self._variable(part, line)
            pieces.append(piece)
            length += len(piece)
            if length > _MAX_VALUE:
                raise _NotUnderstood(line, f"a value of more than {_MAX_VALUE} characters")
        self._expanded += length
        if self._expanded > _MAX_VALUES:
            raise Unclosed(line, f"more than {_MAX_VALUES} characters of values")
        return "".join(pieces)

    def _variable(self, expansion: Expansion, line: int) -> str:
        value = self._values.get(expansion.name, self._variables.get(expansion.name))
        missing = value is None or (value == "" and ":" in expansion.operator)
        if expansion.operator.endswith("+"):
            return "" if missing else self._expand(expansion.word, line)
        if value is not None and not missing:
            return value
        default = self._expand(expansion.word, line)
        if expansion.operator.endswith("="):
            self._set(expansion.name, default, line)
        return default


def _test(arguments: Sequence[str], line: int) -> bool:
    """The outcome of ``[``. As POSIX has it, the number of arguments says what they mean."""
    if len(arguments) < 2:
        return arguments not in ([], [""])
    if len(arguments) == 2 and arguments[0] in ("-n", "-z"):
        return (arguments[1] == "") == (arguments[0] == "-z")
    if len(arguments) == 3:
        left, name, right = arguments
        if name in _STRING_TESTS:
            return bool(_STRING_TESTS[name](left, right))
        if name in _NUMBER_TESTS and _NUMBER.fullmatch(left) and _NUMBER.fullmatch(right):
            return bool(_NUMBER_TESTS[name](int(left), int(right)))
    if len(arguments) <= 4 and arguments[0] == "!":
        return not _test(arguments[1:], line)
    raise _NotUnderstood(line, "this kind of test")

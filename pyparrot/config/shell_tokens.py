"""The words of shell text: blanks, comments, quotes, escapes and ``$`` as POSIX has them.

Nothing is evaluated here. What a word would take a shell to know (a command's output, say) is an
`Unknown` part of it, and its text is passed over by counting quotes and brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Union

_DEPTH = 16  # of quotes and ${...} in each other

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=")
_BRACES = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:?[-+=]|\})")
_IGNORED = re.compile(r"(?:[ \t\r\f\v]|\\\n)+|#[^\n]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r"\n|&&|\|\||;;|<<<|<<-?|<>|<&|>>|>&|>\||[;&|()<>]")
_PLAIN = re.compile(r"[A-Za-z0-9_./,=@%+^-]+")
_SPECIAL = re.compile(r"[0-9@*#?$!-]")
_TILDE_END = re.compile(r"[/:\s;&|()<>]|\Z")
_WORD_END = frozenset(" \t\r\f\v\n;&|()<>")


class Unknown(NamedTuple):
    """A part of a word that only a shell could know, and what it is."""

    why: str


class Expansion(NamedTuple):
    """A variable; *operator* and *word* are those of ``${NAME:-WORD}`` and its kin."""

    name: str
    operator: str = ""
    word: tuple[Part, ...] = ()


Part = Union[str, Expansion, Unknown]


class Word(NamedTuple):
    """A word and its line; of an assignment, *name* is the variable and *parts* the value.

    *bare* is the text of a word without quotes or ``$``: only such can be a keyword.
    """

    line: int
    bare: str
    name: str
    parts: tuple[Part, ...]


class Operator(NamedTuple):
    """``;``, a line end, ``|`` and the like; the end of the text has the empty *text*."""

    line: int
    text: str


Token = Union[Word, Operator]


class Unclosed(Exception):
    """Something that began in *line* has no end, so nothing behind it can be read."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(line, why)
        self.line = line
        self.why = why


def tokens(text: str) -> Iterator[Token]:
    """The words and operators of *text*, the last with the empty operator; or `Unclosed`."""
    return _Scanner(text).tokens()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1

    def tokens(self) -> Iterator[Token]:
        while True:
            while ignored := _IGNORED.match(self._text, self._at):
                self._go(ignored.end())
            if self._at == len(self._text):
                yield Operator(self._line, "")
                return
            if operator := _OPERATOR.match(self._text, self._at):
                yield Operator(self._line, operator.group())
                self._go(operator.end())
            else:
                yield self._word()

    def _go(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _word(self) -> Word:
        line, start, name = self._line, self._at, ""
        if assignment := _ASSIGNMENT.match(self._text, start):
            name = assignment.group(1)
            self._go(assignment.end())
        parts: list[Part] = []
        begun = True  # a value, or a piece of it behind a colon: here ~ means the home directory
        while self._at < len(self._text) and self._text[self._at] not in _WORD_END:
            character = self._text[self._at]
            parts += [self._tilde()] if begun and character == "~" else self._part("")
            begun = bool(name) and character == ":"
        raw = self._text[start : self._at]
        bare = "" if any(character in raw for character in "\\'\"$`") else raw
        return Word(line, bare, name, tuple(parts))

    def _tilde(self) -> Part:
        self._go(self._at + 1)
        if _TILDE_END.match(self._text, self._at):
            return Expansion("HOME", "-", ("~",))
        return Unknown("the home directory of another user")

    def _part(self, closer: str, depth: int = 0) -> list[Part]:
        """The next part; *closer* tells where we are: in ``"``, in ``}``, in both or in neither."""
        if depth > _DEPTH:
            raise Unclosed(self._line, "quotes and braces are nested too deeply")
        quoted = '"' in closer
        character = self._text[self._at]
        if character == "\\":
            return [self._escape('$`"\\' + closer if quoted else "")]
        if character == "'" and not quoted:
            return [self._until("'")]
        if character == '"':
            return self._enclosed('"', '"', depth)
        if character == "$":
            return [self._dollar(quoted, depth)]
        if character == "`":
            self._skip("`", 1, "a backquote")
            return [Unknown("the output of a command")]
        plain = _PLAIN.match(self._text, self._at)
        start = self._at
        self._go(plain.end() if plain else start + 1)
        return [self._text[start : self._at]]

    def _escape(self, escapable: str) -> str:
        """A backslash and what it protects: any character, or only those in *escapable*."""
        protected = self._text[self._at + 1 : self._at + 2]
        self._go(self._at + 1 + len(protected))
        if protected == "\n":
            return ""
        if not protected or (escapable and protected not in escapable):
            return "\\" + protected
        return protected

    def _until(self, quote: str) -> str:
        end = self._text.find(quote, self._at + 1)
        if end < 0:
            raise Unclosed(self._line, f"a quote, {quote}, is never closed")
        content = self._text[self._at + 1 : end]
        self._go(end + 1)
        return content

    def _enclosed(self, end: str, closer: str, depth: int) -> list[Part]:
        """All parts up to the closing *end*; we are at the character before the first."""
        line, parts = self._line, list[Part]([""])
        self._go(self._at + 1)
        while self._at < len(self._text):
            if self._text[self._at] == end:
                self._go(self._at + 1)
                return parts
            parts += self._part(closer, depth + 1)
        what = "a brace, ${," if end == "}" else f"a quote, {end},"
        raise Unclosed(line, f"{what} is never closed")

    def _dollar(self, quoted: bool, depth: int) -> Part:
        if name := _NAME.match(self._text, self._at + 1):
            self._go(name.end())
            return Expansion(name.group())
        following = self._text[self._at + 1 : self._at + 2]
        if following == "{":
            return self._braces(quoted, depth)
        if following == "(":
            arithmetic = self._text.startswith("$((", self._at)
            self._skip(")", 2, "a bracket, $(,")
            return Unknown("arithmetic" if arithmetic else "the output of a command")
        if following and (_SPECIAL.match(following) or (following in "'\"" and not quoted)):
            self._go(self._at + (2 if _SPECIAL.match(following) else 1))
            return Unknown(f"${following}")
        self._go(self._at + 1)
        return "$"

    def _braces(self, quoted: bool, depth: int) -> Part:
        braces = _BRACES.match(self._text, self._at)
        if not braces:
            self._skip("}", 2, "a brace, ${,")
            return Unknown("this kind of ${...}")
        name, operator = braces.groups()
        self._go(braces.end() - 1)
        if operator == "}":
            self._go(self._at + 1)
            return Expansion(name)
        return Expansion(name, operator, tuple(self._enclosed("}", '}"' if quoted else "}", depth)))

    def _skip(self, closer: str, length: int, what: str) -> None:
        """Pass over something in brackets, by counting; its opening has *length* characters."""
        line, pending = self._line, [closer]
        self._go(self._at + length)
        while pending:
            if self._at >= len(self._text):
                raise Unclosed(line, f"{what} is never closed")
            character, top = self._text[self._at], pending[-1]
            if character == "'" and top in ")}":
                self._until("'")
                continue
            opened = self._text.startswith(("$(", "${"), self._at)
            self._go(self._at + (2 if opened or character == "\\" else 1))
            if character == top:
                pending.pop()
            elif opened and top != "`":
                pending.append(")" if self._text[self._at - 1] == "(" else "}")
            elif character in '"`' and top != "`":
                pending.append(character)
            elif character == "(" and top == ")":
                pending.append(")")

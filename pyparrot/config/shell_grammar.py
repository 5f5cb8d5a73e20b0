"""The commands of shell text, and which of them belong together.

Every construct with a beginning and an end is read as one, also those that `shell` can't run: so
what is inside a loop, say, is never taken for a command that always runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, NamedTuple, Union

from pyparrot.config.shell_tokens import Operator, Token, Unclosed, Word, tokens

_DEPTH = 32  # of commands in each other

_CLOSERS = frozenset(("then", "elif", "else", "fi", "do", "done", "esac", "}", ")", ";;"))
_REDIRECTIONS = frozenset(("<", ">", ">>", "<<", "<<-", "<<<", "<>", "<&", ">&", ">|"))


class Simple(NamedTuple):
    """Assignments, or a command and its arguments."""

    words: tuple[Word, ...]


class Opaque(NamedTuple):
    """Something that would take a shell; *why* says what it is."""

    line: int
    why: str


class Not(NamedTuple):
    """A command whose outcome is reversed by ``!``."""

    command: Command


class Chain(NamedTuple):
    """Commands joined by ``&&`` and ``||``: each comes with the operator before it."""

    links: tuple[tuple[str, Command], ...]


class If(NamedTuple):
    """Conditions, each with what is run if it is the first that holds; else *otherwise* is."""

    line: int
    branches: tuple[tuple[Commands, Commands], ...]
    otherwise: Commands


Command = Union[Simple, Opaque, Not, Chain, If]
Commands = tuple[Command, ...]


def commands(text: str) -> Iterator[Command]:
    """The commands of *text*, one by one; `Unclosed` where one has no end."""
    grammar = _Grammar(text)
    while True:
        token = grammar.next_command()
        if token == Operator(token.line, ""):
            return
        if _text(token) in _CLOSERS:
            grammar.skip_line()
            yield Opaque(token.line, f"{_text(token)} without its beginning")
        else:
            yield grammar.chain()


def _text(token: Token) -> str | None:
    """What a keyword or an operator is called; the end is the empty one, other words are None."""
    return token.text if isinstance(token, Operator) else token.bare or None


class _Grammar:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._ahead: Token | None = None
        self._depth = 0
        self._compounds: dict[str | None, Callable[[int], Command]] = {
            "if": self._if,
            "case": self._case,
            "for": self._for,
            "select": self._for,
            "while": self._while,
            "until": self._while,
            "function": self._function,
            "{": self._group,
            "(": self._subshell,
        }

    # Tokens

    def _peek(self) -> Token:
        if self._ahead is None:
            self._ahead = next(self._tokens)
        return self._ahead

    def _next(self) -> Token:
        token = self._peek()
        if token != Operator(token.line, ""):
            self._ahead = None
        return token

    def _at(self, *texts: str) -> bool:
        return _text(self._peek()) in texts

    def _skip(self, *texts: str) -> None:
        while self._at(*texts):
            self._next()

    def _expect(self, text: str, line: int) -> None:
        if not self._at(text):
            raise Unclosed(line, f"{text} is missing")
        self._next()

    def next_command(self) -> Token:
        """Go to the beginning of the next command."""
        self._skip("\n", ";")
        return self._peek()

    def skip_line(self) -> None:
        """Go to the end of the line."""
        while not self._at("\n", ""):
            self._next()

    # Commands

    def chain(self) -> Command:
        """The command that begins here, with all that is joined to it."""
        line = self._peek().line
        links = [("", self._pipeline())]
        while self._at("&&", "||"):
            operator = _text(self._next()) or ""
            self._skip("\n")
            links.append((operator, self._pipeline()))
        if self._at("&"):
            self._next()
            return Opaque(line, "a command in the background")
        return links[0][1] if len(links) == 1 else Chain(tuple(links))

    def _pipeline(self) -> Command:
        line, negated = self._peek().line, False
        while self._at("!"):
            self._next()
            negated = not negated
        command = self._command()
        while self._at("|"):
            self._next()
            self._skip("\n")
            self._command()
            command = Opaque(line, "a pipe")
        return Not(command) if negated else command

    def _command(self) -> Command:
        token, text = self._peek(), _text(self._peek())
        self._depth += 1
        if self._depth > _DEPTH:
            raise Unclosed(token.line, "nested too deeply")
        if text in self._compounds:
            self._next()
            command = self._compounds[text](token.line)
            if self._at(*_REDIRECTIONS):
                command = self._simple(token.line)
        elif (isinstance(token, Word) and text not in _CLOSERS) or text in _REDIRECTIONS:
            command = self._simple(token.line)
        else:
            raise Unclosed(token.line, "a command is missing")
        self._depth -= 1
        return command

    def _simple(self, line: int) -> Command:
        words: list[Word] = []
        why = ""
        while True:
            token = self._peek()
            if isinstance(token, Word):
                words.append(token)
                self._next()
            elif token.text in ("<<", "<<-"):
                raise Unclosed(line, "a here-document")
            elif token.text in _REDIRECTIONS:
                why = why or "a redirection"
                self._next()
            elif token.text == "(":
                self._next()
                brackets = self._brackets(line)
                why = why or brackets
            else:
                return Opaque(line, why) if why else Simple(tuple(words))

    def _brackets(self, line: int) -> str:
        """What a bracket behind a word means: the body of a function, or the items of an array."""
        if self._at(")"):
            self._next()
            self._skip("\n")
            self._command()
            return "a function"
        depth = 1
        while depth:
            if self._at(""):
                raise Unclosed(line, "a bracket, (, is never closed")
            depth += {"(": 1, ")": -1}.get(_text(self._next()) or "", 0)
        return "an array"

    # Compounds: we are behind their first word, which is in *line*.

    def _list(self, line: int, *ends: str) -> Commands:
        found = []
        while _text(self.next_command()) not in ends:
            if self._at("", *_CLOSERS):
                raise Unclosed(line, f"{ends[-1]} is missing")
            found.append(self.chain())
        return tuple(found)

    def _if(self, line: int) -> Command:
        branches = []
        while True:
            condition = self._list(line, "then")
            self._next()
            if not condition:
                raise Unclosed(line, "a condition is missing")
            branches.append((condition, self._list(line, "elif", "else", "fi")))
            if not self._at("elif"):
                break
            self._next()
        otherwise: Commands = ()
        if self._at("else"):
            self._next()
            otherwise = self._list(line, "fi")
        self._next()
        return If(line, tuple(branches), otherwise)

    def _case(self, line: int) -> Command:
        self._next()
        self._skip("\n")
        self._expect("in", line)
        self._skip("\n")
        while not self._at("esac"):
            self._pattern(line)
            self._list(line, ";;", "esac")
            self._skip(";;", "\n")
        self._next()
        return Opaque(line, "case")

    def _pattern(self, line: int) -> None:
        self._skip("(")
        while not self._at(")"):
            token = self._next()
            if isinstance(token, Operator) and token.text != "|":
                raise Unclosed(line, "esac is missing")
        self._next()

    def _for(self, line: int) -> Command:
        while not self._at("\n", ";", ""):
            self._next()
        self.next_command()
        self._expect("do", line)
        self._list(line, "done")
        self._next()
        return Opaque(line, "a loop")

    def _while(self, line: int) -> Command:
        self._list(line, "do")
        self._next()
        self._list(line, "done")
        self._next()
        return Opaque(line, "a loop")

    def _function(self, line: int) -> Command:
        self._next()
        self._skip("(", ")", "\n")
        self._command()
        return Opaque(line, "a function")

    def _group(self, line: int) -> Command:
        self._list(line, "}")
        self._next()
        return Opaque(line, "a group of commands")

    def _subshell(self, line: int) -> Command:
        self._list(line, ")")
        self._next()
        return Opaque(line, "a subshell")

"""Parameters with their values, and what kinds of values there are.

Source: CernVM-FS ``options.cc`` (``IsOn``, ``IsOff``) and the defaults of ``cvmfs_server``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pyparrot.errors import PyparrotError

_TRUE = ("yes", "on", "1", "true")
_FALSE = ("no", "off", "0", "false", "")


class Value(NamedTuple):
    """The text of a parameter, and where it comes from."""

    text: str
    origin: str


class Parameters:
    """Parameters by name, and their values by kind; what is not as its kind is an error."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = values

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a parameter."""
        value = self.values.get(name)
        return default if value is None else value.text

    def origin(self, name: str) -> str:
        """Where a value comes from: ``FILE:LINE``, built-in, environment, option; else nothing."""
        value = self.values.get(name)
        return "" if value is None else value.origin

    def items(self) -> Iterator[tuple[str, str]]:
        """All parameters and their values, sorted by name."""
        for name in sorted(self.values):
            yield name, self.values[name].text

    def boolean(self, name: str, default: bool) -> bool:
        """A value that must be yes or no; *default* if it is not set.

        An empty value is no: CernVM-FS takes for yes what says so, and nothing else.
        """
        text = self.get(name)
        if text is None:
            return default
        if not is_true(text) and text.lower() not in _FALSE:
            raise self._wrong(name, "neither yes nor no")
        return is_true(text)

    def number(
        self, name: str, default: int, *, minimum: int | None = None, maximum: int | None = None
    ) -> int:
        """A value that must be a whole number; *default* if it is not set or empty."""
        text = self.get(name)
        if not text:
            return default
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise self._wrong(name, "not a whole number")
        value = int(text)
        if minimum is not None and value < minimum:
            raise self._wrong(name, f"less than {minimum}")
        if maximum is not None and value > maximum:
            raise self._wrong(name, f"more than {maximum}")
        return value

    def list(self, name: str, separator: str) -> tuple[str, ...]:
        """The parts of a value that are not empty."""
        parts = (part.strip() for part in (self.get(name) or "").split(separator))
        return tuple(part for part in parts if part)

    def _wrong(self, name: str, why: str) -> PyparrotError:
        return PyparrotError(self.origin(name), f"{name}={self.get(name)}: {why}")


def is_true(text: str) -> bool:
    """Whether a value says yes, in upper or lower case."""
    return text.lower() in _TRUE

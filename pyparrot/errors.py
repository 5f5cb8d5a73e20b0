"""The one error that reaches a user: a single line that says what, why and what to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from re import Match

EXIT_FAILURE = 125
"""Exit code of pyparrot's own failures: no shell and few commands use it themselves."""


def redacted(text: str) -> str:
    """*text* as it may be shown and written down: URLs without user names, passwords and queries.

    All that users see goes through here, by `printable` or by itself.
    """
    if "://" not in text:
        return text
    import re

    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s'\"<>|;]*)", _shown_url, text)


def _shown_url(match: Match[str]) -> str:
    import re

    rest = match[2]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        rest = authority.rpartition("@")[2] + rest[len(authority) :]
    elif "@" in rest and not re.fullmatch(r"[^:]*(\[[^]]*\])?(:[0-9]*)?", authority):
        rest = rest.rpartition("@")[2]  # no port: a password that has one of /?# in it
    return match[1] + re.sub(r"([?#])[^,)]+", r"\1...", rest)


def redacted_list(text: str) -> str:
    """As `redacted`, for a list of servers or proxies as in parameters: ``://`` may be missing."""
    import re

    words = re.split("([;|])", text)
    return "".join(
        redacted(word) if "://" in word else re.sub(r"^(\s*)(?!/)\S*@(?=[\w.\[])", r"\1", word)
        for word in words
    )


def printable(text: str | bytes) -> str:
    """Text fit for one line of a terminal: control characters and odd bytes are escaped.

    What is secret in URLs is left out (`redacted`).

    Bytes that are not UTF-8 appear as ``\\xNN``, as they do in the output of ``ls -b``.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    else:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    text = redacted(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class PyparrotError(Exception):
    """A failure that the user can understand: ``what: why (what to do)``.

    *what* is the object that failed (a path, a repository, an option), *why* the reason, *hint*
    what the user can do about it. *status* is the exit code of the command.
    """

    def __init__(
        self,
        what: str | bytes,
        why: str,
        hint: str = "",
        *,
        status: int = EXIT_FAILURE,
    ) -> None:
        super().__init__(what, why, hint)
        self.what = what
        self.why = why
        self.hint = hint
        self.status = status

    def __str__(self) -> str:
        line = f"{printable(self.what)}: {printable(self.why)}"
        return f"{line} ({printable(self.hint)})" if self.hint else line


def understood(error: Exception) -> PyparrotError | None:
    """The same failure in pyparrot's form, if it is the machine's and not ours; else None."""
    if isinstance(error, PyparrotError):
        return error
    if isinstance(error, OSError):
        return from_os_error(error)
    if isinstance(error, (MemoryError, ImportError)):
        hint = "is memory limited, or the installation incomplete?"
        return PyparrotError("system", str(error) or "out of memory", hint)
    if type(error) is RuntimeError and str(error) == "can't start new thread":
        return PyparrotError("system", "no thread can be had", "is memory limited, or processes?")
    if type(error).__module__ == "sqlite3":
        # SQLite names neither file nor errno, but its messages do say a full disk.
        return PyparrotError("catalog", str(error), "is there space left on the device?")
    return None


def in_words(error: Exception) -> str:
    """What *error* says, in one line, without the number that Python puts before it."""
    if not isinstance(error, OSError):
        return str(error)
    reason = error.strerror or str(error)
    if error.filename:
        return f"{os.fsdecode(error.filename)}: {reason}"
    return reason if ": " in reason else f"system: {reason}"


class naming:
    """Gives an `OSError` that names no file, as those of writing do, the name *file*."""

    def __init__(self, file: str) -> None:
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = self._file


def from_os_error(error: OSError) -> PyparrotError:
    """An operating system error in pyparrot's form; a full disk gets its advice."""
    import errno

    hints = {
        errno.ENOSPC: "free some space, then run the command again",
        errno.EDQUOT: "your quota is used up: free some space, then run the command again",
        errno.EROFS: "choose a directory that can be written to",
    }
    what = os.fsencode(error.filename) if error.filename else "system"
    return PyparrotError(what, error.strerror or str(error), hints.get(error.errno or 0, ""))

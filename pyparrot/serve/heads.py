"""Reads the fields of a request's head, and refuses what two readers might take in two ways.

Source: RFC 9112, sections 2.2, 5 and 6.3. A server behind a proxy must not see another end of a
request than the proxy does; so there is no leniency: lines end with CR and LF, names are tokens
with a colon right behind, nothing is folded, and there is one length at most.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Protocol

MOST_BYTES = 32 * 1024
MOST_FIELDS = 100
"""Of a head without its first line."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_WORD = rb"[^\x00 \t-\r\x1c-\x1f\x85\xa0]+"
"""Anything but the blank and other characters that `str.split` splits at."""

_REQUEST_LINE = re.compile(rb"%b( %b)+\r\n" % (_WORD, _WORD))


class Refused(Exception):
    """A head that is not taken; *status* is what the client is told."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class _Lines(Protocol):
    def readline(self, limit: int, /) -> bytes:
        """The next line, with its end; without one if it is longer, or nothing follows."""


def check_request_line(line: bytes) -> None:
    """`Refused` if the first line of a request is not made of words."""
    if not _REQUEST_LINE.fullmatch(line):
        raise Refused(HTTPStatus.BAD_REQUEST)


def read_fields(stream: _Lines) -> bytes:
    """The fields of a head, with the empty line at its end.

    `Refused` if they are not to be taken, `EOFError` if the stream ends before they do.
    """
    lines: list[bytes] = []
    room = MOST_BYTES
    found: dict[bytes, list[bytes]] = {}
    while True:
        line = stream.readline(room + 1)
        room -= len(line)
        if room < 0 or len(lines) > MOST_FIELDS:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if not line.endswith(b"\n"):
            raise EOFError
        lines.append(line)
        if line == b"\r\n":
            break
        name, value = _field(line)
        found.setdefault(name, []).append(value)
    _check_framing(found)
    return b"".join(lines)


def _field(line: bytes) -> tuple[bytes, bytes]:
    """A field's name in small letters, and its value."""
    name, colon, value = line[:-2].partition(b":")
    if not line.endswith(b"\r\n") or not colon or not _TOKEN.fullmatch(name):
        raise Refused(HTTPStatus.BAD_REQUEST)
    if any(byte in value for byte in (b"\r", b"\n", b"\0")):
        raise Refused(HTTPStatus.BAD_REQUEST)
    return name.lower(), value.strip(b" \t")


def _check_framing(found: dict[bytes, list[bytes]]) -> None:
    """Refuse a head that does not say in one way alone where its body ends."""
    lengths, codings = found.get(b"content-length", []), found.get(b"transfer-encoding", [])
    if (
        len(lengths) + len(codings) > 1
        or not all(map(_LENGTH.fullmatch, lengths))
        or any(coding.lower() != b"chunked" for coding in codings)
        or len(found.get(b"host", [])) > 1
    ):
        raise Refused(HTTPStatus.BAD_REQUEST)

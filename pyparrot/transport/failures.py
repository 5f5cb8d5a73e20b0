"""What can go wrong with an attempt, and whose fault it is.

Source of the rules: CernVM-FS ``network/download.cc`` (``CallbackCurlHeader``,
``VerifyAndFinalize``).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from enum import Enum
from http import HTTPStatus

from pyparrot.errors import PyparrotError
from pyparrot.transport.proxies import DIRECT


class Corrupt(Exception):
    """What a sink raises if the content is not what it should be; *why* says it in few words."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class TransportError(PyparrotError):
    """A fetch that failed for good.

    *errno* is `errno.ENOENT` if every server said that there is no such file, else `errno.EIO`.
    """

    def __init__(self, what: str, why: str, hint: str = "", *, errno: int = errno.EIO) -> None:
        super().__init__(what, why, hint)
        self.errno = errno


class NoConnection(OSError):
    """What kept a connection from being made.

    It has no errno of its own, as urllib3 takes some for those of a request that is on its way.
    """

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)


class Blame(Enum):
    """What is to be replaced for the next attempt."""

    SERVER = "server"
    PROXY = "proxy"
    CONTENT = "content"
    """First a cache on the route, which is told to fetch anew; then the server."""


class Failure(Exception):
    """One failed attempt.

    *why* is for the user. *transient* failures deserve another try on the same route, after
    *pause* seconds at least. *status* is the answer's, None if there was none. *reached* is whether
    there was a connection.
    """

    def __init__(
        self,
        blame: Blame,
        why: str,
        *,
        transient: bool = False,
        status: int | None = None,
        pause: float = 0.0,
        reached: bool = True,
    ) -> None:
        super().__init__(why)
        self.blame = blame
        self.why = why
        self.transient = transient
        self.status = status
        self.pause = pause
        self.reached = reached


def of_answer(status: int, headers: Mapping[str, str], proxy: str) -> Failure:
    """The failure that an answer with a *status* outside 2xx through *proxy* means.

    *headers* finds names in any case.
    """
    why = f"HTTP {status}"
    if status in HTTPStatus.__members__.values():
        why += f" {HTTPStatus(status).phrase.lower()}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        after = headers.get("Retry-After", "").strip()
        pause = float(after) if after.isdecimal() and len(after) < 10 else 0.0
        return Failure(Blame.SERVER, why, transient=True, status=status, pause=pause)
    # Squid, or any proxy that speaks RFC 9209, says that the answer is its own.
    if "X-Squid-Error" in headers or "error=" in headers.get("Proxy-Status", ""):
        detail = headers.get("X-Squid-Error", "").split(" ")[0]
        return Failure(Blame.PROXY, f"{why} {detail}".rstrip(), status=status)
    servers_own = status in (400, 404) or 300 <= status < 400 or status >= 500
    blame = Blame.SERVER if servers_own or proxy == DIRECT else Blame.PROXY
    return Failure(blame, why, status=status)


def of_error(error: Exception, proxy: str) -> Failure:
    """The failure that an exception of requests or below it means, through *proxy*."""
    import ssl

    *outer, cause = causes(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Failure(Blame.SERVER, f"certificate refused: {cause.verify_message}")
    if isinstance(cause, ValueError):  # a URL or a redirect that nothing can be done with
        return Failure(Blame.SERVER, str(cause))
    blame = Blame.SERVER if proxy == DIRECT else Blame.PROXY
    reached = not any(isinstance(other, NoConnection) for other in outer)
    return Failure(blame, _in_words(cause), transient=True, reached=reached)


def causes(error: Exception) -> Iterator[Exception]:
    """*error*, the exception that it was made of, and so on to the innermost one.

    requests and urllib3 pass them on as arguments. ``__context__`` would lead further: to
    whatever the caller was handling when it asked for the object.
    """
    inner: Exception | None = error
    while inner is not None:
        yield inner
        parts = (getattr(inner, "reason", None), *inner.args)
        inner = next((part for part in parts if isinstance(part, Exception)), None)


def _in_words(cause: Exception) -> str:
    import http.client

    if isinstance(cause, http.client.IncompleteRead):
        return "the answer is cut short"
    if isinstance(cause, http.client.RemoteDisconnected):
        return "connection closed without an answer"
    if isinstance(cause, http.client.HTTPException):
        return "not an HTTP answer"
    words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return words[:1].lower() + words[1:]

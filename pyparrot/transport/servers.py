"""The chain of servers: which one is in use, and the way back to the first.

Source of the rules: CernVM-FS ``network/download.cc`` and its parameters ``CVMFS_SERVER_URL`` and
``CVMFS_HOST_RESET_AFTER``.
"""

from __future__ import annotations

import re
import threading
import time
import urllib.parse
from collections.abc import Collection, Sequence
from typing import Callable

from pyparrot.errors import PyparrotError

_HOST = re.compile(r"[A-Za-z0-9._~-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._~-]+)?")
_VISIBLE_ASCII = re.compile(r"[!-~]+")


def http_url(text: str) -> urllib.parse.SplitResult:
    """The parts of an ``http://`` or ``https://`` URL; `PyparrotError` if *text* is none."""
    try:
        # urlsplit() drops some control characters in silence: look at the text before it does.
        parts = urllib.parse.urlsplit(text if _VISIBLE_ASCII.fullmatch(text) else "")
        known = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.hostname or "")
        if known and parts.port != 0:
            return parts
    except ValueError:
        pass
    # A password may be what is wrong with it, with blanks or slashes in it.
    shown = re.sub(r"(?<=://).*@", "", text, flags=re.DOTALL)
    raise PyparrotError(shown[:200] or "URL", "not an http:// or https:// URL")


def parse_servers(text: str) -> tuple[str, ...]:
    """The URLs in a ``CVMFS_SERVER_URL``: separated by ``;``, blanks and empty entries ignored.

    `PyparrotError` if there is none, or one is not an HTTP URL. ``@fqrn@`` and ``@org@`` are to be
    replaced before.
    """
    return checked_servers([url for url in map(str.strip, text.split(";")) if url])


def checked_servers(urls: Sequence[str]) -> tuple[str, ...]:
    """*urls* without slashes at their ends and without repetitions; `PyparrotError` as above."""
    if not urls:
        raise PyparrotError("servers", "no server given", "set CVMFS_SERVER_URL")
    for url in urls:
        parts = http_url(url)
        if parts.query or parts.fragment:
            raise PyparrotError(url, "a server's URL can't have a query or a fragment")
    return tuple(dict.fromkeys(url.rstrip("/") for url in urls))


class ServerChain:
    """Servers in the order of their use; thread-safe.

    The *active* one serves all requests until it fails; then the next one in the chain, around
    its end, stays active until *reset_after* seconds (0: for ever) have passed since the first
    one was left. *clock* gives seconds.
    """

    def __init__(
        self,
        servers: Sequence[str],
        reset_after: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = checked_servers(servers)
        self._reset_after = reset_after
        self._clock = clock
        self._lock = threading.Lock()
        self._index = 0
        self._left_first: float | None = None

    @property
    def active(self) -> str:
        """The server that the next request will ask first."""
        with self._lock:
            self._reset_when_due()
            return self._servers[self._index]

    def choose(self, failed: Collection[str]) -> str | None:
        """The active server, or the next one for a request to which those in *failed* did; None
        if all did."""
        with self._lock:
            self._reset_when_due()
            in_turn = self._servers[self._index :] + self._servers[: self._index]
            return next((server for server in in_turn if server not in failed), None)

    def leave(self, server: str) -> None:
        """*server* has failed: make the next one active, if no other request has done so yet."""
        with self._lock:
            if server != self._servers[self._index]:
                return
            self._index = (self._index + 1) % len(self._servers)
            if self._index == 0:
                self._left_first = None
            elif self._left_first is None:
                self._left_first = self._clock()

    def _reset_when_due(self) -> None:
        since = self._left_first
        if since is not None and 0 < self._reset_after <= self._clock() - since:
            self._index, self._left_first = 0, None

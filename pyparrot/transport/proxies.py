"""Groups of proxies: which one is in use, which are burned, and the way back to the first group.

Source of the rules: CernVM-FS ``network/download.cc``, ``wpad.cc``, and its parameters
``CVMFS_HTTP_PROXY``, ``CVMFS_FALLBACK_PROXY`` and ``CVMFS_PROXY_RESET_AFTER``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Callable, NamedTuple

from pyparrot.errors import PyparrotError
from pyparrot.transport.servers import http_url

if TYPE_CHECKING:
    from random import Random

DIRECT = "DIRECT"
"""The entry that stands for a connection without a proxy."""

_AUTO = "auto"
_DEFAULT_PORTS = {"http": 1080, "https": 443}  # libcurl's, and so the official client's


class ProxyGroups(NamedTuple):
    """Groups in the order of their use; the proxies of a group share the load."""

    groups: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, text: str, fallback: str = "") -> ProxyGroups:
        """Read a ``CVMFS_HTTP_PROXY``: ``|`` inside a group, ``;`` between groups.

        Blanks and empty entries are ignored. The groups of *fallback* (``CVMFS_FALLBACK_PROXY``)
        follow; with them `DIRECT` is ignored everywhere. A proxy without a scheme is an ``http://``
        one, ``auto`` the one that the variable ``http_proxy`` names, which is ignored otherwise.
        `PyparrotError` if no proxy is left or one is not understood.
        """
        groups, last = _split(text), _without_direct(_split(fallback))
        if last:
            groups = _without_direct(groups) + last
        if not groups:
            raise PyparrotError(
                "proxies", "no proxy given", "set CVMFS_HTTP_PROXY, to DIRECT if there is none"
            )
        return cls(groups)

    @classmethod
    def direct(cls) -> ProxyGroups:
        """No proxy at all."""
        return cls(((DIRECT,),))

    def __str__(self) -> str:
        return ";".join("|".join(group) for group in self.groups)


def _split(text: str) -> tuple[tuple[str, ...], ...]:
    groups = (map(str.strip, group.split("|")) for group in text.split(";"))
    found = (tuple(_normal(entry) for entry in group if entry) for group in groups)
    return tuple(group for group in found if group)


def _without_direct(groups: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    found = (tuple(proxy for proxy in group if proxy != DIRECT) for group in groups)
    return tuple(group for group in found if group)


def _normal(entry: str) -> str:
    if entry.upper() == DIRECT:
        return DIRECT
    if entry == _AUTO:
        entry = os.environ.get("http_proxy", "").strip()
        if not entry or entry == _AUTO:
            hint = "name one there or in CVMFS_HTTP_PROXY; PAC files are not read"
            raise PyparrotError("proxy auto", "http_proxy names none", hint)
    parts = http_url(entry if "://" in entry else f"http://{entry}")
    port = "" if parts.port else f":{_DEFAULT_PORTS[parts.scheme]}"
    return f"{parts.scheme}://{parts.netloc.rstrip(':')}{port}"


class ProxyChain:
    """The proxy that is in use; thread-safe.

    All requests share the *active* one, a random proxy of the first group, until it fails. Then
    it is burned and another of its group drawn; when the whole group is, from the next group,
    around the end. *reset_after* seconds (0: never) after the first was burned all is forgotten.
    *clock* gives seconds, *random* draws.
    """

    def __init__(
        self,
        proxies: ProxyGroups,
        reset_after: float,
        *,
        random: Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._groups = proxies.groups
        self._reset_after = reset_after
        self._random = random
        self._clock = clock
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._group = 0
        self._burned: set[str] = set()
        self._first_burned: float | None = None
        self._active = self._random.choice(self._groups[0])

    @property
    def active(self) -> str:
        """The proxy that the next request will use first, or `DIRECT`."""
        with self._lock:
            self._reset_when_due()
            return self._active

    def choose(self, failed: Collection[str]) -> str | None:
        """The active proxy, or another for a request to which those in *failed* did; None if all
        did."""
        with self._lock:
            self._reset_when_due()
            if self._active not in failed:
                return self._active
            for group in self._groups[self._group :] + self._groups[: self._group]:
                untried = [proxy for proxy in group if proxy not in failed]
                if untried:
                    return self._random.choice(untried)
            return None

    def burn(self, proxy: str) -> None:
        """*proxy* has failed: draw another, if no other request has done so yet."""
        with self._lock:
            if proxy != self._active:
                return
            self._burned.add(proxy)
            left = [other for other in self._groups[self._group] if other not in self._burned]
            if not left:
                self._group = (self._group + 1) % len(self._groups)
                self._burned.clear()
                left = list(self._groups[self._group])
            self._active = self._random.choice(left)
            if self._group == 0 and not self._burned:
                self._first_burned = None
            elif self._first_burned is None:
                self._first_burned = self._clock()

    def reset(self) -> None:
        """Go back to the first group, unburned, if it isn't so already."""
        with self._lock:
            if self._first_burned is not None:
                self._start()

    def _reset_when_due(self) -> None:
        since = self._first_burned
        if since is not None and 0 < self._reset_after <= self._clock() - since:
            self._start()

"""How long and how often: the limits of a transport, back-off, and what is too slow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pyparrot import __version__

if TYPE_CHECKING:
    from random import Random


class Policy(NamedTuple):
    """The limits of a transport; the defaults are those of CernVM-FS's ``default.conf``.

    Times are in seconds. *timeout* bounds, with a proxy, the search for an address and the
    connection together, each silence, and the time for which a transfer may be slower than
    *low_speed_limit* bytes/s; *timeout_direct* is the same without a proxy. So no attempt takes
    longer than its size at that speed and a few time-outs. *retries* is how often the same server
    and proxy are asked again after a transfer has failed, with a pause of up to *backoff_init*
    first, doubling up to *backoff_max*. After *proxy_reset_after* and *host_reset_after* the
    first proxies and the first server are tried again (0: never). At most *max_connections*
    attempts are under way at a time; others wait up to *queue_timeout* for their turn.
    """

    timeout: float = 5.0
    timeout_direct: float = 10.0
    low_speed_limit: float = 1024.0
    retries: int = 1
    backoff_init: float = 2.0
    backoff_max: float = 10.0
    proxy_reset_after: float = 300.0
    host_reset_after: float = 1800.0
    follow_redirects: bool = False
    user_agent: str = f"pyparrot/{__version__}"
    max_connections: int = 16
    queue_timeout: float = 300.0


def pauses(policy: Policy, random: Random) -> Iterator[float]:
    """The pauses before the retries of one request, in seconds: as many as there may be.

    The first one is random, so that clients which lost the same server don't return together.
    """
    pause = random.uniform(0, policy.backoff_init)
    for _ in range(policy.retries):
        yield min(pause, policy.backoff_max)
        pause *= 2


class Speedometer:
    """Tells when a transfer has been slower than *limit* bytes/s for *seconds* of waiting."""

    def __init__(self, limit: float, seconds: float) -> None:
        self._limit = limit
        self._window = seconds
        self._bytes = 0
        self._waited = 0.0

    def too_slow(self, count: int, waited: float) -> bool:
        """Take note of *count* bytes after *waited* seconds; whether the transfer is to end."""
        self._bytes += count
        self._waited += waited
        if self._waited < self._window:
            return False
        slow = self._bytes < self._limit * self._waited
        self._bytes, self._waited = 0, 0.0
        return slow

"""What one request tries, and in which order.

Source of the rules: CernVM-FS ``network/download.cc`` (``VerifyAndFinalize``). Transfers that
broke are tried again on the same route, after a pause. Then, and for an HTTP error at once, the
server or proxy to blame is replaced: a request asks each server at most once. When no proxy is
left, it may be the server's fault after all: the next server is tried, with all proxies again.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.errors import redacted
from pyparrot.transport.failures import Blame, Failure, TransportError
from pyparrot.transport.policy import Policy, pauses
from pyparrot.transport.proxies import DIRECT, ProxyChain
from pyparrot.transport.servers import ServerChain

if TYPE_CHECKING:
    from random import Random


class Route(NamedTuple):
    """Which server is asked, and through which proxy (or `DIRECT`)."""

    server: str
    proxy: str


class Failover:
    """The attempts of one request for *path*: the route of the next one, and what follows it.

    *fresh* says that caches on the route are to be circumvented.
    """

    def __init__(
        self,
        path: str,
        servers: ServerChain,
        proxies: ProxyChain,
        policy: Policy,
        random: Random,
    ) -> None:
        self._path = path
        self._servers = servers
        self._proxies = proxies
        self._policy = policy
        self._random = random
        self._failed_servers: dict[str, Failure] = {}
        self._failed_proxies: set[str] = set()
        self._used_proxies: set[str] = set()
        self._reached_any = False
        self._take(Route(servers.active, proxies.active))

    def _take(self, route: Route) -> None:
        self.route = route
        self.fresh = False
        self._pauses = pauses(self._policy, self._random)
        self._used_proxies |= {route.proxy} - {DIRECT}

    def after(self, failure: Failure) -> float:
        """Choose what follows *failure*: seconds to wait before the next attempt.

        `TransportError` if nothing is left to try.
        """
        self._reached_any |= failure.reached
        if failure.blame is Blame.CONTENT and not self.fresh:
            self.fresh = True
            return 0.0
        if failure.transient and not self.fresh:
            pause = next(self._pauses, None)
            if pause is not None:
                return max(pause, min(failure.pause, self._policy.backoff_max))
        if failure.blame is Blame.PROXY:
            self._replace_proxy(failure)
        else:
            self._replace_server(failure)
        return 0.0

    def _replace_proxy(self, failure: Failure) -> None:
        self._failed_proxies.add(self.route.proxy)
        self._proxies.burn(self.route.proxy)
        other = self._proxies.choose(self._failed_proxies)
        if other is not None:
            self._take(Route(self.route.server, other))
            return
        self._failed_proxies.clear()
        self._proxies.reset()
        self._replace_server(failure)

    def _replace_server(self, failure: Failure) -> None:
        self._failed_servers[self.route.server] = failure
        other = self._servers.choose(self._failed_servers)
        proxy = self._proxies.choose(self._failed_proxies)
        if other is None or proxy is None:
            raise self._given_up(failure)
        self._servers.leave(self.route.server)
        self._take(Route(other, proxy))

    def _given_up(self, failure: Failure) -> TransportError:
        tried = [_count(len(self._failed_servers), "server", "servers")]
        if self._used_proxies:
            tried.append(_count(len(self._used_proxies), "proxy", "proxies"))
        hint = ", ".join(tried) + " tried"
        if not self._reached_any:
            hint += "; is the network up?"
        why = failure.why
        if failure.blame is Blame.PROXY:
            why = f"proxy {redacted(self.route.proxy)}: {why}"
        missing = all(last.status == 404 for last in self._failed_servers.values())
        url = redacted(f"{self.route.server}/{self._path}")
        code = errno.ENOENT if missing else errno.EIO
        return TransportError(url, f"not available: {why}", hint, errno=code)


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"

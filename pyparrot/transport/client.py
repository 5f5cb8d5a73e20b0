"""Fetching over HTTP: requests, with the failover, the limits and the sockets of this package."""

from __future__ import annotations

import contextlib
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pyparrot.errors import redacted
from pyparrot.transport import failures
from pyparrot.transport.failover import Failover, Route
from pyparrot.transport.failures import Blame, Corrupt, Failure, TransportError
from pyparrot.transport.policy import Policy
from pyparrot.transport.proxies import DIRECT, ProxyChain, ProxyGroups
from pyparrot.transport.servers import ServerChain

if TYPE_CHECKING:
    from requests import Response, Session

    from pyparrot.transport.connections import Connections

_BLOCK = 128 * 1024
_REDIRECTS = 4  # as many as the official client follows
_UNESCAPED = "/:@+~[],"  # and letters, digits, "_.-", which quote() never touches
_FRESH = {"Cache-Control": "no-cache", "Pragma": "no-cache"}


class Sink(Protocol):
    """Where a body goes. What it raises, but for `Corrupt`, ends the fetch and reaches the caller.

    It is called from the thread that fetches.
    """

    def reset(self) -> None:
        """Forget all: an attempt begins, maybe not the first one."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes; `Corrupt` if they can't belong to what is wanted."""

    def finish(self) -> object:
        """Nothing follows; `Corrupt` if that was not what is wanted."""


class Statistics(NamedTuple):
    """What a transport has done so far."""

    requests: int = 0
    """Attempts, retries included."""
    bytes: int = 0
    """Bytes of bodies that arrived."""
    failures: int = 0
    """Attempts that failed."""
    waited: float = 0.0
    """Seconds of pauses before retries and of waiting for a free connection, of all threads."""


class _Request(NamedTuple):
    path: str
    headers: Mapping[str, str]
    part: range | None
    limit: int

    def headers_for(self, fresh: bool) -> dict[str, str]:
        headers = {**self.headers, **(_FRESH if fresh else {})}
        if self.part is not None:
            headers["Range"] = f"bytes={self.part.start}-{self.part.stop - 1}"
        return headers


class Transport:
    """Fetches from *servers* through *proxies* within the limits of *policy*.

    Any number of threads may use it at the same time. Proxies in the environment, ``.netrc`` and
    cookies are ignored. `PyparrotError` if a server's URL is none.
    """

    def __init__(
        self,
        servers: Sequence[str],
        proxies: ProxyGroups,
        policy: Policy = Policy(),  # noqa: B008 (a NamedTuple is immutable)
    ) -> None:
        from random import Random

        self._policy = policy
        self._random = Random()
        self._servers = ServerChain(servers, policy.host_reset_after)
        self._proxies = ProxyChain(proxies, policy.proxy_reset_after, random=self._random)
        self._changed = threading.Condition()  # guards all that follows
        self._free = policy.max_connections
        self._statistics = Statistics()
        self._session: Session | None = None
        self._connections: Connections | None = None
        self._closed = threading.Event()

    @property
    def active_server(self) -> str:
        """The URL of the server that the next request will ask first."""
        return self._servers.active

    @property
    def active_proxy(self) -> str:
        """The URL of the proxy that the next request will use first, or `DIRECT`."""
        return self._proxies.active

    @property
    def statistics(self) -> Statistics:
        """What was done so far; a snapshot."""
        with self._changed:
            return self._statistics

    def fetch(
        self,
        path: str | bytes,
        sink: Sink,
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        part: range | None = None,
    ) -> None:
        """Send the content of *path*, below the active server's URL, to *sink*.

        *path* is unescaped. More than *limit* bytes count as corrupt. *headers* are sent as they
        are. *part* is the range of bytes to ask for, if not all are wanted. Each attempt begins
        with ``sink.reset()``; corrupt content is asked for once more past all caches, then from
        the next server. `TransportError` if nothing helps, or the transport was closed meanwhile.
        """
        escaped = urllib.parse.quote(path, safe=_UNESCAPED).lstrip("/")
        request = _Request(escaped, headers or {}, part, limit)
        failover = Failover(escaped, self._servers, self._proxies, self._policy, self._random)
        while True:
            try:
                self._attempt(failover.route, failover.fresh, request, sink)
                return
            except Failure as failure:
                self._count(failures=1)
                self._refuse_if_closed(failover.route.server)
                pause = failover.after(failure)
            self._count(waited=pause)
            self._closed.wait(pause)

    def close(self) -> None:
        """End all connections; what is under way or waits fails soon. Never waits itself."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
            session, connections = self._session, self._connections
        if connections is not None:
            connections.close()
        if session is not None:
            session.close()

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _attempt(self, route: Route, fresh: bool, request: _Request, sink: Sink) -> None:
        try:
            sink.reset()
            with self._slot(route), contextlib.closing(self._ask(route, fresh, request)) as answer:
                for data in self._body(answer, request.limit, route.proxy):
                    sink.write(data)
            sink.finish()
        except Corrupt as corrupt:
            raise Failure(Blame.CONTENT, corrupt.why) from None

    @contextlib.contextmanager
    def _slot(self, route: Route) -> Iterator[None]:
        begin = time.monotonic()
        with self._changed:
            free = self._changed.wait_for(
                lambda: self._free > 0 or self._closed.is_set(), self._policy.queue_timeout
            )
            if not free:
                raise TransportError(redacted(route.server), "too many requests under way")
            self._refuse_if_closed(route.server)
            self._free -= 1
        self._count(requests=1, waited=time.monotonic() - begin)
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify()

    def _ask(self, route: Route, fresh: bool, request: _Request) -> Response:
        """Send a request and give the answer to it, whose body is still to come."""
        url = f"{route.server}/{request.path}"
        for _ in range(_REDIRECTS + 1):
            try:
                self._expect(request.limit)
                answer = self._get(url, route.proxy, request.headers_for(fresh))
                target = self._opened().get_redirect_target(answer)
            except _errors() as error:
                raise failures.of_error(error, route.proxy) from None
            if target is None or not self._policy.follow_redirects:
                return self._checked(answer, route.proxy, request)
            answer.close()
            url = urllib.parse.urljoin(url, target)
        raise Failure(Blame.SERVER, "too many redirects", status=answer.status_code)

    def _get(self, url: str, proxy: str, headers: Mapping[str, str]) -> Response:
        from requests import PreparedRequest

        from pyparrot.transport.connections import Stale

        session = self._opened()
        seconds = self._policy.timeout_direct if proxy == DIRECT else self._policy.timeout
        proxies = {} if proxy == DIRECT else {"http": proxy, "https": proxy}
        while True:
            try:
                # Session.get() does the same, but takes long to merge settings that we don't have.
                request = PreparedRequest()
                request.prepare("GET", url, {**session.headers, **headers})
                return session.send(
                    request,
                    proxies=proxies,
                    timeout=(seconds, seconds),
                    stream=True,
                    allow_redirects=False,
                )
            except _errors() as error:
                # Each stale connection is found once; when none is left, new ones are made.
                if not any(isinstance(cause, Stale) for cause in failures.causes(error)):
                    raise

    def _checked(self, answer: Response, proxy: str, request: _Request) -> Response:
        """*answer*, if its head promises what was asked for."""
        try:
            status = answer.status_code
            if not 200 <= status < 300:
                raise failures.of_answer(status, answer.headers, proxy)
            if (status == HTTPStatus.PARTIAL_CONTENT) != (request.part is not None):
                raise Failure(Blame.SERVER, f"HTTP {status} for the wrong part", status=status)
            coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
            if coding not in ("", "identity"):
                raise Corrupt(f"encoded as {coding!r}, which was not asked for")
            length = answer.headers.get("Content-Length", "").strip()
            if length.isdecimal() and len(length) < 20 and int(length) > request.limit:
                raise Corrupt(f"{length} bytes, where {request.limit} are allowed")
        except BaseException:
            answer.close()
            raise
        return answer

    def _body(self, answer: Response, limit: int, proxy: str) -> Iterator[bytes]:
        """The bytes of the body, as they come."""
        received = 0
        while True:
            try:
                # read() would wait until a whole block is there.
                data = answer.raw.read1(_BLOCK, decode_content=False)
            except _errors() as error:
                raise failures.of_error(error, proxy) from None
            if not data:
                return
            received += len(data)
            self._count(bytes=len(data))
            if received > limit:
                raise Corrupt(f"more than the {limit} bytes that are allowed")
            yield data

    def _opened(self) -> Session:
        """The session; requests is imported when it is first needed."""
        with self._changed:
            if self._session is None:
                self._refuse_if_closed("transport")
                self._session, self._connections = _open_session(self._policy)
            return self._session

    def _expect(self, size: int) -> None:
        """Bound the next answer for this thread, whatever it consists of."""
        self._opened()
        assert self._connections is not None
        self._connections.expect(size)

    def _refuse_if_closed(self, server: str) -> None:
        if self._closed.is_set():
            raise TransportError(redacted(server), "the transport was closed")

    def _count(
        self, *, requests: int = 0, bytes: int = 0, failures: int = 0, waited: float = 0.0
    ) -> None:
        with self._changed:
            before = self._statistics
            self._statistics = Statistics(
                before.requests + requests,
                before.bytes + bytes,
                before.failures + failures,
                before.waited + waited,
            )


def _open_session(policy: Policy) -> tuple[Session, Connections]:
    from http.cookiejar import DefaultCookiePolicy

    from requests import Session

    from pyparrot.transport.connections import Adapter, Connections

    connections = Connections(policy.low_speed_limit)
    session = Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.clear()
    # No encoding: objects are what they are, and their hash is over the bytes that were sent.
    session.headers.update(
        {
            "User-Agent": policy.user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
        }
    )
    adapter = Adapter(connections, policy.max_connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session, connections


def _errors() -> tuple[type[Exception], ...]:
    """What requests and those below it raise."""
    import http.client

    from requests import RequestException
    from urllib3.exceptions import HTTPError

    return (RequestException, HTTPError, http.client.HTTPException, OSError, ValueError)

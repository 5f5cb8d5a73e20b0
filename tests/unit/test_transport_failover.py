"""Whose fault a failure is, and what a request tries next: section by section, no network."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from random import Random

import pytest
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import InvalidURL
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import MaxRetryError, ProtocolError

from pyparrot.transport import failures
from pyparrot.transport.failover import Failover, Route
from pyparrot.transport.failures import Blame, Failure, NoConnection, TransportError
from pyparrot.transport.policy import Policy
from pyparrot.transport.proxies import DIRECT, ProxyChain, ProxyGroups
from pyparrot.transport.servers import ServerChain

A, B = "http://a", "http://b"
P, Q = "http://p:3128", "http://q:3128"

BROKEN = Failure(Blame.SERVER, "broken", transient=True)
UNREACHABLE = Failure(Blame.SERVER, "refused", transient=True, reached=False)
MISSING = Failure(Blame.SERVER, "HTTP 404 not found", status=404)
UNAVAILABLE = Failure(Blame.SERVER, "HTTP 503", status=503)
CORRUPT = Failure(Blame.CONTENT, "wrong hash")
PROXY_DEAD = Failure(Blame.PROXY, "refused", transient=True, reached=False)
PROXY_SAYS_NO = Failure(Blame.PROXY, "HTTP 503", status=503)


class World:
    def __init__(self, servers: str = A, proxies: str = DIRECT, retries: int = 1) -> None:
        self.policy = Policy(retries=retries)
        self.servers = ServerChain(servers.split(";"), 0)
        self.proxies = ProxyChain(ProxyGroups.parse(proxies), 0, random=Random(3))

    def request(self) -> Failover:
        return Failover("x/y", self.servers, self.proxies, self.policy, Random(3))

    def course(self, *reasons: Failure) -> tuple[list[Route], TransportError | None]:
        """The routes that a request takes if one after the other happens; why it gives up."""
        request = self.request()
        routes = [request.route]
        for reason in reasons:
            try:
                request.after(reason)
            except TransportError as error:
                return routes, error
            routes.append(request.route)
        return routes, None


@pytest.mark.parametrize(
    ("status", "headers", "proxy", "blame", "transient"),
    [
        (500, {}, DIRECT, Blame.SERVER, False),
        (502, {}, P, Blame.SERVER, False),
        (503, {}, P, Blame.SERVER, False),
        (400, {}, P, Blame.SERVER, False),
        (404, {}, P, Blame.SERVER, False),
        (302, {}, P, Blame.SERVER, False),
        (429, {}, DIRECT, Blame.SERVER, True),
        (429, {}, P, Blame.SERVER, True),
        (403, {}, DIRECT, Blame.SERVER, False),
        (403, {}, P, Blame.PROXY, False),
        (407, {}, P, Blame.PROXY, False),
        (503, {"x-squid-error": "ERR_DNS_FAIL 0"}, P, Blame.PROXY, False),
        (404, {"X-Squid-Error": "ERR_X 0"}, P, Blame.PROXY, False),
        (502, {"Proxy-Status": "cache; error=dns_timeout"}, P, Blame.PROXY, False),
        (502, {"Proxy-Status": "cache; received-status=502"}, P, Blame.SERVER, False),
        (799, {}, DIRECT, Blame.SERVER, False),
    ],
)
def test_blame_for_an_answer(
    status: int, headers: dict[str, str], proxy: str, blame: Blame, transient: bool
) -> None:
    found = failures.of_answer(status, CaseInsensitiveDict(headers), proxy)
    assert (found.blame, found.transient, found.status) == (blame, transient, status)
    assert str(status) in found.why


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
EXPIRED = ssl.SSLCertVerificationError()
EXPIRED.verify_message = "certificate has expired"


@pytest.mark.parametrize(
    ("error", "why", "reached", "transient"),
    [
        (NoConnection(REFUSED), "connection refused", False, True),
        (NoConnection(socket.gaierror(-2, "Unknown")), "unknown", False, True),
        (ProtocolError("Aborted", NoConnection(REFUSED)), "connection refused", False, True),
        (ConnectionResetError(errno.ECONNRESET, "Reset"), "reset", True, True),
        (http.client.IncompleteRead(b"x", 2), "the answer is cut short", True, True),
        (http.client.RemoteDisconnected(""), "connection closed without an answer", True, True),
        (http.client.BadStatusLine("x"), "not an HTTP answer", True, True),
        (EXPIRED, "certificate refused: certificate has expired", True, False),
        (InvalidURL("bad URL"), "bad URL", True, False),
    ],
)
def test_blame_for_an_error(error: Exception, why: str, reached: bool, transient: bool) -> None:
    pool: object = None
    around = RequestsConnectionError(MaxRetryError(pool, "/x", error))  # type: ignore[arg-type]
    for shape in (error, around, RequestsConnectionError(ProtocolError("x", error))):
        found = failures.of_error(shape, DIRECT)
        assert (found.why, found.reached, found.transient) == (why, reached, transient)
        assert found.blame is Blame.SERVER
        theirs = failures.of_error(shape, P)
        assert theirs.blame is (Blame.PROXY if transient else Blame.SERVER)


def test_the_cause_is_not_what_the_caller_was_handling() -> None:
    try:
        raise FileNotFoundError(errno.ENOENT, "not in the cache")
    except FileNotFoundError:
        try:
            raise RequestsConnectionError(REFUSED)
        except RequestsConnectionError as error:
            assert failures.of_error(error, DIRECT).why == "connection refused"  # noqa: PT017


@pytest.mark.parametrize(("text", "pause"), [("3", 3), ("", 0), ("-1", 0), ("Wed, 1 Jan", 0)])
def test_retry_after(text: str, pause: float) -> None:
    headers = CaseInsensitiveDict({"Retry-After": text})
    assert failures.of_answer(429, headers, DIRECT).pause == pause


def test_retry_after_is_obeyed_within_reason() -> None:
    for asked, waited in ((7.0, 7.0), (1e6, 10.0)):
        request = World().request()
        failure = Failure(Blame.SERVER, "429", transient=True, status=429, pause=asked)
        assert request.after(failure) == waited


def test_transfers_that_broke_are_retried_on_the_same_way_first() -> None:
    routes, error = World(f"{A};{B}", retries=2).course(*[BROKEN] * 6)
    assert [way.server for way in routes] == [A] * 3 + [B] * 3
    assert error is not None


def test_pauses_come_only_before_retries() -> None:
    request = World(f"{A};{B}").request()
    assert 0 < request.after(BROKEN) <= 2
    assert request.after(BROKEN) == 0
    assert request.after(UNAVAILABLE if request.route.server == A else CORRUPT) == 0


def test_http_errors_switch_the_server_at_once_and_for_all() -> None:
    world = World(f"{A};{B}")
    routes, error = world.course(UNAVAILABLE)
    assert routes == [Route(A, DIRECT), Route(B, DIRECT)]
    assert error is None
    assert world.servers.active == B
    assert world.request().route.server == B


def test_corrupt_content_is_asked_for_anew_before_the_server_is_left() -> None:
    request = World(f"{A};{B}").request()
    seen = [(request.route.server, request.fresh)]
    for _ in range(3):
        assert request.after(CORRUPT) == 0
        seen.append((request.route.server, request.fresh))
    assert seen == [(A, False), (A, True), (B, False), (B, True)]
    with pytest.raises(TransportError, match="wrong hash"):
        request.after(CORRUPT)


def test_no_retries_while_asking_anew() -> None:
    routes, error = World(f"{A};{B}").course(CORRUPT, BROKEN)
    assert [way.server for way in routes] == [A, A, B]
    assert error is None


def test_a_proxy_is_replaced_and_not_the_server() -> None:
    world = World(f"{A};{B}", f"{P};{Q}")
    routes, error = world.course(PROXY_DEAD, PROXY_DEAD)
    assert routes == [Route(A, P), Route(A, P), Route(A, Q)]
    assert error is None
    assert (world.servers.active, world.proxies.active) == (A, Q)


def test_when_no_proxy_is_left_the_next_server_gets_all_of_them() -> None:
    world = World(f"{A};{B}", f"{P};{Q}")
    routes, error = world.course(*[PROXY_SAYS_NO] * 4)
    assert routes == [Route(A, P), Route(A, Q), Route(B, P), Route(B, Q)]
    assert str(error) == (
        f"http://b/x/y: not available: proxy {Q}: HTTP 503 (2 servers, 2 proxies tried)"
    )


def test_a_direct_connection_can_stand_in_for_a_proxy() -> None:
    world = World(f"{A};{B}", f"{P};DIRECT")
    routes, _ = world.course(PROXY_SAYS_NO, UNAVAILABLE)
    assert routes == [Route(A, P), Route(A, DIRECT), Route(B, DIRECT)]


def test_the_server_fails_through_a_proxy() -> None:
    routes, error = World(f"{A};{B}", f"{P};{Q}").course(MISSING, MISSING)
    assert routes == [Route(A, P), Route(B, P)]
    assert error is not None
    assert error.errno == errno.ENOENT


@pytest.mark.parametrize(
    ("reasons", "code"),
    [
        ([MISSING, MISSING], errno.ENOENT),
        ([BROKEN, MISSING, MISSING], errno.ENOENT),
        ([MISSING, UNAVAILABLE], errno.EIO),
        ([UNAVAILABLE, MISSING], errno.EIO),
        ([MISSING, CORRUPT, CORRUPT], errno.EIO),
    ],
)
def test_no_such_file_only_if_all_servers_say_so(reasons: list[Failure], code: int) -> None:
    _, error = World(f"{A};{B}").course(*reasons)
    assert error is not None
    assert error.errno == code


def test_the_line_for_the_user() -> None:
    _, error = World(f"{A};{B}").course(*[UNREACHABLE] * 4)
    assert str(error) == (
        "http://b/x/y: not available: refused (2 servers tried; is the network up?)"
    )
    _, error = World().course(UNAVAILABLE)
    assert str(error) == "http://a/x/y: not available: HTTP 503 (1 server tried)"


def test_no_password_in_the_line() -> None:
    _, error = World("http://me:secret@a", "http://me:secret@p:1").course(PROXY_SAYS_NO)
    assert "secret" not in str(error)
    assert "http://p:1" in str(error)
    assert "http://a/x/y" in str(error)


def test_two_requests_failing_at_the_same_time_switch_once() -> None:
    world = World("http://a;http://b;http://c")
    one, two = world.request(), world.request()
    one.after(UNAVAILABLE)
    two.after(UNAVAILABLE)
    assert one.route == two.route == Route(B, DIRECT)
    assert world.servers.active == B


def test_any_course_ends() -> None:
    kinds = [BROKEN, MISSING, CORRUPT, PROXY_DEAD, PROXY_SAYS_NO]
    for seed in range(200):
        world, random = World(f"{A};{B};http://c", f"{P}|{Q};DIRECT"), Random(seed)
        routes, error = world.course(*[random.choice(kinds) for _ in range(100)])
        assert error is not None
        assert len(routes) <= 3 * 3 * 4

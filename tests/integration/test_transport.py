"""Transport over real sockets, to servers and proxies that misbehave."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import faulty_server as faulty
from support.faulty_server import FaultyServer

from pyparrot import __version__
from pyparrot.transport import (
    DIRECT,
    Corrupt,
    Policy,
    ProxyGroups,
    Transport,
    TransportError,
)

SQUID = "/usr/sbin/squid"

GOOD = b"good content " * 100
BAD = b"bad content  " * 100
LIMIT = 20.0
QUICK = Policy(
    timeout=0.4, timeout_direct=0.4, backoff_init=0.02, backoff_max=0.05, queue_timeout=LIMIT
)


class Wanted:
    """A sink that wants *content*; it gets it or raises `Corrupt`."""

    def __init__(self, content: bytes = GOOD) -> None:
        self._digest = hashlib.sha1(content).digest()
        self.begun = 0
        self.received = b""
        self.finished = False

    def reset(self) -> None:
        self.begun += 1
        self.received = b""

    def write(self, data: bytes, /) -> None:
        self.received += data

    def finish(self) -> None:
        if hashlib.sha1(self.received).digest() != self._digest:
            raise Corrupt("wrong hash")
        self.finished = True


@contextlib.contextmanager
def going_to(
    *servers: FaultyServer | str, proxies: str = DIRECT, policy: Policy = QUICK
) -> Iterator[Transport]:
    urls = [server if isinstance(server, str) else server.url for server in servers]
    with Transport(urls, ProxyGroups.parse(proxies), policy) as transport:
        yield transport


def fetch(transport: Transport, path: str = "x", content: bytes = GOOD) -> Wanted:
    sink = Wanted(content)
    transport.fetch(path, sink, limit=1_000_000)
    assert sink.finished
    return sink


def refusal(transport: Transport, path: str = "x") -> TransportError:
    sink = Wanted()
    with pytest.raises(TransportError) as caught:
        transport.fetch(path, sink, limit=1_000_000)
    assert not sink.finished
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + LIMIT
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


@pytest.fixture
def other() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


# What is sent and taken


def test_what_a_request_says(server: FaultyServer) -> None:
    server.on("/a%20b%25/%C3%A9@:,~", faulty.body(GOOD))
    with going_to(server) as transport:
        transport.fetch("a b%/é@:,~".encode(), Wanted(), limit=5000, headers={"cvmfs-info": "/a b"})
    headers = server.requests[0].headers
    assert dict(headers) == {
        "Host": server.url.partition("//")[2],
        "User-Agent": f"pyparrot/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
        "cvmfs-info": "/a b",
    }


@pytest.mark.parametrize(
    "behaviour",
    [
        faulty.body(GOOD),
        faulty.chunked(GOOD[:500], GOOD[500:]),
        faulty.last_on_connection(faulty.body(GOOD, Content_Length="")),
        faulty.slow_body(GOOD, 400, 0.05),
        faulty.after(0.2, faulty.body(GOOD)),
        faulty.body(GOOD, Content_Encoding="identity"),
    ],
    ids=["plain", "chunked", "until the end", "slow", "late", "identity"],
)
def test_ways_to_send_a_body(server: FaultyServer, behaviour: faulty.Behaviour) -> None:
    server.on("/x", behaviour)
    with going_to(server) as transport:
        assert fetch(transport).begun == 1
        assert transport.statistics.bytes == len(GOOD)
        assert transport.statistics.requests == 1
        assert transport.statistics.failures == 0


def test_empty_body(server: FaultyServer) -> None:
    server.on("/x", faulty.body(b""))
    with going_to(server) as transport:
        fetch(transport, content=b"")
        fetch(transport, content=b"")
    assert len({request.connection for request in server.requests}) == 1


def test_part(server: FaultyServer) -> None:
    server.on("/x", faulty.part(GOOD))
    with going_to(server) as transport:
        sink = Wanted(GOOD[5:9])
        transport.fetch("x", sink, limit=4, part=range(5, 9))
        assert sink.finished
        server.on("/x", faulty.body(GOOD))  # ignores the range
        with pytest.raises(TransportError, match="wrong part"):
            transport.fetch("x", sink, limit=4, part=range(5, 9))
    assert server.requests[0].headers["Range"] == "bytes=5-8"


def test_connections_are_kept(server: FaultyServer) -> None:
    server.on("/x", faulty.body(GOOD))
    server.on("/c", faulty.chunked(GOOD))
    with going_to(server) as transport:
        for path in ("x", "c") * 10:
            fetch(transport, path)
    assert len({request.connection for request in server.requests}) == 1


def test_connections_that_the_server_has_closed_are_no_failure(server: FaultyServer) -> None:
    server.on("/x", faulty.body(GOOD), faulty.hang_up, faulty.body(GOOD), faulty.reset)
    server.on("/y", faulty.body(GOOD))
    with going_to(server) as transport:
        fetch(transport)
        fetch(transport)  # hang_up on the kept connection: a new one
        assert transport.statistics.failures == 0
        fetch(transport, "y")
        assert "reset" in str(refusal(transport))
        assert transport.statistics.failures == 2  # the kept one is forgiven, the new ones are not


def test_no_more_connections_than_allowed(server: FaultyServer) -> None:
    server.on("/x", faulty.after(0.05, faulty.body(GOOD)))
    with going_to(server, policy=QUICK._replace(max_connections=3)) as transport:
        with ThreadPoolExecutor(12) as pool:
            assert all(pool.map(lambda _: fetch(transport).finished, range(12)))
        assert transport.statistics.waited > 0.1
    assert server.most_busy == 3
    assert len({request.connection for request in server.requests}) == 3


def test_waiting_for_a_connection_is_bounded(server: FaultyServer) -> None:
    server.on("/x", faulty.silent)
    policy = QUICK._replace(max_connections=1, queue_timeout=0.1, timeout_direct=LIMIT)
    with going_to(server, policy=policy) as transport, ThreadPoolExecutor(1) as pool:
        first = pool.submit(refusal, transport)
        server.wait_until_busy(1)
        assert "too many requests" in str(refusal(transport))
        transport.close()
        assert "closed" in str(first.result(LIMIT))


def test_ipv6() -> None:
    try:
        server = FaultyServer(faulty.body(GOOD), host="::1")
    except OSError:
        pytest.skip("no IPv6 on the loopback")
    with server, going_to(server) as transport:
        fetch(transport)


def test_cookies_and_netrc_do_not_exist(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    server.on("/x", faulty.body(GOOD, Set_Cookie="a=b"))
    with Transport([server.url], ProxyGroups.direct(), QUICK) as transport:
        fetch(transport)
        fetch(transport)
    for request in server.requests:
        assert not {"Cookie", "Authorization"} & set(request.headers)


# Section "Seen": one server


@pytest.mark.parametrize(
    ("behaviour", "words", "code"),
    [
        (faulty.status(404), "HTTP 404 not found", errno.ENOENT),
        (faulty.status(403), "HTTP 403", errno.EIO),
        (faulty.status(400), "HTTP 400", errno.EIO),
        (faulty.status(500), "HTTP 500", errno.EIO),
        (faulty.status(502), "HTTP 502", errno.EIO),
        (faulty.status(503), "HTTP 503", errno.EIO),
        (faulty.redirect("/y"), "HTTP 302", errno.EIO),
        (faulty.body(GOOD, 206), "wrong part", errno.EIO),
    ],
)
def test_http_errors_are_final_at_once(
    server: FaultyServer, behaviour: faulty.Behaviour, words: str, code: int
) -> None:
    server.on("/x", behaviour)
    with going_to(server) as transport:
        error = refusal(transport)
        assert words in str(error)
        assert "(1 server tried)" in str(error)
        assert error.errno == code
        assert transport.statistics.requests == transport.statistics.failures == 1
    assert server.count == 1


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (faulty.status(429, Retry_After="0"), "HTTP 429"),
        (faulty.reset, "reset"),
        (faulty.hang_up, "closed without an answer"),
        (faulty.garbage, "not an HTTP answer"),
        (faulty.truncated(GOOD), "cut short"),
        (faulty.chunked(GOOD, end=False), "cut short"),
    ],
)
def test_broken_transfers_are_tried_twice(
    server: FaultyServer, behaviour: faulty.Behaviour, words: str
) -> None:
    server.on("/x", behaviour)
    with going_to(server) as transport:
        error = refusal(transport)
        assert words in str(error)
        assert error.errno == errno.EIO
        assert transport.statistics.waited > 0
        assert server.count == 2
        server.on("/x", behaviour, faulty.body(GOOD))
        assert fetch(transport).begun == 2


def drip_head() -> faulty.Behaviour:
    return faulty.drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, 0.02)


def drip_body() -> faulty.Behaviour:
    return faulty.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, 0.02)


def drip_chunk_size() -> faulty.Behaviour:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return faulty.drip(start + b"0" * 1000, 0.02)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (faulty.silent, "silent for 0.4 s"),
        (faulty.stalled(GOOD), "silent for 0.4 s"),
        (drip_head(), "slower than 1024 bytes/s for 0.4 s"),
        (drip_body(), "slower than 1024 bytes/s for 0.4 s"),
        (drip_chunk_size(), "slower than 1024 bytes/s for 0.4 s"),
    ],
    ids=["silent", "stalled", "drip head", "drip body", "drip chunk size"],
)
def test_too_slow(server: FaultyServer, behaviour: faulty.Behaviour, words: str) -> None:
    server.on("/x", behaviour)
    begin = time.monotonic()
    with going_to(server) as transport:
        assert words in str(refusal(transport))
    assert 0.8 <= time.monotonic() - begin < 5
    assert server.count == 2


def without_end(start: bytes, again: bytes) -> faulty.Behaviour:
    """Send *start*, and then *again* for as long as anybody listens, as fast as it goes."""

    def behave(handler: faulty.Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(start)
        piece = again * (65536 // len(again) + 1)
        while not handler.server.ending.is_set():
            handler.wfile.write(piece)

    return behave


OK = b"HTTP/1.1 200 OK\r\n"
IN_CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "preliminary answers": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "preliminary fields": without_end(b"HTTP/1.1 100 Continue\r\n", b"X: y\r\n"),
    "fields": without_end(OK, b"X: y\r\n"),
    "one field": without_end(OK, b"x"),
    "one first line": without_end(b"HTTP/1.1 200 ", b"x"),
    "folded lines": without_end(OK + b"X: y\r\n", b" z\r\n"),
    "trailers": without_end(IN_CHUNKS + b"1\r\nx\r\n0\r\n", b"X: y\r\n"),
    "small chunks": without_end(IN_CHUNKS, b"1;" + b"x" * 60000 + b"\r\nx\r\n"),
    "one chunk size": without_end(IN_CHUNKS, b"0"),
    "content": without_end(OK + b"\r\n", b"x"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end(name: str, server: FaultyServer) -> None:
    """However fast it comes, it is no more than an answer can have."""
    server.on("/x", ENDLESS[name])
    begin = time.monotonic()
    with going_to(server) as transport:
        assert re.search("not an HTTP|can take|allowed|too many|got more", str(refusal(transport)))
    assert time.monotonic() - begin < LIMIT


def test_many_fields(server: FaultyServer) -> None:
    fields = b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
    server.on("/x", faulty.drip(OK + fields + b"\r\n", 0))
    with going_to(server) as transport:
        assert "not an HTTP answer" in str(refusal(transport))


def test_redirects_without_end(server: FaultyServer) -> None:
    server.on("/x", faulty.redirect("/x"))
    policy = QUICK._replace(follow_redirects=True)
    with going_to(server, policy=policy) as transport:
        assert "too many redirects" in str(refusal(transport))
    assert server.count <= 10


def test_a_handshake_that_trickles() -> None:
    """A byte now and then is no silence; the handshake as a whole has an end."""
    ended = threading.Event()

    def trickle(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not ended.is_set():
                connection, _ = listening.accept()
                with connection:
                    # The head of a record of 16 kB, and its first bytes.
                    connection.sendall(b"\x16\x03\x03\x40\x00")
                    while not ended.wait(0.05):
                        connection.sendall(b"\x02")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle, args=[listening])
        thread.start()
        begin = time.monotonic()
        try:
            with going_to(f"https://127.0.0.1:{listening.getsockname()[1]}") as transport:
                refusal(transport)
            assert time.monotonic() - begin < 8
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_name_service_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread waits for it, however many requests there are."""
    from pyparrot.transport import connections

    ended = threading.Event()
    asked: list[str] = []

    def hang(host: str, port: int, flags: int = 0) -> list[object]:
        if flags:
            raise OSError("not a number")
        asked.append(host)
        ended.wait(LIMIT)
        raise OSError("late")

    monkeypatch.setattr(connections, "_addresses", hang)
    try:
        with going_to("http://slow.invalid") as transport, ThreadPoolExecutor(8) as pool:
            for failure in pool.map(lambda _: refusal(transport), range(8)):
                assert "no address for slow.invalid in time" in str(failure)
        assert asked == ["slow.invalid"]
    finally:
        ended.set()


def test_a_slow_sink_is_not_a_slow_transfer(server: FaultyServer) -> None:
    class Slow(Wanted):
        def write(self, data: bytes, /) -> None:
            super().write(data)
            time.sleep(0.1)

    server.on("/x", faulty.slow_body(GOOD, 100, 0.03))
    with going_to(server) as transport:
        sink = Slow()
        transport.fetch("x", sink, limit=5000)
        assert sink.finished
        assert sink.begun == 1


def test_nobody_listens() -> None:
    with faulty.dead_port() as port, going_to(f"http://127.0.0.1:{port}/cvmfs/x") as transport:
        assert str(refusal(transport, ".cvmfspublished")) == (
            f"http://127.0.0.1:{port}/cvmfs/x/.cvmfspublished: not available: connection refused "
            "(1 server tried; is the network up?)"
        )
        assert transport.statistics.requests == 2


def test_nobody_answers() -> None:
    with faulty.black_hole() as port, going_to(f"http://127.0.0.1:{port}") as transport:
        begin = time.monotonic()
        assert "no connection within 0.4 s" in str(refusal(transport))
        assert 0.8 <= time.monotonic() - begin < 5


def test_unknown_name() -> None:
    policy = QUICK._replace(timeout_direct=LIMIT)
    with going_to("http://unknown.invalid", policy=policy) as transport:
        assert refusal(transport).errno == errno.EIO


def test_corrupt_is_asked_for_past_the_caches_and_then_given_up(server: FaultyServer) -> None:
    server.on("/x", faulty.body(BAD))
    with going_to(server) as transport:
        error = refusal(transport)
        assert "wrong hash" in str(error)
        assert error.errno == errno.EIO
        first, second = server.requests
        assert first.headers["Cache-Control"] is first.headers["Pragma"] is None
        assert second.headers["Cache-Control"] == second.headers["Pragma"] == "no-cache"
        server.on("/x", faulty.body(GOOD))
        fetch(transport)  # the next request begins anew
        assert server.requests[2].headers["Pragma"] is None


def test_only_the_cache_was_corrupt(server: FaultyServer) -> None:
    server.on("/x", faulty.body(BAD), faulty.body(GOOD))
    with going_to(server) as transport:
        assert fetch(transport).begun == 2


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (faulty.body(GOOD + b"x"), "1301 bytes, where 1300 are allowed"),
        (faulty.chunked(GOOD, b"x"), "more than the 1300 bytes"),
        (faulty.body(GOOD, Content_Encoding="gzip"), "'gzip'"),
    ],
)
def test_what_counts_as_corrupt(
    server: FaultyServer, behaviour: faulty.Behaviour, words: str
) -> None:
    server.on("/x", behaviour)
    with going_to(server) as transport:
        with pytest.raises(TransportError, match=words):
            transport.fetch("x", Wanted(), limit=len(GOOD))
        server.on("/x", faulty.body(GOOD))
        transport.fetch("x", Wanted(), limit=len(GOOD))
    assert server.count == 3


def test_errors_of_the_sink_are_not_the_networks(server: FaultyServer) -> None:
    class Full(Wanted):
        def write(self, data: bytes, /) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    server.on("/x", faulty.body(GOOD))
    with going_to(server) as transport:
        with pytest.raises(OSError, match="No space"):
            transport.fetch("x", Full(), limit=5000)
        fetch(transport)
    assert server.count == 2


# Several servers


@pytest.mark.parametrize(
    ("behaviour", "asked"),
    [
        (faulty.status(404), 1),
        (faulty.status(500), 1),
        (faulty.status(503), 1),
        (faulty.redirect("/x"), 1),
        (faulty.body(BAD), 2),
        (faulty.status(429), 2),
        (faulty.reset, 2),
        (faulty.truncated(GOOD), 2),
        (faulty.silent, 2),
    ],
)
def test_the_next_server_helps_and_stays(
    server: FaultyServer, other: FaultyServer, behaviour: faulty.Behaviour, asked: int
) -> None:
    server.on("/x", behaviour)
    other.on("/x", faulty.body(GOOD))
    with going_to(server, other) as transport:
        fetch(transport)
        assert server.count == asked
        assert transport.active_server == other.url
        fetch(transport)
    assert (server.count, other.count) == (asked, 2)


def test_back_to_the_first_server_in_time(server: FaultyServer, other: FaultyServer) -> None:
    server.on("/x", faulty.status(503), faulty.body(GOOD))
    other.on("/x", faulty.body(GOOD))
    with going_to(server, other, policy=QUICK._replace(host_reset_after=0.3)) as transport:
        fetch(transport)
        assert transport.active_server == other.url
        time.sleep(0.35)
        fetch(transport)
        assert transport.active_server == server.url
    assert (server.count, other.count) == (2, 1)


def test_all_servers_say_that_there_is_no_such_file(
    server: FaultyServer, other: FaultyServer
) -> None:
    with going_to(server, other) as transport:
        error = refusal(transport)
        assert error.errno == errno.ENOENT
        assert str(error).endswith("HTTP 404 not found (2 servers tried)")
        server.on("/x", faulty.status(503))
        assert refusal(transport).errno == errno.EIO


def test_many_threads_fail_over_together(server: FaultyServer, other: FaultyServer) -> None:
    server.on("/x", faulty.after(0.1, faulty.status(503)))
    other.on("/x", faulty.body(GOOD))
    with going_to(server, other) as transport:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda _: fetch(transport).finished, range(24)))
        assert transport.active_server == other.url
    assert server.count <= 8
    assert other.count == 24


# Redirects


def test_redirects_if_allowed(server: FaultyServer, other: FaultyServer) -> None:
    server.on("/x", faulty.redirect("/1"))
    server.on("/1", faulty.redirect("2"))
    server.on("/2", faulty.redirect(f"{other.url}/3"))
    other.on("/3", faulty.redirect("/4"))
    other.on("/4", faulty.body(GOOD))
    with going_to(server, policy=QUICK._replace(follow_redirects=True)) as transport:
        fetch(transport)
        assert transport.statistics.requests == 1


@pytest.mark.parametrize(
    ("location", "words", "count"),
    [("/x", "too many redirects", 5), ("ftp://host/", "", 1), ("http://[", "", 1)],
)
def test_redirects_that_lead_nowhere(
    server: FaultyServer, location: str, words: str, count: int
) -> None:
    server.on("/x", faulty.redirect(location))
    with going_to(server, policy=QUICK._replace(follow_redirects=True)) as transport:
        assert words in str(refusal(transport))
    assert server.count == count


# Proxies


@pytest.fixture
def proxy() -> Iterator[FaultyServer]:
    with FaultyServer(faulty.forward(like_squid=True)) as proxy:
        yield proxy


def test_through_a_proxy(server: FaultyServer, proxy: FaultyServer) -> None:
    server.on("/x", faulty.body(GOOD))
    with going_to(server, proxies=proxy.url) as transport:
        assert transport.active_proxy == proxy.url
        fetch(transport)
        fetch(transport)
    assert proxy.requests[0].target == f"{server.url}/x"
    assert server.count == proxy.count == 2
    assert len({request.connection for request in proxy.requests}) == 1


def test_a_404_through_a_proxy_is_the_servers(
    server: FaultyServer, other: FaultyServer, proxy: FaultyServer
) -> None:
    other.on("/x", faulty.body(GOOD))
    with going_to(server, other, proxies=proxy.url) as transport:
        fetch(transport)
        assert transport.active_server == other.url
        assert transport.active_proxy == proxy.url


@pytest.mark.parametrize(
    ("behaviour", "asked"),
    [
        (faulty.status(403), 1),
        (faulty.status(503, X_Squid_Error="ERR_CANNOT_FORWARD 0"), 1),
        (faulty.status(502, Proxy_Status="p; error=connection_refused"), 1),
        (faulty.reset, 2),
        (faulty.silent, 2),
        (faulty.truncated(GOOD), 2),
    ],
)
def test_a_broken_proxy_is_replaced(
    server: FaultyServer, proxy: FaultyServer, behaviour: faulty.Behaviour, asked: int
) -> None:
    server.on("/x", faulty.body(GOOD))
    with FaultyServer(behaviour) as broken:
        with going_to(server, proxies=f"{broken.url};{proxy.url}") as transport:
            fetch(transport)
            assert transport.active_server == server.url
            assert transport.active_proxy == proxy.url
            fetch(transport)
        assert broken.count == asked
    assert proxy.count == 2


def test_dead_proxies_give_way_to_a_direct_connection(server: FaultyServer) -> None:
    server.on("/x", faulty.body(GOOD))
    with faulty.dead_port() as one, faulty.dead_port() as two:
        text = f"127.0.0.1:{one} | 127.0.0.1:{two} ; DIRECT"
        policy = QUICK._replace(proxy_reset_after=0.5)
        with going_to(server, proxies=text, policy=policy) as transport:
            fetch(transport)
            assert transport.active_proxy == DIRECT
            assert transport.statistics.failures == 4
            time.sleep(0.6)
            assert transport.active_proxy != DIRECT


def test_the_proxy_may_be_right_host_after_proxy(other: FaultyServer, proxy: FaultyServer) -> None:
    other.on("/x", faulty.body(GOOD))
    with faulty.dead_port() as port:
        dead = f"http://127.0.0.1:{port}"
        with going_to(dead, other, proxies=proxy.url) as transport:
            fetch(transport)
            assert transport.active_server == other.url
            assert transport.active_proxy == proxy.url
    assert proxy.count == 2


def test_without_its_header_a_proxys_error_is_the_servers(other: FaultyServer) -> None:
    other.on("/x", faulty.body(GOOD))
    with FaultyServer(faulty.forward(like_squid=False)) as plain, faulty.dead_port() as port:
        text = f"{plain.url};http://127.0.0.1:{port}"
        with going_to(f"http://127.0.0.1:{port}", other, proxies=text) as transport:
            fetch(transport)
            assert transport.active_proxy == plain.url
        assert plain.count == 2


def test_all_proxies_are_dead(server: FaultyServer) -> None:
    with faulty.dead_port() as one, faulty.dead_port() as two:
        text = f"http://127.0.0.1:{one};http://127.0.0.1:{two}"
        with going_to(server, proxies=text) as transport:
            error = str(refusal(transport))
    assert error == (
        f"{server.url}/x: not available: proxy http://127.0.0.1:{two}: connection refused "
        "(1 server, 2 proxies tried; is the network up?)"
    )
    assert server.count == 0


def test_proxies_of_the_environment_only_when_asked_for(
    server: FaultyServer, proxy: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server.on("/x", faulty.body(GOOD))
    with going_to(server) as transport:
        fetch(transport)
    assert proxy.count == 0
    with going_to(server, proxies="auto") as transport:
        fetch(transport)
    assert proxy.count == 1


# The end


@pytest.mark.parametrize(
    "behaviour",
    [faulty.silent, faulty.stalled(GOOD), faulty.status(429, Retry_After="10")],
    ids=["head", "body", "pause"],
)
def test_closing_ends_all_waits(server: FaultyServer, behaviour: faulty.Behaviour) -> None:
    server.on("/x", behaviour)
    policy = Policy(timeout_direct=LIMIT, max_connections=2)
    with going_to(server, policy=policy) as transport, ThreadPoolExecutor(4) as pool:
        errors = [pool.submit(refusal, transport) for _ in range(4)]
        while transport.statistics.requests < 2:
            time.sleep(0.01)
        time.sleep(0.1)
        begin = time.monotonic()
        transport.close()
        assert all("was closed" in str(error.result(LIMIT)) for error in errors)
        assert time.monotonic() - begin < 3


def test_closing_ends_an_attempt_to_connect() -> None:
    with faulty.black_hole() as port, ThreadPoolExecutor(1) as pool:
        policy = QUICK._replace(timeout_direct=LIMIT)
        with going_to(f"http://127.0.0.1:{port}", policy=policy) as transport:
            error = pool.submit(refusal, transport)
            while transport.statistics.requests < 1:
                time.sleep(0.01)
            time.sleep(0.1)
            begin = time.monotonic()
            transport.close()
            assert "was closed" in str(error.result(LIMIT))
            assert time.monotonic() - begin < 3


def test_a_closed_transport_stays_closed(server: FaultyServer) -> None:
    server.on("/x", faulty.body(GOOD))
    with going_to(server) as transport:
        fetch(transport)
        transport.close()
        transport.close()
        assert "was closed" in str(refusal(transport))
    assert server.count == 1


# A real proxy

SQUID_CONF = """\
http_port 127.0.0.1:{port}
http_access allow localhost
visible_hostname squid.test
cache_mem 4 MB
cache_log /dev/null
cache_store_log none
access_log none
pid_filename none
coredump_dir none
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
connect_timeout 2 seconds
forward_max_tries 1
"""


def _free_port() -> int:
    with faulty.dead_port() as port:
        return port


@pytest.fixture
def squid(tmp_path: Path) -> Iterator[str]:
    """The URL of a squid."""
    if not os.access(SQUID, os.X_OK):
        pytest.skip(f"no {SQUID}")
    directory = tmp_path / "squid"
    directory.mkdir()
    for _ in range(5):  # squid can't choose a port itself: another program may be faster
        port = _free_port()
        conf = directory / "squid.conf"
        conf.write_text(SQUID_CONF.format(port=port))
        command = [SQUID, "-N", "-f", str(conf), "-n", f"test{os.getpid()}"]
        with open(directory / "output", "wb") as output:
            child = subprocess.Popen(command, stdout=output, stderr=output, cwd=directory)
        try:
            if _listens(port, child):
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(LIMIT)
    raise AssertionError((directory / "output").read_text())


def _listens(port: int, child: subprocess.Popen[bytes]) -> bool:
    import socket

    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


def test_squid(server: FaultyServer, squid: str) -> None:
    patient = QUICK._replace(timeout=LIMIT)
    server.on("/x", faulty.body(GOOD, Cache_Control="max-age=100"))
    with going_to(server, proxies=squid, policy=patient) as transport:
        fetch(transport)
        fetch(transport)
        assert server.count == 1  # it caches
        assert server.requests[0].headers["Via"]
        server.on("/y", faulty.body(BAD, Cache_Control="max-age=100"), faulty.body(GOOD))
        fetch(transport, "y")  # past its cache
        assert refusal(transport, "missing").errno == errno.ENOENT
        assert transport.active_proxy == squid


def test_squid_says_that_it_found_no_server(other: FaultyServer, squid: str) -> None:
    patient = QUICK._replace(timeout=LIMIT)
    other.on("/x", faulty.body(GOOD))
    with faulty.dead_port() as port:
        dead = f"http://127.0.0.1:{port}"
        with going_to(dead, proxies=squid, policy=patient) as transport:
            error = str(refusal(transport))
            assert f"proxy {squid}: HTTP 503" in error
            assert "ERR_CONNECT_FAIL" in error
        with going_to(dead, proxies=f"{squid};DIRECT", policy=patient) as transport:
            refusal(transport)
            assert transport.active_proxy == DIRECT
        with going_to(dead, other, proxies=squid, policy=patient) as transport:
            fetch(transport)  # host after proxy
            assert transport.active_server == other.url

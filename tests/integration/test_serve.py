"""``pyparrot serve``, and nginx with the configuration of docs/hosting.md, over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.servers import LIMIT, Site, ask_over, served_by_nginx, served_by_pyparrot

from pyparrot import serve
from pyparrot.errors import PyparrotError

FQRN = "sw.example.org"
BODY = bytes(range(256)) * 40
OBJECT = f"/cvmfs/{FQRN}/data/ab/{'c' * 38}"
MANIFEST_TEXT = (
    f"C{'a' * 40}\nB1\nRd41d8cd98f00b204e9800998ecf8427e\nD240\nS1\nGno\nAno\nN{FQRN}\nT1\n"
    f"--\n{'b' * 40}\nsignature"
).encode()

IMMUTABLE = "max-age=259200"
SHORT = "max-age=61"
BIG = 5 * 2**30


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with one repository, and what must not be served."""
    repository = tmp_path / "srv" / "cvmfs" / FQRN
    (repository / "data" / "ab").mkdir(parents=True)
    (repository / "data" / "txn").mkdir()
    (repository / "data" / "ab" / ("c" * 38)).write_bytes(BODY)
    (repository / "data" / "ab" / "empty").touch()
    (repository / "data" / "txn" / "fetch").write_bytes(b"half of an object")
    (repository / ".cvmfspublished").write_bytes(MANIFEST_TEXT)
    (repository / ".cvmfswhitelist").write_bytes(b"whitelist")
    (repository / ".cvmfsalt-x").symlink_to(f"data/ab/{'c' * 38}")
    (tmp_path / "secret").write_bytes(b"secret")
    os.mkfifo(repository / "fifo")
    return repository.parent


@pytest.fixture
def site(tree: Path) -> Iterator[Site]:
    """The directory as pyparrot serves it."""
    with served_by_pyparrot(tree) as site:
        yield site


@pytest.fixture(params=[served_by_pyparrot, served_by_nginx], ids=["pyparrot", "nginx"])
def any_site(request: pytest.FixtureRequest, tree: Path) -> Iterator[Site]:
    """The directory as either server serves it: what holds for one holds for the other."""
    with request.param(tree) as site:
        yield site


# What both servers do


@pytest.mark.parametrize(
    ("path", "lifetime", "body"),
    [
        (OBJECT, IMMUTABLE, BODY),
        (f"/cvmfs/{FQRN}/data/ab/empty", IMMUTABLE, b""),
        (f"/cvmfs/{FQRN}/.cvmfspublished", SHORT, MANIFEST_TEXT),
        (f"/cvmfs/{FQRN}/.cvmfswhitelist", SHORT, b"whitelist"),
        (f"/cvmfs/{FQRN}/.cvmfsalt-x", SHORT, BODY),
        (f"/cvmfs//{FQRN}/%2ecvmfswhitelist?query", SHORT, b"whitelist"),
    ],
)
def test_files(any_site: Site, path: str, lifetime: str, body: bytes) -> None:
    answer = any_site.ask(path)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["Content-Length"] == str(len(body))
    assert answer.headers["Content-Type"] == "application/x-cvmfs"
    assert answer.headers["Cache-Control"] == lifetime
    assert answer.headers["Accept-Ranges"] == "bytes"
    head = any_site.ask(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, len(BODY)),
        ("bytes=5-9", 5, 10),
        ("bytes=100-", 100, len(BODY)),
        ("bytes=-7", len(BODY) - 7, len(BODY)),
        ("bytes=-99999", 0, len(BODY)),
        ("bytes=10-99999", 10, len(BODY)),
        (f"bytes={len(BODY) - 1}-", len(BODY) - 1, len(BODY)),
    ],
)
def test_ranges(any_site: Site, wanted: str, start: int, stop: int) -> None:
    answer = any_site.ask(OBJECT, {"Range": wanted})
    assert (answer.status, answer.body) == (206, BODY[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(BODY)}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.headers["Cache-Control"] == IMMUTABLE


@pytest.mark.parametrize("wanted", [f"bytes={len(BODY)}-", "bytes=99999-100000", "bytes=-0"])
def test_ranges_that_are_not_there(any_site: Site, wanted: str) -> None:
    answer = any_site.ask(OBJECT, {"Range": wanted})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(BODY)}"


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "lines=1-2"])
def test_ranges_that_are_ignored(any_site: Site, wanted: str) -> None:
    answer = any_site.ask(OBJECT, {"Range": wanted})
    assert (answer.status, answer.body) == (200, BODY)


def test_conditions(any_site: Site) -> None:
    first = any_site.ask(OBJECT)
    tag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    for headers, status in (
        ({"If-None-Match": tag}, 304),
        ({"If-None-Match": f'"other", W/{tag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": modified}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Range": tag, "Range": "bytes=0-0"}, 206),
        ({"If-Range": modified, "Range": "bytes=0-0"}, 206),
        ({"If-Range": '"other"', "Range": "bytes=0-0"}, 200),
        ({"If-Range": "Thu, 01 Jan 1970 00:00:00 GMT", "Range": "bytes=0-0"}, 200),
    ):
        answer = any_site.ask(OBJECT, headers)
        assert answer.status == status, headers
        assert answer.headers["ETag"] == tag
        assert len(answer.body) == {304: 0, 200: len(BODY), 206: 1}[status]


def test_a_replaced_file_is_seen_at_once(any_site: Site) -> None:
    path = f"/cvmfs/{FQRN}/.cvmfspublished"
    tag = any_site.ask(path).headers["ETag"]
    replacement = any_site.directory / "new"
    replacement.write_bytes(b"the next manifest")
    replacement.rename(any_site.directory / FQRN / ".cvmfspublished")
    answer = any_site.ask(path, {"If-None-Match": tag})
    assert (answer.status, answer.body) == (200, b"the next manifest")


@pytest.mark.parametrize(
    "path",
    [
        f"/cvmfs/{FQRN}/missing",
        f"/cvmfs/{FQRN}/data/ab/missing",
        f"/cvmfs/{FQRN}/data/ab/{'n' * 300}",
        f"/cvmfs/{FQRN}/data/txn/fetch",
        f"/cvmfs/{FQRN}//data/%74xn/fetch",
        f"/cvmfs/{FQRN}/data/txn",
        f"/cvmfs/{FQRN}/fifo",
        f"/cvmfs/{FQRN}/.cvmfspublished/x",
        "/cvmfs/missing/.cvmfspublished",
        "/",
        "/secret",
        f"/{FQRN}/.cvmfspublished",
    ],
)
def test_missing(any_site: Site, path: str) -> None:
    answer = any_site.ask(path)
    assert answer.status == 404
    assert IMMUTABLE not in answer.headers.get_all("Cache-Control", [])


@pytest.mark.parametrize(
    ("path", "elsewhere"),
    [
        ("/cvmfs/../../secret", 400),
        ("/cvmfs/%2e%2e/%2e%2e/secret", 400),
        ("/cvmfs/..%2f..%2fsecret", 400),
        ("/cvmfs/.%2E/.%2E/.%2E/.%2E/etc/passwd", 400),
        ("/../../../../etc/passwd", 400),
        (f"/cvmfs/{FQRN}/%00", 400),
        (f"/cvmfs/{FQRN}/.cvmfspublished%00x", 400),
        (f"/cvmfs/{FQRN}/data", 301),
        (f"/cvmfs/{FQRN}/", 403),
    ],
)
def test_nothing_leaks(any_site: Site, path: str, elsewhere: int) -> None:
    """Ours knows no such thing; a web server says in its own way that it gives nothing."""
    answer = any_site.ask(path)
    assert answer.status in {404, elsewhere}
    assert not any(word in answer.body for word in (b"secret", b"root:", b"whitelist"))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PROPFIND"])
def test_nothing_can_be_written(any_site: Site, method: str) -> None:
    assert any_site.ask(OBJECT, method=method).status == 405


def test_many_clients_at_once(any_site: Site) -> None:
    def fetch(number: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", any_site.port, timeout=LIMIT)
        with contextlib.closing(connection):
            parts = [
                ask_over(connection, OBJECT, {"Range": f"bytes={number * i}-{number * i + 9}"}).body
                for i in range(20)
            ]
        return parts == [BODY[number * i : number * i + 10] for i in range(20)]

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(fetch, range(64)))


# Connections


def test_keep_alive(any_site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", any_site.port, timeout=LIMIT)
    with contextlib.closing(connection):
        connection.connect()
        before = connection.sock
        for path, method, status in (
            (OBJECT, "GET", 200),
            (OBJECT, "HEAD", 200),
            (f"/cvmfs/{FQRN}/missing", "GET", 404),
            (f"/cvmfs/{FQRN}/missing", "HEAD", 404),
            (f"/cvmfs/{FQRN}/data/ab/empty", "GET", 200),
            (OBJECT, "GET", 200),
        ):
            assert ask_over(connection, path, method=method).status == status
        assert connection.sock is before


def test_a_method_that_is_not_allowed_keeps_the_connection(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=LIMIT)
    with contextlib.closing(connection):
        connection.connect()
        before = connection.sock
        answer = ask_over(connection, OBJECT, method="OPTIONS")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert ask_over(connection, OBJECT).status == 200
        assert connection.sock is before


def request_for(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode()


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) [A-Z]", answers)]


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    whitelist = f"/cvmfs/{FQRN}/.cvmfswhitelist"
    answers = site.raw(
        request_for(whitelist)
        + request_for(whitelist, method="HEAD")
        + request_for("/nothing")
        + request_for("*", method="OPTIONS")
        + request_for(f"http://x{whitelist}", "Range: bytes=0-4")
        + request_for(whitelist, "Connection: close")
        + request_for(whitelist)
    )
    assert statuses(answers) == [200, 200, 404, 405, 206, 200]
    assert answers.count(b"whitelist") == 2
    assert answers.count(b"\r\n\r\nwhite") == 3


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Content-Length: 31", b"GET /cvmfs/smuggled HTTP/1.1\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"1f\r\nGET /cvmfs/smuggled HTTP/1.1\r\n\r\n\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize(("method", "status"), [("POST", 405), ("GET", 200)])
def test_a_body_is_not_taken_for_a_request(
    site: Site, header: str, body: bytes, method: str, status: int
) -> None:
    answers = site.raw(request_for(OBJECT, header, method=method) + body)
    assert statuses(answers) == [status]
    assert b"\r\nConnection: close\r\n" in answers


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00 a b c d\r\n\r\n", 400),
        (b"GET / HTTP/1.1.1\r\n\r\n", 400),
        (request_for("/", version="2.0"), 505),
        (request_for("/" + "x" * 70000), 414),
        (request_for(OBJECT, "X: " + "x" * 70000) + request_for(OBJECT), 431),
        (request_for(OBJECT, *["X: y"] * 200) + request_for(OBJECT), 431),
    ],
)
def test_nonsense_gets_one_answer(site: Site, request_bytes: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", site.port), LIMIT) as connection:
        connection.sendall(request_bytes)
        answer = b""
        # The server closes without reading on, which can reset the connection after its answer.
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
    assert statuses(answer) == [status]
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in answer


AMBIGUOUS = {
    "two lengths in one": request_for(OBJECT, "Content-Length: 0, 40"),
    "two lengths": request_for(OBJECT, "Content-Length: 0", "Content-Length: 40"),
    "the same length twice": request_for(OBJECT, "Content-Length: 0", "content-length: 0"),
    "a length with a sign": request_for(OBJECT, "Content-Length: +0"),
    "a negative length": request_for(OBJECT, "Content-Length: -1"),
    "a hexadecimal length": request_for(OBJECT, "Content-Length: 0x0"),
    "a length with a line": request_for(OBJECT, "Content-Length: 1_0"),
    "no length": request_for(OBJECT, "Content-Length: "),
    "a huge length": request_for(OBJECT, f"Content-Length: {'9' * 30}"),
    "digits of another script": request_for(OBJECT, "Content-Length: \u0663"),
    "a length and chunks": request_for(OBJECT, "Content-Length: 5", "Transfer-Encoding: chunked"),
    "an unknown coding": request_for(OBJECT, "Transfer-Encoding: x"),
    "two codings": request_for(OBJECT, "Transfer-Encoding: gzip, chunked"),
    "chunks twice": request_for(OBJECT, *["Transfer-Encoding: chunked"] * 2),
    "a folded line": request_for(OBJECT, "X: y", " Content-Length: 40"),
    "a folded first line": request_for(OBJECT).replace(b"Host", b" Host"),
    "a blank before the colon": request_for(OBJECT, "Content-Length : 40"),
    "a name with a blank": request_for(OBJECT, "Content Length: 40"),
    "no colon": request_for(OBJECT, "Content-Length 40"),
    "no name": request_for(OBJECT, ": 40"),
    "only LF": request_for(OBJECT).replace(b"\r\n", b"\n"),
    "only LF at the end": request_for(OBJECT)[:-2] + b"\n",
    "only LF in between": request_for(OBJECT, "X: y\nContent-Length: 40"),
    "only CR in between": request_for(OBJECT, "X: y\rContent-Length: 40"),
    "NUL in a value": request_for(OBJECT, "X: \0"),
    "two hosts": request_for(OBJECT, "Host: y"),
    "a tab in the first line": request_for(OBJECT).replace(b"GET ", b"GET\t"),
    "two blanks in the first line": request_for(OBJECT).replace(b"GET ", b"GET  "),
    "a vertical tab in the first line": request_for(OBJECT + "\x0b"),
    "a blank first": b" " + request_for(OBJECT),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused(site: Site, name: str) -> None:
    """And nothing behind it is taken for another request."""
    answers = site.raw(AMBIGUOUS[name] + request_for(OBJECT))
    assert statuses(answers) == [400]
    assert b"\r\nConnection: close\r\n" in answers


@pytest.mark.parametrize("header", ["X:y", "X: \t y \t", "X:", "X: \xe4", "Content-Length: 0"])
def test_odd_fields_that_are_allowed(site: Site, header: str) -> None:
    lines = request_for(OBJECT).replace(b"Host: x", b"Host: x\r\n" + header.encode("latin-1"))
    assert statuses(site.raw(lines * 2)) == [200, 200]


def test_http_1_0(site: Site) -> None:
    assert site.raw(request_for(OBJECT, version="1.0") * 2).endswith(b"\r\n\r\n" + BODY)
    kept = site.raw(request_for(OBJECT, "Connection: keep-alive", version="1.0") * 2)
    assert statuses(kept) == [200, 200]
    assert kept.count(b"\r\nConnection: keep-alive\r\n") == 2


def test_a_silent_client_is_sent_away(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyparrot.serve._Handler.timeout", 0.2)
    with served_by_pyparrot(tree) as site:
        for sent in (b"", b"GET /cvmfs", request_for(OBJECT)):
            with socket.create_connection(("127.0.0.1", site.port), LIMIT) as connection:
                connection.sendall(sent)
                while connection.recv(65536):
                    pass


def test_a_client_that_reads_nothing_is_sent_away(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyparrot.serve._Handler.timeout", 0.2)
    with open(tree / FQRN / "data" / "big", "wb") as file:
        file.truncate(BIG)
    with served_by_pyparrot(tree) as site:
        address = ("127.0.0.1", site.port)
        with socket.create_connection(address, LIMIT) as connection:
            connection.sendall(request_for(f"/cvmfs/{FQRN}/data/big"))
            time.sleep(1)
            assert bytes_until_closed(connection) < BIG


def bytes_until_closed(connection: socket.socket) -> int:
    return sum(len(part) for part in iter(lambda: connection.recv(2**20), b""))


def test_connections_beyond_the_limit_wait(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyparrot.serve.CONNECTION_LIMIT", 2)
    with served_by_pyparrot(tree) as site, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", site.port)
        first, second, third = (
            stack.enter_context(socket.create_connection(address, LIMIT)) for _ in range(3)
        )
        for connection in (first, second):
            connection.sendall(request_for("/nothing"))
            assert statuses(connection.recv(65536)) == [404]
        third.sendall(request_for("/nothing"))
        third.settimeout(0.3)
        with pytest.raises(socket.timeout):
            third.recv(65536)
        first.close()
        third.settimeout(LIMIT)
        assert statuses(third.recv(65536)) == [404]


def drip(connections: list[socket.socket], ended: threading.Event) -> None:
    """Send a byte of a head now and then."""
    while not ended.wait(0.1):
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(b"x")


@pytest.mark.parametrize("first", [b"", b"GET /", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX: "])
def test_slow_heads_do_not_keep_others_out(tree: Path, first: bytes) -> None:
    """140 clients that send a byte a time take all places, and give them up for who asks."""
    ended = threading.Event()
    slow: list[socket.socket] = []
    with served_by_pyparrot(tree) as site, contextlib.ExitStack() as stack:
        for _ in range(140):
            connection = socket.create_connection(("127.0.0.1", site.port), LIMIT)
            slow.append(stack.enter_context(connection))
            connection.sendall(first)
        dripping = threading.Thread(target=drip, args=(slow, ended))
        dripping.start()
        stack.callback(dripping.join)
        stack.callback(ended.set)
        for _ in range(5):
            begin = time.monotonic()
            assert site.ask(OBJECT).body == BODY
            assert time.monotonic() - begin < 10


def test_a_slow_head_has_an_end(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a byte comes."""
    monkeypatch.setattr("pyparrot.serve.clients.HEAD_SECONDS", 0.5)
    ended = threading.Event()
    with (
        served_by_pyparrot(tree) as site,
        socket.create_connection(("127.0.0.1", site.port), LIMIT) as connection,
    ):
        dripping = threading.Thread(target=drip, args=([connection], ended))
        dripping.start()
        try:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        finally:
            ended.set()
            dripping.join()


def test_a_slow_reader_has_an_end(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it takes a byte."""
    monkeypatch.setattr("pyparrot.serve.clients.IDLE_SECONDS", 0.5)
    monkeypatch.setattr("pyparrot.serve.clients.LOWEST_SPEED", 1 << 40)
    with open(tree / FQRN / "data" / "big", "wb") as file:
        file.truncate(BIG)
    with (
        served_by_pyparrot(tree) as site,
        socket.create_connection(("127.0.0.1", site.port), LIMIT) as connection,
    ):
        connection.sendall(request_for(f"/cvmfs/{FQRN}/data/big"))
        begin = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1000):
                time.sleep(0.001)
                assert time.monotonic() - begin < LIMIT


def test_slow_readers_that_have_most_places_make_room(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyparrot.serve.CONNECTION_LIMIT", 4)
    monkeypatch.setattr("pyparrot.serve.clients.SLOW_SECONDS", 0.5)
    with open(tree / FQRN / "data" / "big", "wb") as file:
        file.truncate(BIG)
    with served_by_pyparrot(tree) as site, contextlib.ExitStack() as stack:
        for _ in range(5):
            connection = socket.create_connection(("127.0.0.1", site.port), LIMIT)
            stack.enter_context(connection)
            connection.sendall(request_for(f"/cvmfs/{FQRN}/data/big"))
        assert site.ask(OBJECT).body == BODY


def test_stop_ends_connections_and_frees_the_port(tree: Path) -> None:
    server = serve.Server(tree).start()
    port = server.server_address[1]
    with socket.create_connection(("127.0.0.1", port), LIMIT) as connection:
        connection.sendall(request_for(OBJECT))
        connection.recv(1)
        server.stop()
        server.stop()
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
    with serve.Server(tree, port=port) as again:
        assert again.url == f"http://127.0.0.1:{port}/cvmfs"


def test_a_server_that_never_started_can_be_stopped(tree: Path) -> None:
    serve.Server(tree).stop()


# Files


def test_the_end_of_a_file_of_several_gigabytes(any_site: Site) -> None:
    with open(any_site.directory / FQRN / "data" / "big", "wb") as file:
        file.truncate(BIG - 4)
        file.seek(BIG - 4)
        file.write(b"tail")
    path = f"/cvmfs/{FQRN}/data/big"
    answer = any_site.ask(path, {"Range": f"bytes={BIG - 6}-"})
    assert (answer.status, answer.body) == (206, b"\0\0tail")
    assert answer.headers["Content-Range"] == f"bytes {BIG - 6}-{BIG - 1}/{BIG}"
    assert any_site.ask(path, {"Range": "bytes=-4"}).body == b"tail"
    assert any_site.ask(path, method="HEAD").headers["Content-Length"] == str(BIG)


def test_a_file_that_shrinks_closes_the_connection(site: Site) -> None:
    path = site.directory / FQRN / "data" / "big"
    with open(path, "wb") as file:
        file.truncate(BIG)
    with socket.create_connection(("127.0.0.1", site.port), LIMIT) as connection:
        connection.sendall(request_for(f"/cvmfs/{FQRN}/data/big"))
        assert f"Content-Length: {BIG}".encode() in connection.recv(4096)
        os.truncate(path, 1)
        assert bytes_until_closed(connection) < BIG


@pytest.mark.parametrize(
    ("link", "target"),
    [
        (f"{FQRN}/file", "../../../secret"),
        (f"{FQRN}/file", "/etc/passwd"),
        (f"{FQRN}/file", "data/txn/fetch"),
        (f"{FQRN}/file", "file"),
        (f"{FQRN}/file", "/dev/zero"),
        ("file", "../../secret"),
    ],
)
def test_links_that_lead_to_nothing_public(site: Site, link: str, target: str) -> None:
    (site.directory / link).symlink_to(target)
    assert site.ask(f"/cvmfs/{link}").status == 404


def test_a_linked_directory_must_lie_inside(site: Site) -> None:
    (site.directory / "out.example.org").symlink_to(site.directory.parent.parent)
    (site.directory / "alias.example.org").symlink_to(FQRN)
    (site.directory / "alias.example.org" / "objects").symlink_to("data/txn")
    assert site.ask("/cvmfs/out.example.org/secret").status == 404
    assert site.ask("/cvmfs/alias.example.org/.cvmfswhitelist").body == b"whitelist"
    assert site.ask("/cvmfs/alias.example.org/objects/fetch").status == 404


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(site: Site) -> None:
    (site.directory / FQRN / ".cvmfswhitelist").chmod(0)
    assert site.ask(f"/cvmfs/{FQRN}/.cvmfswhitelist").status == 403


def test_names_of_any_bytes(site: Site) -> None:
    with open(os.fsencode(site.directory / FQRN) + b"/a \xff%", "wb") as file:
        file.write(b"odd")
    assert site.ask(f"/cvmfs/{FQRN}/a%20%fF%25").body == b"odd"


# Where the repositories are


def test_the_root_lists_the_repositories(site: Site) -> None:
    (site.directory / "no-repository").mkdir()
    for path in ("/cvmfs", "/cvmfs/"):
        answer = site.ask(path)
        assert (answer.status, answer.body) == (200, f"/cvmfs/{FQRN}\n".encode())
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("prefix", ["/", "", "/a/b c", "a/b c/"])
def test_prefix(tree: Path, prefix: str) -> None:
    with serve.Server(tree, prefix=prefix) as server:
        path = "/a/b%20c" if "a" in prefix else ""
        assert server.url.endswith(f":{server.server_address[1]}{path}")
        assert server.repository_urls() == [f"{server.url}/{FQRN}"]
        site = Site(server.server_address[1], tree)
        assert site.ask(f"{path}/{FQRN}/.cvmfswhitelist").body == b"whitelist"
        assert site.ask(f"{path}/").body == f"{path}/{FQRN}\n".encode()


def test_a_repository_itself(tree: Path) -> None:
    (tree / FQRN / FQRN).mkdir()
    (tree / FQRN / FQRN / "inner").write_bytes(b"inner")
    with served_by_pyparrot((tree / FQRN).rename(tree / "elsewhere")) as site:
        assert site.ask("/cvmfs").body == f"/cvmfs/{FQRN}\n".encode()
        assert site.ask(OBJECT).headers["Cache-Control"] == IMMUTABLE
        assert site.ask(f"/cvmfs/{FQRN}/.cvmfspublished").body == MANIFEST_TEXT
        assert site.ask(f"/cvmfs/{FQRN}/{FQRN}/inner").body == b"inner"
        for path in ("/elsewhere/.cvmfspublished", "/.cvmfspublished", f"/{FQRN}/data/txn/fetch"):
            assert site.ask(f"/cvmfs{path}").status == 404


def test_a_manifest_that_is_none(tree: Path) -> None:
    (tree / ".cvmfspublished").write_bytes(b"nonsense")
    with pytest.raises(PyparrotError, match=r"/\.cvmfspublished: not a manifest: no signature"):
        serve.Server(tree)


def test_log(tree: Path) -> None:
    lines: list[str] = []
    with serve.Server(tree, log=lines.append) as server:
        site = Site(server.server_address[1], tree)
        site.ask(OBJECT)
        site.ask(OBJECT, method="HEAD")
        site.ask(OBJECT, {"If-None-Match": "*"})
        site.raw(b"GET /\x1b[31m\xff HTTP/1.1\r\nHost: x\r\n\r\n")
    assert lines == [
        f"127.0.0.1 GET {OBJECT} 200 {len(BODY)}",
        f"127.0.0.1 HEAD {OBJECT} 200 0",
        f"127.0.0.1 GET {OBJECT} 304 0",
        r"127.0.0.1 GET /\x1b[31m\xff 404 14",
    ]


# The command


@contextlib.contextmanager
def command(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "pyparrot", "serve", *map(str, arguments)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_command(tree: Path, number: signal.Signals, status: int) -> None:
    with command(tree, "--port", 0) as process:
        assert process.stdout
        match = re.fullmatch(
            rf"http://127\.0\.0\.1:(\d+)/cvmfs/{re.escape(FQRN)}\n", process.stdout.readline()
        )
        assert match
        site = Site(int(match[1]), tree)
        with socket.create_connection(
            ("127.0.0.1", site.port)
        ):  # an idle client is in nobody's way
            assert site.ask(OBJECT).body == BODY
            process.send_signal(number)
            out, log = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (status, "")
    assert log == f"127.0.0.1 GET {OBJECT} 200 {len(BODY)}\n"


def test_command_quiet_and_without_repositories(tmp_path: Path) -> None:
    with command(tmp_path, "--port", 0, "--quiet", "--prefix", "/") as process:
        assert process.stderr
        line = process.stderr.readline()
        match = re.fullmatch(
            r"pyparrot: no repository yet; waiting at http://127\.0\.0\.1:(\d+)\n", line
        )
        assert match
        assert Site(int(match[1]), tmp_path).ask("/missing").status == 404
        process.terminate()
        assert process.communicate(timeout=LIMIT) == ("", "")
    assert process.returncode == 0


def failure_of(*arguments: object) -> str:
    with command(*arguments) as process:
        out, line = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (125, "")
    return line


def test_command_port_in_use(tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert failure_of(tree, "--port", port) == (
            f"pyparrot: 127.0.0.1:{port}: Address already in use (choose another with --port)\n"
        )


def test_command_failures(tree: Path) -> None:
    missing, file = tree / "missing", tree / FQRN / ".cvmfswhitelist"
    assert failure_of(missing) == f"pyparrot: {missing}: No such file or directory\n"
    assert failure_of(file) == f"pyparrot: {file}: Not a directory\n"
    assert failure_of(tree, "--port", 65536) == "pyparrot: port 65536: not between 0 and 65535\n"
    assert failure_of(tree, "--bind", "192.0.2.1") == (
        "pyparrot: 192.0.2.1:8000: Cannot assign requested address"
        " (--bind takes an address of this host)\n"
    )

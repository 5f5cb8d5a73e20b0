"""An HTTP server on the loopback that misbehaves as it is told; also as a forward proxy.

    with FaultyServer() as server:
        server.on("/x", status(503), body(b"hello"))   # first 503, from then on hello

Standard library only. Nothing outlives the ``with``: its end wakes every answer that still waits.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, NamedTuple

LIMIT = 20.0
"""Seconds after which any wait in here gives up."""


class Request(NamedTuple):
    """What a server was asked."""

    target: str
    headers: Message
    connection: int
    """Tells the connections apart."""


class Handler(BaseHTTPRequestHandler):
    """One connection; behaviours use its methods."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = LIMIT
    server: FaultyServer

    def do_GET(self) -> None:
        with self.server.lock:
            request = Request(self.path, self.headers, self.client_address[1])
            self.server.requests.append(request)
            behaviour = self.server.next_behaviour(urllib.parse.urlsplit(self.path).path)
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
        try:
            behaviour(self)
        except OSError:
            self.close_connection = True  # the client has had enough
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def send(self, code: int, content: bytes, **headers: str) -> None:
        """Send an answer; ``_`` in a header's name is a ``-``; its length can be given."""
        headers.setdefault("Content_Length", str(len(content)))
        self.send_response(code)
        for name, value in headers.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the server; `OSError` if it has come."""
        if self.server.ending.wait(seconds):
            raise ConnectionAbortedError

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Behaviour = Callable[[Handler], None]


def body(content: bytes, code: int = 200, **headers: str) -> Behaviour:
    """An answer as it should be."""
    return lambda handler: handler.send(code, content, **headers)


def status(code: int, **headers: str) -> Behaviour:
    """An error."""
    return body(b"error\n", code, **headers)


def redirect(location: str) -> Behaviour:
    """The file is elsewhere."""
    return body(b"elsewhere\n", 302, Location=location)


def part(content: bytes) -> Behaviour:
    """The part of *content* that the Range header asks for."""

    def behave(handler: Handler) -> None:
        first, _, last = handler.headers["Range"].partition("=")[2].partition("-")
        handler.send(206, content[int(first) : int(last) + 1])

    return behave


def chunked(*pieces: bytes, end: bool = True) -> Behaviour:
    """An answer in chunks, which is cut short without an *end*."""

    def behave(handler: Handler) -> None:
        handler.send(200, b"", Content_Length="", Transfer_Encoding="chunked")
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if end:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.close_connection = True

    return behave


def truncated(content: bytes, missing: int = 1) -> Behaviour:
    """Promise *missing* bytes more than there are."""

    def behave(handler: Handler) -> None:
        handler.send(200, content, Content_Length=str(len(content) + missing))
        handler.close_connection = True

    return behave


def reset(handler: Handler) -> None:
    """End the connection with a TCP reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def hang_up(handler: Handler) -> None:
    """Close without a word."""
    handler.close_connection = True


def garbage(handler: Handler) -> None:
    """Answer in another language."""
    handler.wfile.write(b"220 mail.example.org ESMTP\r\n\r\n")
    handler.close_connection = True


def silent(handler: Handler) -> None:
    """Say nothing and keep the connection open."""
    handler.pause(LIMIT)


def stalled(content: bytes) -> Behaviour:
    """Send a first part, then nothing."""

    def behave(handler: Handler) -> None:
        handler.send(200, content, Content_Length="1000000")
        handler.pause(LIMIT)

    return behave


def drip(raw: bytes, interval: float) -> Behaviour:
    """Send *raw* (an answer with its head) byte by byte."""

    def behave(handler: Handler) -> None:
        handler.close_connection = True
        for index in range(len(raw)):
            handler.wfile.write(raw[index : index + 1])
            handler.pause(interval)

    return behave


def slow_body(content: bytes, size: int, interval: float) -> Behaviour:
    """Send *content* in pieces of *size* bytes."""

    def behave(handler: Handler) -> None:
        handler.send(200, b"", Content_Length=str(len(content)))
        for start in range(0, len(content), size):
            handler.wfile.write(content[start : start + size])
            handler.pause(interval)

    return behave


def after(seconds: float, behaviour: Behaviour) -> Behaviour:
    """Think for a while."""

    def behave(handler: Handler) -> None:
        handler.pause(seconds)
        behaviour(handler)

    return behave


def last_on_connection(behaviour: Behaviour) -> Behaviour:
    """Behave, then close the connection without having said so."""

    def behave(handler: Handler) -> None:
        behaviour(handler)
        handler.close_connection = True

    return behave


def forward(*, like_squid: bool) -> Behaviour:
    """Be a forward proxy, which says that an error is its own if it is *like_squid*."""

    def behave(handler: Handler) -> None:
        url = urllib.parse.urlsplit(handler.path)
        origin = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=LIMIT)
        with contextlib.closing(origin):
            try:
                headers = {k: v for k, v in handler.headers.items() if k != "Connection"}
                origin.request("GET", url.path, headers=headers)
                answer = origin.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                own = {"X_Squid_Error": "ERR_CONNECT_FAIL 111"} if like_squid else {}
                handler.send(503, b"no origin\n", **own)
            else:
                handler.send(answer.status, content, Via="1.1 faulty")

    return behave


class FaultyServer(ThreadingHTTPServer):
    """Serves from its construction until the end of the ``with``.

    *default* is what it does with a path that nothing is said about: 404, or `forward`.
    """

    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, default: Behaviour | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self._default = default or status(404)
        self._behaviours: dict[str, list[Behaviour]] = {}
        self._open: set[socket.socket] = set()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, 0), Handler)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    def on(self, path: str, *behaviours: Behaviour) -> None:
        """What to do with *path*: one after the other, and the last from then on."""
        with self.lock:
            self._behaviours[path] = list(behaviours)

    def next_behaviour(self, path: str) -> Behaviour:
        """What it is now; the caller holds the lock."""
        left = self._behaviours.get(path, [self._default])
        return left.pop(0) if len(left) > 1 else left[0]

    @property
    def count(self) -> int:
        """How often it was asked."""
        with self.lock:
            return len(self.requests)

    def wait_until_busy(self, number: int) -> None:
        """Wait until so many requests are being answered."""
        deadline = time.monotonic() + LIMIT
        while self.busy < number:
            assert time.monotonic() < deadline, "nobody asks"
            time.sleep(0.005)

    def server_bind(self) -> None:
        # The base asks the name service for this host's name.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self.lock:
            self._open.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:
        with self.lock:
            self._open.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of misbehaving servers go away at any time."""

    def __enter__(self) -> FaultyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.shutdown()
        self._thread.join()
        with self.lock:
            still_open = list(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


@contextlib.contextmanager
def dead_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections, and that nobody else gets meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound and not listening
        yield holder.getsockname()[1]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port of 127.0.0.1 that answers no connection attempt: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]

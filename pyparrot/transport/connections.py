"""Sockets below requests: made in bounded time, watched for their speed, ended together.

requests knows a time-out for each address of a name and one for each read. Neither bounds the
whole: a name may have many addresses, its look-up may take long, a server may send a byte
now and then for ever, and without end what is no content: preliminary answers, fields, the frames
of chunks, trailers. This is the one module that imports requests and urllib3 when it is
imported; nothing imports it before the first request.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from pyparrot.transport.failures import NoConnection
from pyparrot.transport.policy import Speedometer

_Address = tuple[int, int, int, str, Any]  # as getaddrinfo() gives it
_POLL_SECONDS = 0.1

_HEAD_BYTES = 1 << 20
_MOST_FRAMES = 8
"""An answer takes at most so many bytes beside its content, and so many times its content."""

_HANDSHAKES = 2
"""A TLS handshake takes at most so many time-outs, however it trickles."""


class TooSlow(OSError):
    """Something did not happen in time."""


class TooMuch(OSError):
    """More comes than the answer that is expected can have."""


class Stale(OSError):
    """A connection that was kept alive turned out to be closed; a new one may do."""


class Connections:
    """The connections of one transport. *low_speed_limit* is in bytes/s."""

    def __init__(self, low_speed_limit: float) -> None:
        self.low_speed_limit = low_speed_limit
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._look_ups: dict[tuple[str, int], Future[list[_Address]]] = {}
        self._expected = threading.local()

    def expect(self, content: int) -> None:
        """The answers that this thread waits for next have at most so many bytes of *content*."""
        self._expected.bytes = content

    @property
    def most_bytes(self) -> int:
        """What the answer that this thread waits for may take on its way, in bytes."""
        return _HEAD_BYTES + _MOST_FRAMES * getattr(self._expected, "bytes", 0)

    def connect(
        self, host: str, port: int, seconds: float, options: Sequence[tuple[Any, ...]] = ()
    ) -> socket.socket:
        """A connection to *host* within *seconds*, whatever number of addresses it has.

        *options* are for `socket.setsockopt`. `NoConnection` says why there is none.
        """
        deadline = time.monotonic() + seconds
        late = failure = OSError(f"no connection within {seconds:g} s")
        addresses = self._look_up(host, port, deadline)
        for index, address in enumerate(addresses):
            share = (deadline - time.monotonic()) / (len(addresses) - index)
            if share <= 0:
                break
            try:
                return self._connect(address, share, options)
            except socket.timeout:
                failure = late
            except OSError as error:
                failure = error
        raise NoConnection(failure)

    def _look_up(self, host: str, port: int, deadline: float) -> list[_Address]:
        with contextlib.suppress(OSError):  # not a number: ask, and that may take its time
            return _addresses(host, port, socket.AI_NUMERICHOST)
        answer = self._ask(host, port)
        while time.monotonic() < deadline and not self.closed.is_set():
            if wait([answer], _POLL_SECONDS).done:
                error = answer.exception()
                if isinstance(error, Exception):
                    raise NoConnection(error)
                return answer.result()
        raise NoConnection(OSError(f"no address for {host} in time"))

    def _ask(self, host: str, port: int) -> Future[list[_Address]]:
        """The answer of the name service, to come; one thread asks it for all that wait.

        Nothing can interrupt getaddrinfo(), so its thread is abandoned if it takes too long.
        """
        with self._lock:
            answer = self._look_ups.get((host, port))
            if answer is not None:
                return answer
            answer = self._look_ups[host, port] = Future()

        def ask(answer: Future[list[_Address]]) -> None:
            try:
                found = _addresses(host, port)
            except Exception as error:
                self._forget(host, port)
                answer.set_exception(error)
            else:
                self._forget(host, port)
                answer.set_result(found)

        try:
            name = f"address of {host}"
            threading.Thread(target=ask, args=[answer], name=name, daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            self._forget(host, port)
            answer.set_exception(error)
        return answer

    def _forget(self, host: str, port: int) -> None:
        with self._lock:
            self._look_ups.pop((host, port), None)

    def _connect(
        self, address: _Address, seconds: float, options: Sequence[tuple[Any, ...]]
    ) -> socket.socket:
        family, kind, protocol, _, target = address
        connection = socket.socket(family, kind, protocol)
        try:
            for option in options:
                connection.setsockopt(*option)
            connection.settimeout(seconds)
            self.watch(connection)
            connection.connect(target)
            self.watch(connection)  # close() may have been what ended the wait
        except BaseException:
            connection.close()
            raise
        return connection

    def watch(self, connection: socket.socket) -> None:
        """Let `close` end *connection* too; `OSError` if it has been called already."""
        with self._lock:
            if self.closed.is_set():
                raise OSError("the transport is closed")
            self._sockets.add(connection)

    def close(self) -> None:
        """End all connections; what waits for one of them gets an `OSError` at once."""
        with self._lock:
            self.closed.set()
            connections = list(self._sockets)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _addresses(host: str, port: int, flags: int = 0) -> list[_Address]:
    return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)]


class _WatchedReader(io.RawIOBase):
    """What comes from a socket, as long as it comes fast enough.

    Here and not where the body is read: heads and the frames of chunks can drip as well.
    """

    def __init__(self, raw: io.RawIOBase, limit: float, seconds: float, most: int) -> None:
        self._raw = raw
        self._room = most
        self._limit = limit
        self._seconds = seconds
        self._speedometer = Speedometer(limit, seconds)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        begin = time.monotonic()
        try:
            count = self._raw.readinto(buffer) or 0
        except socket.timeout:
            raise TooSlow(f"silent for {self._seconds:g} s") from None
        self._room -= count
        if self._room < 0:
            raise TooMuch("more than an answer of this size can take")
        if count and self._speedometer.too_slow(count, time.monotonic() - begin):
            raise TooSlow(f"slower than {self._limit:g} bytes/s for {self._seconds:g} s")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Connection(HTTPConnection):
    """A connection that *connections* watches and can end."""

    connections: Connections
    _reused = False
    _raw: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        seconds = self.timeout if isinstance(self.timeout, (int, float)) else 60.0
        self._raw = self.connections.connect(
            self.host, self.port, seconds, self.socket_options or ()
        )
        return self._raw

    def connect(self) -> None:
        if isinstance(self, HTTPSConnection):
            seconds = self.timeout if isinstance(self.timeout, (int, float)) else 60.0
            guard = threading.Timer(_HANDSHAKES * seconds, self._end)
            guard.daemon = True
            guard.start()
            try:
                super().connect()
            finally:
                guard.cancel()
        else:
            super().connect()
        self._reused = False
        self.connections.watch(self.sock)  # TLS has put another object in its place

    def _end(self) -> None:
        """End a connection whose handshake takes too long."""
        if self._raw is not None:
            with contextlib.suppress(OSError):
                self._raw.shutdown(socket.SHUT_RDWR)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        # One that was kept alive may be closed by the server in the very moment of its use.
        try:
            response = super().getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            if self._reused:
                raise Stale(str(error)) from error
            raise
        self._reused = True
        return response

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, *args: Any, **kwargs: Any
    ) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, *args, **kwargs)
        seconds = sock.gettimeout() or 60.0
        limit, most = self.connections.low_speed_limit, self.connections.most_bytes
        reader = _WatchedReader(response.fp.detach(), limit, seconds, most)
        response.fp = io.BufferedReader(reader)
        return response


class Adapter(HTTPAdapter):
    """Makes requests use *connections*, and keeps up to *size* of them a server or proxy alive."""

    def __init__(self, connections: Connections, size: int) -> None:
        class Connection(_Connection):
            pass

        class SecureConnection(_Connection, HTTPSConnection):
            pass

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = SecureConnection

        Connection.connections = SecureConnection.connections = connections
        self._pools = {"http": Pool, "https": SecurePool}
        super().__init__(pool_connections=size, pool_maxsize=size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the manager of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Give the manager of connections through a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

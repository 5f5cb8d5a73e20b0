"""Sockets below requests: made in bounded time, watched for their speed, ended together.

requests knows a time-out for each address of a name and one for each read. Neither bounds the
whole: a name may have many addresses, its look-up may take long, and a server may send a byte
now and then for ever. This is the one module that imports requests and urllib3 when it is
imported; nothing imports it before the first request.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import queue
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from pyparrot.transport.failures import NoConnection
from pyparrot.transport.policy import Speedometer

_Address = tuple[int, int, int, str, Any]  # as getaddrinfo() gives it
_POLL_SECONDS = 0.1


class TooSlow(OSError):
    """Something did not happen in time."""


class Stale(OSError):
    """A connection that was kept alive turned out to be closed; a new one may do."""


class Connections:
    """The connections of one transport. *low_speed_limit* is in bytes/s."""

    def __init__(self, low_speed_limit: float) -> None:
        self.low_speed_limit = low_speed_limit
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

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
        answers: queue.SimpleQueue[list[_Address] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(_addresses(host, port))
            except Exception as error:
                answers.put(error)

        # Nothing can interrupt getaddrinfo(): its thread is abandoned if it takes too long.
        threading.Thread(target=ask, name=f"address of {host}", daemon=True).start()
        while time.monotonic() < deadline and not self.closed.is_set():
            with contextlib.suppress(queue.Empty):
                found = answers.get(timeout=_POLL_SECONDS)
                if isinstance(found, list):
                    return found
                raise NoConnection(found)
        raise NoConnection(OSError(f"no address for {host} in time"))

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

    def __init__(self, raw: io.RawIOBase, limit: float, seconds: float) -> None:
        self._raw = raw
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

    def _new_conn(self) -> socket.socket:
        seconds = self.timeout if isinstance(self.timeout, (int, float)) else 60.0
        return self.connections.connect(self.host, self.port, seconds, self.socket_options or ())

    def connect(self) -> None:
        super().connect()
        self._reused = False
        self.connections.watch(self.sock)  # TLS has put another object in its place

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
        reader = _WatchedReader(response.fp.detach(), self.connections.low_speed_limit, seconds)
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

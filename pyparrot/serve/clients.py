"""The connections of a server: how long each may take, and which has to go when there are too many.

A client that is slow, by nature or on purpose, keeps one of few places. So each thing that a
connection does has a deadline; and when no place is free, those go that wait for a request and have
waited a while, first of the client that has the most. Then whoever asks is answered.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable

HEAD_SECONDS = 20.0
"""Until when the first request of a connection must be there, complete."""

IDLE_SECONDS = 60.0
"""A connection on which nothing moves for so long is closed, and one without a request."""

LOWEST_SPEED = 1024
"""Bytes a second that a client takes at least, beyond `IDLE_SECONDS`."""

GRACE_SECONDS = 1.0
"""For so long a connection may wait for a request however many others want its place."""

SLOW_SECONDS = 60.0
"""An answer that takes longer may be ended if its client has most of the places, and all are taken.
"""

_MOST_OF_ONE = 0.75
_AT_ONCE = 16


class _Connection:
    """What is known of a connection: whose it is, since when it waits or is answered."""

    def __init__(self, client: str, now: float) -> None:
        self.client = client
        self.waits = True
        self.since = now
        self.deadline = now + HEAD_SECONDS


class Clients:
    """The connections that are open. Any thread may tell what becomes of one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[socket.socket, _Connection] = {}

    def add(self, connection: socket.socket, client: str) -> None:
        """*connection* is open, from the host *client*; its first request is awaited."""
        with self._lock:
            self._open[connection] = _Connection(client, time.monotonic())

    def remove(self, connection: socket.socket) -> None:
        """*connection* is closed."""
        with self._lock:
            self._open.pop(connection, None)

    def awaits_request(self, connection: socket.socket) -> None:
        """An answer was sent on *connection*: the next request is awaited."""
        self._note(connection, waits=True, seconds=IDLE_SECONDS)

    def is_answered(self, connection: socket.socket, size: int = 0) -> None:
        """A request has come on *connection*; so many bytes are sent to answer it."""
        self._note(connection, waits=False, seconds=IDLE_SECONDS + size / LOWEST_SPEED)

    def _note(self, connection: socket.socket, waits: bool, seconds: float) -> None:
        with self._lock:
            known = self._open.get(connection)
            if known is not None:
                now = time.monotonic()
                known.since = known.since if not waits and not known.waits else now
                known.waits = waits
                known.deadline = now + seconds

    def end_late(self) -> None:
        """End the connections whose deadline has passed."""
        now = time.monotonic()
        with self._lock:
            _end(each for each, known in self._open.items() if known.deadline < now)

    def end_all(self) -> None:
        """End all connections."""
        with self._lock:
            _end(self._open)

    def make_room(self) -> None:
        """End some connections, if there are any that may be ended for the sake of others."""
        now = time.monotonic()
        with self._lock:
            held = Counter(known.client for known in self._open.values())
            waiting = [
                (-held[known.client], known.since, each)
                for each, known in self._open.items()
                if known.waits and known.since + GRACE_SECONDS < now
            ]
            most = _MOST_OF_ONE * len(self._open)
            slow = [
                (0, known.since, each)
                for each, known in self._open.items()
                if known.since + SLOW_SECONDS < now and held[known.client] > most
            ]
            chosen = sorted(waiting, key=lambda item: item[:2])[:_AT_ONCE]
            _end(each for *_, each in chosen or sorted(slow, key=lambda item: item[:2])[:1])


def _end(connections: Iterable[socket.socket]) -> None:
    """End connections; the threads that use them notice, and close them."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

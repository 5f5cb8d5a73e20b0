"""A static HTTP server for a directory of repositories: enough to develop and to test with.

`site` says which URL path names which file, and opens it; `Server` listens and answers. It sends
the cache rules of the official CernVM-FS servers, so that proxies and clients behave in front of
it as they will in production (see ``docs/hosting.md``).

Ranges, validators and conditional requests are 40 lines of our own in `site`, though werkzeug has
them. Measured with 2,000 files of 2 to 4 kB over loopback (kept connections, Python 3.11): this
server takes 140 us of processor time for a request, werkzeug's server with `send_file` 550 us, and
answers 3 to 4 times as many requests a second. werkzeug's functions alone, in this server, would
add 25 to 40 ms to an import that takes 35 ms.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable

from pyparrot import __version__
from pyparrot.errors import PyparrotError, printable
from pyparrot.serve import heads
from pyparrot.serve.clients import IDLE_SECONDS, Clients
from pyparrot.serve.site import Document, Site, byte_range, unchanged

CONNECTION_LIMIT = 128
"""Connections answered at the same time; further ones wait in the kernel's queue."""

_SERVER_ERRNOS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
_LISTEN_HINTS = {
    errno.EADDRINUSE: "choose another with --port",
    errno.EACCES: "choose a port from 1024 up with --port",
    errno.EADDRNOTAVAIL: "--bind takes an address of this host",
    socket.EAI_NONAME: "--bind takes an address of this host",
}


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # 0.9 has no status line: a refusal needs one
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # or the body waits for the acknowledgement of the head
    server: Server
    raw_requestline: bytes

    def handle_one_request(self) -> None:
        """Answer the next request, if one comes in time."""
        super().handle_one_request()
        self.server.clients.awaits_request(self.connection)

    def parse_request(self) -> bool:
        """Read the head of a request; False if it was refused."""
        # For answers to what is refused.
        self.command, self.request_version = "", "HTTP/1.1"
        self.requestline = str(self.raw_requestline, "latin-1").rstrip("\r\n")
        self.close_connection = True
        try:
            heads.check_request_line(self.raw_requestline)
            fields = heads.read_fields(self.rfile)
        except EOFError:
            return False
        except heads.Refused as refused:
            self.send_error(refused.status)
            return False
        self.server.clients.is_answered(self.connection)
        stream, self.rfile = self.rfile, io.BytesIO(fields)
        try:
            if not super().parse_request():
                return False
        finally:
            self.rfile = stream
        if "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            self.close_connection = True  # the body stays unread and would pass for a request
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the base class can't make sense of, or has no method for."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._send_text(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        else:
            self.close_connection = True  # it is unknown where the next request begins
            self._send_text(HTTPStatus(code))

    def do_GET(self) -> None:
        """Send a file, a part of it, the list of repositories, or why not."""
        site = self.server.site
        try:
            names = site.names(self.path)
            found = site.open(names) if names else site.listing()
        except OSError as error:
            self._send_text(_status_of(error))
            return
        if isinstance(found, str):
            self._send_text(HTTPStatus.OK, found)
            return
        with found.file:
            self._send_document(found)

    do_HEAD = do_GET

    def _send_document(self, document: Document) -> None:
        headers = {
            "ETag": document.etag,
            "Last-Modified": document.modified,
            "Cache-Control": f"max-age={document.lifetime}",
            "Accept-Ranges": "bytes",
        }
        if unchanged(self.headers, document):
            self._send_head(HTTPStatus.NOT_MODIFIED, headers)
            return
        status, part = HTTPStatus.OK, self._wanted_part(document)
        if part is None:
            part = range(document.size)
        elif part:
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{document.size}"
        else:
            whole = {"Content-Range": f"bytes */{document.size}"}
            self._send_text(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, **whole)
            return
        headers.update({"Content-Type": "application/x-cvmfs", "Content-Length": str(len(part))})
        self._send_head(status, headers)
        self._send_body(document.file, part)

    def _wanted_part(self, document: Document) -> range | None:
        condition = self.headers.get("If-Range")
        if self.command != "GET" or condition not in (None, document.etag, document.modified):
            return None
        return byte_range(self.headers.get("Range", ""), document.size)

    def _send_body(self, file: io.FileIO, part: range) -> None:
        if self.command != "GET" or not part:
            return
        self.server.clients.is_answered(self.connection, len(part))
        if self.connection.sendfile(file, part.start, len(part)) < len(part):
            self.close_connection = True  # the file has shrunk: only so does the client notice

    def _send_text(self, status: HTTPStatus, text: str | None = None, **headers: str) -> None:
        body = (f"{int(status)} {status.phrase}\n" if text is None else text).encode()
        headers["Content-Type"] = "text/plain; charset=utf-8"
        headers["Content-Length"] = str(len(body))
        headers["Cache-Control"] = "no-cache"  # what is missing may be published next
        self._send_head(status, headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        self.send_header("Server", f"pyparrot/{__version__}")
        self.send_header("Date", self.date_time_string())
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self._log(status, headers.get("Content-Length", "0") if self.command != "HEAD" else "0")
        self.end_headers()

    def _log(self, status: HTTPStatus, size: str) -> None:
        request = self.requestline.rpartition(" HTTP/")[0] or self.requestline
        shown = printable(request.encode("latin-1"))
        self.server.log(f"{self.client_address[0]} {shown} {int(status)} {size}")

    def log_message(self, *_: object) -> None:
        """Say nothing: `_log` has told all that there is about a request."""


def _status_of(error: OSError) -> HTTPStatus:
    if error.errno in _SERVER_ERRNOS:
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return HTTPStatus.FORBIDDEN if isinstance(error, PermissionError) else HTTPStatus.NOT_FOUND


class Server(ThreadingHTTPServer):
    """Serves *directory* from background threads: ``with Server(directory) as server: ...``.

    It listens from its construction on, at a free port if *port* is 0; *log* gets a line for
    each request. `PyparrotError` says why it can't listen or read the directory.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTION_LIMIT
    allow_reuse_port = False  # some Pythons allow it: two servers would share one port

    def __init__(
        self,
        directory: str | bytes | os.PathLike[str],
        host: str = "127.0.0.1",
        port: int = 0,
        prefix: str = "/cvmfs",
        *,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.site = Site(directory, prefix)
        self.log = log
        self._thread: threading.Thread | None = None
        self.clients = Clients()
        """The connections that are open."""

        self._slots = threading.Semaphore(CONNECTION_LIMIT)
        if not 0 <= port <= 65535:
            raise PyparrotError(f"port {port}", "not between 0 and 65535")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.address_family, _, _, _, address = found[0]
            super().__init__(address[:2], _Handler)  # type: ignore[arg-type]
        except OSError as error:
            hint = _LISTEN_HINTS.get(error.errno or 0, "")
            why = error.strerror or str(error)
            raise PyparrotError(_authority(host, port), why, hint) from None
        self._origin = "http://" + _authority(host, self.server_address[1])

    @property
    def url(self) -> str:
        """The URL that the repositories' names follow, without a slash at its end."""
        return self._origin + self.site.url_path()

    def repository_urls(self) -> list[str]:
        """The URLs of the repositories that are there now."""
        return [self._origin + self.site.url_path(name) for name in self.site.repositories()]

    def start(self) -> Server:
        """Answer requests from now on; nothing happens if it does already."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End all connections and give the port back; the server can't be started again."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()
        self.clients.end_all()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def server_bind(self) -> None:
        """Bind, without asking the name service for this host's full name as the base does."""
        socketserver.TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; `OSError`, and it stays in the queue, while there are too many."""
        if not self._slots.acquire(timeout=0.1):  # not for long: stop() has to wait for this
            self.clients.make_room()
            raise BlockingIOError(errno.EAGAIN, "too many connections")
        try:
            connection, address = super().get_request()
        except OSError:
            self._slots.release()
            raise
        self.clients.add(connection, str(address[0]))
        return connection, address

    def service_actions(self) -> None:
        """End connections that take too long; called ten times a second."""
        self.clients.end_late()

    def close_request(self, request: Any) -> None:
        """Close a connection and make room for another one."""
        self.clients.remove(request)
        super().close_request(request)
        self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about clients that have gone; anything else is a mistake of ours."""
        error = sys.exc_info()[1]
        # A thread that can't be started is a RuntimeError; others are mistakes of ours.
        if not isinstance(error, (OSError, MemoryError)) and "new thread" not in str(error):
            super().handle_error(request, client_address)


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(server: Server) -> int:
    """Start *server*, print the repositories' URLs, and serve until SIGINT or SIGTERM comes.

    Gives the signal. Only for the main thread of a program.
    """
    awaited = {signal.SIGINT, signal.SIGTERM}
    # Before the first thread starts: all inherit it, and no signal interrupts anything midway.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        with server:
            urls = server.repository_urls()
            print("".join(url + "\n" for url in urls), end="", flush=True)
            if not urls:
                print(f"pyparrot: no repository yet; waiting at {server.url}", file=sys.stderr)
            return signal.sigwait(awaited)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def log_to_stderr(line: str) -> None:
    """Log to stderr, in one piece; a closed stderr is no error."""
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")

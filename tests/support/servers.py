"""Servers on the loopback: ours, and nginx with the configuration of docs/hosting.md."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pyparrot import serve

NGINX = "/usr/sbin/nginx"
HOSTING = Path(__file__).parents[2] / "docs" / "hosting.md"
LIMIT = 30.0


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Site(NamedTuple):
    """A server that runs, and the directory it serves."""

    port: int
    directory: Path

    def ask(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        with contextlib.closing(connection):
            return ask_over(connection, path, headers, method)

    def raw(self, request: bytes) -> bytes:
        """Send *request* as it is and read until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), LIMIT) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


def ask_over(
    connection: http.client.HTTPConnection,
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
) -> Answer:
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


@contextlib.contextmanager
def served_by_pyparrot(directory: Path) -> Iterator[Site]:
    with serve.Server(directory) as server:
        yield Site(server.server_address[1], directory)


@contextlib.contextmanager
def served_by_nginx(directory: Path) -> Iterator[Site]:
    """Run nginx as we are, in the foreground, with all that it writes beside *directory*."""
    if not os.path.exists(NGINX):
        pytest.skip(f"no {NGINX}: apt-get install nginx")
    home = directory.parent.parent
    # nginx takes over a listening socket as it does in its upgrades: no race for a free port.
    with contextlib.ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            configuration = home / "nginx.conf"
            configuration.write_text(nginx_configuration(home, directory, port))
            process = stack.enter_context(
                subprocess.Popen(
                    [NGINX, "-p", home, "-c", configuration, "-e", home / "error.log"],
                    env={"NGINX": f"{listening.fileno()};"},
                    pass_fds=[listening.fileno()],
                    stdin=subprocess.DEVNULL,
                )
            )
        try:
            yield Site(port, directory)
        finally:
            process.terminate()  # not kill(): the master has to end its worker
            process.wait(LIMIT)
            print((home / "error.log").read_text())


def nginx_configuration(home: Path, directory: Path, port: int) -> str:
    match = re.search(r"^```nginx\n(.*?)^```$", HOSTING.read_text(), re.MULTILINE | re.DOTALL)
    assert match, "docs/hosting.md has no nginx configuration"
    snippet = match[1]
    for documented, ours in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("root /srv;", f'root "{directory.parent}";'),
    ):
        assert snippet.count(documented) == 1
        snippet = snippet.replace(documented, ours)
    temporary = "".join(
        f'    {name}_temp_path "{home}/{name}";\n'
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # A worker of root would be "nobody", who may not enter our directory.
    user = "user root;" if os.geteuid() == 0 else ""
    return (
        f'daemon off;\n{user}\npid "{home}/pid";\nevents {{ }}\n'
        f'http {{\n    access_log "{home}/access.log";\n{temporary}{snippet}}}\n'
    )

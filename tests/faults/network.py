"""Servers that misbehave in every way, at random requests."""

from __future__ import annotations

import random
import threading
import urllib.parse
from pathlib import Path

from support.faulty_server import (
    Behaviour,
    FaultyServer,
    Handler,
    after,
    body,
    chunked,
    garbage,
    hang_up,
    last_on_connection,
    redirect,
    reset,
    silent,
    slow_body,
    stalled,
    status,
    truncated,
)

from faults import outcome
from faults.faults import Fault, Setting
from faults.outcome import Outcome


def _flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content or b"?")
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _with_headers(content: bytes, count: int) -> Behaviour:
    headers = {f"X_{number}": "y" * 500 for number in range(count)}
    return lambda handler: handler.send(200, content, **headers)


def misbehaviour(content: bytes, chance: random.Random) -> tuple[str, Behaviour]:
    """A wrong way to answer with *content*, by chance."""
    cut = chance.randrange(len(content) + 1)
    codes = (204, 206, 301, 400, 403, 404, 407, 408, 410, 416, 429, 500, 502, 503, 504, 999)
    kinds: dict[str, Behaviour] = {
        "status": status(chance.choice(codes)),
        "redirect": redirect(chance.choice(("/elsewhere", "http://127.0.0.1:1/x", "file:///etc"))),
        "reset": reset,
        "hang up": hang_up,
        "garbage": garbage,
        "silent": silent,
        "stalled": stalled(content[:cut]),
        "truncated": truncated(content[:cut], len(content) - cut + 1),
        "short": body(content[:cut]),
        "empty": body(b""),
        "longer": body(content + chance.randbytes(chance.randint(1, 5000))),
        "flipped": body(_flipped(content, chance)),
        "other content": body(chance.randbytes(chance.randrange(100_000))),
        "page": body(b"<html>Please log in</html>", Content_Type="text/html"),
        "length": body(content, Content_Length=chance.choice(("-1", "x", "1e3", "9" * 40))),
        "headers": _with_headers(content, chance.randint(1, 300)),
        "encoding": body(content, Content_Encoding=chance.choice(("gzip", "deflate", "br"))),
        "chunks": chunked(content[:cut], content[cut:], end=chance.random() < 0.5),
        "slow": slow_body(content, max(1, len(content) // 20), 0.05),
        "late": after(chance.random() * 3, body(content)),
        "closed": last_on_connection(body(content)),
    }
    name = chance.choice(sorted(kinds))
    return name, kinds[name]


class Network(Fault):
    """A cold cache, and a server each of whose answers may be a wrong one."""

    name = "network"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._files = setting.world.home / "web"

    def try_in(self, scratch: Path, chance: random.Random) -> tuple[str, Outcome]:
        """See `Fault.try_in`."""
        share = chance.choice((0.02, 0.1, 0.3, 1.0))
        lock = threading.Lock()
        happened: list[str] = []

        def behave(handler: Handler) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(handler.path).path)
            try:
                content = (self._files / path.lstrip("/")).read_bytes()
            except OSError:
                handler.send(404, b"absent\n")
                return
            with lock:
                kind, behaviour = "", body(content)
                if chance.random() < share:
                    kind, behaviour = misbehaviour(content, chance)
                    happened.append(kind)
            behaviour(handler)

        cache = scratch / "cache"
        with FaultyServer(default=behave) as server:
            url = f"{server.url}/cvmfs/{self.setting.world.fqrn}"
            ended = self.setting.run(cache, url=url, progress=lambda: server.count)
        found = outcome.judge(ended, self.setting.native)
        fault = f"{share:.0%} of the answers: {', '.join(sorted(set(happened)))}"
        return fault, self.then_healed(found, cache)

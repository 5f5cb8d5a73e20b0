"""The chain of servers, without a network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyparrot.errors import PyparrotError
from pyparrot.transport.servers import ServerChain, parse_servers

A, B, C = "http://a/cvmfs/x", "http://b/cvmfs/x", "http://c/cvmfs/x"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        (A, (A,)),
        (f"{A};{B}", (A, B)),
        (f" {A} ;; {B}/ ; ", (A, B)),
        (f"{A};{B};{A}/", (A, B)),
        ("https://h:8000/x;http://[::1]:80", ("https://h:8000/x", "http://[::1]:80")),
        ("http://10.0.0.1", ("http://10.0.0.1",)),
    ],
)
def test_parse(text: str, servers: tuple[str, ...]) -> None:
    assert parse_servers(text) == servers


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ; ;",
        "host",
        "host:80",
        "ftp://host/",
        "file:///srv",
        "http://",
        "http:///x",
        "http://h:port",
        "http://h:0",
        "http://h:70000",
        "http://h/?x",
        "http://h/#x",
        "http://h h/",
        "http://h\n/",
        "http://é/",
        "http://[::1",
        "http://a|b/",
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(PyparrotError):
        parse_servers(text)


@given(st.text() | st.lists(st.sampled_from([A, B, ";", " ", "[", "://", "@", "%"])).map("".join))
def test_parse_never_fails_otherwise(text: str) -> None:
    try:
        servers = parse_servers(text)
    except PyparrotError as error:
        assert "\n" not in str(error)  # noqa: PT017 (both ends are fine)
    else:
        assert servers
        assert parse_servers(";".join(servers)) == servers


def test_chain_stays_where_it_was_switched_to_and_wraps() -> None:
    chain = ServerChain([A, B, C], 0, clock=Clock())
    assert chain.active == A
    chain.leave(A)
    assert chain.active == B
    chain.leave(B)
    chain.leave(C)
    assert chain.active == A


def test_a_late_failure_of_one_that_was_left_changes_nothing() -> None:
    chain = ServerChain([A, B, C], 0, clock=Clock())
    chain.leave(A)
    chain.leave(A)
    assert chain.active == B


def test_a_request_gets_each_server_once() -> None:
    chain = ServerChain([A, B, C], 0, clock=Clock())
    chain.leave(A)
    assert chain.choose([]) == B
    assert chain.choose([B]) == C
    assert chain.choose([B, C]) == A
    assert chain.choose([A, B, C]) is None
    assert chain.active == B  # one request's choice is not everybody's


def test_chain_returns_to_the_first_in_time() -> None:
    clock = Clock()
    chain = ServerChain([A, B, C], 100, clock=clock)
    chain.leave(A)
    clock.now += 60
    chain.leave(B)  # does not start the time anew
    clock.now += 39
    assert chain.active == C
    clock.now += 1
    assert chain.choose([]) == A
    chain.leave(A)
    clock.now += 99
    assert chain.active == B


def test_chain_without_reset_stays_for_ever() -> None:
    clock = Clock()
    chain = ServerChain([A, B], 0, clock=clock)
    chain.leave(A)
    clock.now += 1e9
    assert chain.active == B


def test_wrapping_ends_the_time_away_from_the_first() -> None:
    clock = Clock()
    chain = ServerChain([A, B], 100, clock=clock)
    chain.leave(A)
    chain.leave(B)
    clock.now += 90
    chain.leave(A)
    clock.now += 90
    assert chain.active == B

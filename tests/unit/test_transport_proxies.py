"""Groups of proxies, without a network."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyparrot.errors import PyparrotError
from pyparrot.transport.proxies import DIRECT, ProxyChain, ProxyGroups

A, B, C, D = (f"http://{name}:3128" for name in "abcd")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def chain_of(text: str, reset_after: float = 0, clock: Clock | None = None) -> ProxyChain:
    groups = ProxyGroups.parse(text)
    return ProxyChain(groups, reset_after, random=Random(1), clock=clock or Clock())


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("DIRECT", ((DIRECT,),)),
        (f"{A}|{B};{C};DIRECT", ((A, B), (C,), (DIRECT,))),
        (f" {A} | {B} ;; | ; direct ", ((A, B), (DIRECT,))),
        ("a:3128|10.0.0.1:80", ((A, "http://10.0.0.1:80"),)),
        ("http://a;https://b/", (("http://a:1080",), ("https://b:443",))),
        ("http://user:word@a:1/", (("http://user:word@a:1",),)),
        ("http://[::1]:3128;http://[::1]", (("http://[::1]:3128",), ("http://[::1]:1080",))),
    ],
)
def test_parse(text: str, groups: tuple[tuple[str, ...], ...]) -> None:
    assert ProxyGroups.parse(text) == ProxyGroups(groups)


def test_fallback_follows_and_forbids_direct() -> None:
    assert ProxyGroups.parse(f"{A}|DIRECT;DIRECT", f"{B};DIRECT").groups == ((A,), (B,))
    assert ProxyGroups.parse("DIRECT", B).groups == ((B,),)
    assert ProxyGroups.parse("DIRECT", " ; DIRECT").groups == ((DIRECT,),)
    assert ProxyGroups.parse("", B).groups == ((B,),)


@pytest.mark.parametrize("text", ["", " ;|; ", "auto", "ftp://x", "a b", "http://", "x:99999", "é"])
def test_parse_refuses(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    with pytest.raises(PyparrotError):
        ProxyGroups.parse(text)


def test_auto_is_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "a:3128")
    assert ProxyGroups.parse(f"auto|{B};DIRECT").groups == ((A, B), (DIRECT,))
    for nonsense in ("", " ", "auto", "ftp://x"):
        monkeypatch.setenv("http_proxy", nonsense)
        with pytest.raises(PyparrotError):
            ProxyGroups.parse("auto")


PIECES = st.lists(st.sampled_from([A, B, DIRECT, ";", "|", " ", "@", "[", "\t", ":1"])).map("".join)


@given(st.text() | PIECES, st.text() | PIECES)
def test_parse_never_fails_otherwise(text: str, fallback: str) -> None:
    try:
        found = ProxyGroups.parse(text, fallback)
    except PyparrotError:
        return
    assert found.groups
    assert all(found.groups)
    assert ProxyGroups.parse(str(found)) == found


def test_the_load_is_shared_between_clients_but_a_client_stays() -> None:
    groups = ProxyGroups.parse(f"{A}|{B};{C}")
    chains = [ProxyChain(groups, 0, random=Random(seed)) for seed in range(200)]
    counts = Counter(chain.active for chain in chains)
    assert set(counts) == {A, B}
    assert min(counts.values()) > 60
    assert {chains[0].choose([]) for _ in range(50)} == {chains[0].active}


def test_burned_proxies_then_the_next_group_then_around() -> None:
    chain = chain_of(f"{A}|{B};{C};{D}")
    first = chain.active
    chain.burn(first)
    second = chain.active
    assert {first, second} == {A, B}
    chain.burn(second)
    assert chain.active == C
    chain.burn(C)
    chain.burn(C)  # another request's late failure
    assert chain.active == D
    chain.burn(D)
    assert chain.active in (A, B)


def test_a_request_gets_each_proxy_once() -> None:
    chain = chain_of(f"{A}|{B};{C}")
    failed: list[str] = []
    while (proxy := chain.choose(failed)) is not None:
        failed.append(proxy)
    assert set(failed[:2]) == {A, B}
    assert failed[2:] == [C]


def test_all_is_forgotten_in_time() -> None:
    clock = Clock()
    chain = chain_of(f"{A};{B};{C}", 100, clock)
    chain.burn(A)
    clock.now += 60
    chain.burn(B)
    clock.now += 39
    assert chain.active == C
    clock.now += 1
    assert chain.active == A


def test_one_burned_in_the_first_group_is_drawn_again_in_time() -> None:
    clock = Clock()
    chain = chain_of(f"{A}|{B}", 100, clock)
    for _ in range(100):
        burned = chain.active
        chain.burn(burned)
        clock.now += 99
        assert chain.active != burned
        clock.now += 1
        if chain.active == burned:
            return
    raise AssertionError("it is never drawn again")


def test_without_reset_it_stays_for_ever() -> None:
    clock = Clock()
    chain = chain_of(f"{A};{B}", 0, clock)
    chain.burn(A)
    clock.now += 1e9
    assert chain.active == B


def test_reset_by_hand() -> None:
    chain = chain_of(f"{A};{B}")
    chain.burn(A)
    chain.reset()
    assert chain.active == A


@given(st.lists(st.lists(st.sampled_from([A, B, C, D, DIRECT]), min_size=1), min_size=1), st.data())
def test_the_active_one_is_always_one_of_them(groups: list[list[str]], data: st.DataObject) -> None:
    clock = Clock()
    known = ProxyGroups(tuple(map(tuple, groups)))
    chain = ProxyChain(known, 50, random=Random(2), clock=clock)
    members = sorted({proxy for group in groups for proxy in group})
    for _ in range(10):
        chain.burn(data.draw(st.sampled_from([chain.active, A])))
        clock.now += data.draw(st.sampled_from([0, 60]))
        assert chain.active in members
        failed = data.draw(st.sets(st.sampled_from(members)))
        chosen = chain.choose(failed)
        assert (chosen is None) == (failed == set(members))
        assert chosen not in failed

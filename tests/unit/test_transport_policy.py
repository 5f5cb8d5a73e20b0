"""Back-off and the low-speed rule."""

from __future__ import annotations

from random import Random

from pyparrot.transport.policy import Policy, Speedometer, pauses


def test_pauses_are_random_double_and_are_capped() -> None:
    policy = Policy(retries=6, backoff_init=2, backoff_max=10)
    firsts = []
    for seed in range(100):
        found = list(pauses(policy, Random(seed)))
        assert len(found) == 6
        assert all(after == min(2 * before, 10) for before, after in zip(found, found[1:]))
        firsts.append(found[0])
    assert 0 <= min(firsts) < 0.2
    assert 1.8 < max(firsts) <= 2


def test_no_retries_no_pauses() -> None:
    assert not list(pauses(Policy(retries=0), Random(1)))


def test_a_short_silence_is_fine() -> None:
    meter = Speedometer(1000, 5)
    assert not meter.too_slow(1, 4.9)
    assert not meter.too_slow(10_000, 0.2)


def test_dripping_is_not() -> None:
    meter = Speedometer(1000, 5)
    assert [meter.too_slow(1, 1) for _ in range(5)] == [False] * 4 + [True]


def test_dripping_after_a_good_start_is_found_too() -> None:
    meter = Speedometer(1000, 5)
    assert not meter.too_slow(1_000_000, 0.1)
    found = [meter.too_slow(1, 1) for _ in range(10)]
    assert found.index(True) == 9


def test_just_fast_enough() -> None:
    meter = Speedometer(1000, 5)
    assert not any(meter.too_slow(1000, 1) for _ in range(100))

"""A few seeds of the fuzzer of system calls (``tools/fuzz calls``): always the same ones."""

from __future__ import annotations

import pytest
from fuzz.calls import STEPS, compare, made_setting
from fuzz.explained import EXPLAINED, explanation
from support.runs import EVERYTHING, SHIMS

SEEDS = 400 if EVERYTHING else 20


@pytest.mark.parametrize("shim", SHIMS)
def test_random_calls(shim: str) -> None:
    with made_setting(shim) as setting:
        if not setting.world.can_mount:
            pytest.skip("no file systems can be mounted here to compare with")
        made = setting.compare(1, SEEDS)
    assert made.reports == []
    # Some end early: behind an explained difference, or because they took too long.
    assert made.seeds == SEEDS
    assert made.whole >= SEEDS * 3 // 4, made
    assert made.steps >= SEEDS * STEPS * 3 // 4, made


# How it compares


def lines(*calls: str, end: str = "end 0") -> list[str]:
    return ["seed 1", *(f"{number} {call}" for number, call in enumerate(calls, 1)), end]


def test_equal_lines_are_compared_to_their_end() -> None:
    same = lines('stat "/x" = 0', "fstat 3 = EBADF")
    assert compare(same, same) == ([], 4, 1, 1)


def test_a_seed_that_was_ended_by_a_signal_is_not_whole() -> None:
    same = lines('stat "/x" = 0', end="end 0xe")
    assert compare(same, same) == ([], 3, 0, 1)


def test_a_seed_that_stops_on_one_side_is_a_difference() -> None:
    native = lines('stat "/x" = 0', "fstat 3 = 0")
    [report] = compare(native, native[:2]).reports
    assert "natively: 2 fstat 3 = 0\nin a run: \n" in report


def test_an_explained_error_goes_on_and_a_success_does_not() -> None:
    native = lines('access "/at/fifo" 2 = EACCES', 'rmdirat 3 "/at" = EACCES', 'stat "/x" = 0')
    run = lines('access "/at/fifo" 2 = EACCES', 'rmdirat 3 "/at" = EBUSY', 'stat "/x" = 0')
    assert compare(native, run) == ([], 5, 1, 1)
    run = lines('access "/at/fifo" 2 = 0', 'rmdirat 3 "/at" = 0', 'stat "/x" = EIO')
    assert compare(native, run) == ([], 1, 0, 1)


@pytest.mark.parametrize(
    ("call", "native", "run"),
    [
        # Each is near to something that is explained.
        ('access "/at/a/accessible" 2', "EACCES", "0"),
        ('access "/at/a/fifo" 1', "EACCES", "0"),
        ('access "/at/a/fifo" 2', "EACCES", "ENOENT"),
        ('open "/at/a/fifo" 0x800 0', "EACCES", "3 flags 0x8800 0"),
        ('open "/at/a/fifo/x" 0x802 0', "EACCES", "ENXIO"),
        ('readlinkat 4 "/at/a/link" 4096', "ELOOP", "ENOENT"),
        ('unlinkat 4 "/at/a/file"', "EROFS", "ENOENT"),
        ('linkat 4 "a" 5 "b" 0', "EROFS", "ENOENT"),
        ('linkat 4 "a" 5 "b" 0', "0", "ENOENT"),
        ('renameat 4 "a" 5 "b"', "0", "EBUSY"),
        ('renameat 4 "a" 5 "b"', "EACCES", "EBUSY"),
        ('fork execveat -100 "bin/x" 0', "0x200 said 0 0", "0 said 3 abc"),
    ],
)
def test_what_is_near_to_a_known_difference_is_not_explained(
    call: str, native: str, run: str
) -> None:
    assert explanation(f"7 {call} = {native}", f"7 {call} = {run}") is None


def test_each_explanation_says_why() -> None:
    for each in EXPLAINED:
        assert each.why
        assert each.calls
        for wanted, found in each.outcomes:
            assert ".*" not in {wanted, found}

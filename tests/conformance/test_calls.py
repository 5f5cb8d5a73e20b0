"""Every system call gives under pyparrot what it gives natively: the cases are in ``cases/``.

Each is run on real file systems, and through each engine on the published copy of them; what the
calls return, write and refuse has to be the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel import DECIDED, YOUNG
from known_differences import KNOWN_DIFFERENCES, WITH_SHIM
from program import Case, read_cases
from world import World, make_world

ENGINES = ["notify", "notify+shim"]

TABLE = Path(__file__).parent / "cases"
CASES = [case for file in sorted(TABLE.glob("*.txt")) for case in read_cases(file)]

Outcomes = dict[str, list[str]]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with make_world(tmp_path_factory.mktemp("w")) as made:
        yield made


@pytest.fixture(scope="session")
def native(world: World) -> Outcomes:
    return world.native(CASES)


@pytest.fixture(scope="session", params=ENGINES)
def under_pyparrot(world: World, native: Outcomes, request: pytest.FixtureRequest) -> Outcomes:
    if "+shim" in request.param:  # what is not at hand yet is beyond it
        world.under_pyparrot(CASES, "notify")
    return world.under_pyparrot(CASES, request.param)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_call(
    case: Case, native: Outcomes, under_pyparrot: Outcomes, request: pytest.FixtureRequest
) -> None:
    ours = under_pyparrot[case.name]
    with_shim = "notify+shim" in request.node.name
    known = {**KNOWN_DIFFERENCES, **WITH_SHIM} if with_shim else KNOWN_DIFFERENCES
    if case.text in known:
        mark = pytest.mark.xfail(reason=known[case.text], strict=True)
        request.applymarker(mark)
    if case.expected is not None:
        assert f"{ours[-1]} ".partition(" ")[2].startswith(f"{case.expected} "), ours
    if case.name in native:
        call, _, said = native[case.name][-1].partition(" ")
        if said == "ENOSYS":
            assert call in YOUNG, "this is no call at all"
            pytest.skip("the kernel here does not have this call")
        assert ours == native[case.name]
    elif case.expected is None:
        pytest.skip("no file systems can be mounted here to compare with")


def test_every_call_is_tried() -> None:
    steps = [step.strip() for case in CASES for step in case.steps.split(";")]
    tried = {re.sub(r"^[a-z]+=", "", step).split()[0] for step in steps}
    assert set(DECIDED) <= tried


def test_every_known_difference_is_a_case() -> None:
    assert {*KNOWN_DIFFERENCES, *WITH_SHIM} <= {case.text for case in CASES}


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)

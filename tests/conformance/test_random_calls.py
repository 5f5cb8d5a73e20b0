"""A few seeds of the fuzzer of system calls (``tools/fuzz calls``): always the same ones."""

from __future__ import annotations

import pytest
from fuzz.calls import made_setting
from support.runs import EVERYTHING, SHIMS

SEEDS = 400 if EVERYTHING else 20


@pytest.mark.parametrize("shim", SHIMS)
def test_random_calls(shim: str) -> None:
    with made_setting(shim) as setting:
        if not setting.world.can_mount:
            pytest.skip("no file systems can be mounted here to compare with")
        assert list(setting.differences(1, SEEDS)) == []

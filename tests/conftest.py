"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings
from support import Publish, run_publish, runs

pytest_plugins = ["support.publishing", "support.random_trees"]

# Users have output buffered, and what is left in a buffer at the end is a case of its own.
os.environ.pop("PYTHONUNBUFFERED", None)

# A job in the background of a script is started with it ignored, and tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a machine that has other things to do.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")

_SAMPLES = Path(__file__).parents[2] / "shared" / "fixtures"


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration directory of the test's own: no test sees or touches the user's."""
    directory = tmp_path / "config-home"
    directory.mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory))
    return directory


@pytest.fixture
def publish() -> Publish:
    """``publish("sync", FQRN, directory, status=0)`` runs the command, in this process."""
    return run_publish


@pytest.fixture(scope="session")
def fixtures_directory() -> Path:
    """The official sample repositories; tests that need them are skipped where they are not."""
    named = os.environ.get("PYPARROT_FIXTURES")
    directory = Path(named) if named else _SAMPLES
    if not directory.is_dir():
        pytest.skip("the official sample repositories are not here (set PYPARROT_FIXTURES)")
    return directory


@pytest.fixture(params=runs.SHIMS, ids=lambda choice: f"shim={choice}")
def shim(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes two tests of one: in runs, programs answer for themselves what they can, and never."""
    choice: str = request.param
    monkeypatch.setattr(runs, "shim", choice)
    return choice

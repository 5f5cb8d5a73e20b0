"""Where the cache is, and how large it may become."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import run_pyparrot

from pyparrot.cache.directory import (
    DEFAULT_QUOTA,
    choose_directory,
    configured_quota,
    default_directory,
    quota_bytes,
)
from pyparrot.config import load
from pyparrot.errors import PyparrotError


@pytest.mark.parametrize(
    ("megabytes", "size"),
    [(None, 4000 << 20), (1, 1 << 20), (4000, 4000 << 20), (0, 0), (-1, 0), (-4000, 0)],
)
def test_quota(megabytes: int | None, size: int) -> None:
    """As in CernVM-FS, what is not positive is no limit."""
    assert quota_bytes(megabytes) == size


@pytest.mark.parametrize(
    ("text", "size"),
    [(None, DEFAULT_QUOTA), ("", DEFAULT_QUOTA), ("5", 5 << 20), ("0", 0), ("-1", 0)],
)
def test_configured_quota(
    text: str | None, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CVMFS_QUOTA_LIMIT", raising=False)
    options = {} if text is None else {"CVMFS_QUOTA_LIMIT": text}
    configuration = load("any.invalid", options, etc=str(tmp_path))
    assert configured_quota(configuration) == size


def test_a_quota_that_is_no_number(tmp_path: Path) -> None:
    configuration = load("any.invalid", {"CVMFS_QUOTA_LIMIT": "much"}, etc=str(tmp_path))
    with pytest.raises(PyparrotError, match="not a whole number"):
        configured_quota(configuration)


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_no_limit_is_shown(limit: str, tmp_path: Path) -> None:
    words = [
        "cache",
        "info",
        "--cache",
        str(tmp_path / "cache"),
        "-o",
        f"CVMFS_QUOTA_LIMIT={limit}",
    ]
    assert "quota         none\n" in run_pyparrot(words).out


def test_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_directory() == "/caches/pyparrot"
    assert choose_directory("/given", "/configured") == "/given"
    assert choose_directory(None, "/configured") == "/configured"
    assert choose_directory("", "/configured") == "/configured"
    assert choose_directory(None, None) == choose_directory(None, "") == "/caches/pyparrot"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/x")
    assert default_directory() == "/home/x/.cache/pyparrot"

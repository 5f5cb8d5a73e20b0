"""``publish sync --dry-run`` says what the publication then does."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support import run_publish

FQRN = "sw.example.org"
COUNTS = re.compile(r"(\d+) added, (\d+) changed, (\d+) removed")


def pair(source: Path, one: str, two: str, content: bytes = b"the same") -> None:
    """Two names of one file, as old as all others."""
    (source / one).write_bytes(content)
    os.utime(source / one, ns=(1, 1))
    os.link(source / one, source / two)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "file").write_bytes(b"content")
    pair(source, "a", "b")
    pair(source, "c", "d.txt")
    run_publish("init", FQRN, "--storage", tmp_path / "srv")
    run_publish("sync", FQRN, source)
    return source


def regroup(source: Path) -> None:
    """Other names are links of each other; nothing else tells."""
    before = os.stat(source)
    for name in ("a", "b", "c", "d.txt"):
        (source / name).unlink()
    pair(source, "a", "c")
    pair(source, "b", "d.txt")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(source: Path) -> None:
    """A directory becomes a file, a file a directory, and a name is new."""
    (source / "d" / "file").unlink()
    (source / "d").rmdir()
    (source / "d").write_bytes(b"no directory any more")
    (source / "a").unlink()
    (source / "a").mkdir()
    (source / "a" / "new").touch()


def touch(source: Path) -> None:
    """The content is the same, the time is not."""
    os.utime(source / "d" / "file", ns=(5, 5))


def chmod(source: Path) -> None:
    (source / "d").chmod(0o700)


@pytest.mark.parametrize("change", [regroup, replace, touch, chmod, lambda source: None])
@pytest.mark.parametrize("options", [(), ("--checksum",)])
def test_a_dry_run_counts_what_the_publication_changes(
    source: Path, change: Callable[[Path], None], options: tuple[str, ...]
) -> None:
    change(source)
    shown = run_publish("sync", FQRN, source, "--dry-run", *options).out
    done = run_publish("sync", FQRN, source, *options).out
    would = COUNTS.search(shown)
    assert would is not None
    lines = [line.split(" ")[0] for line in shown.splitlines()[:-1]]
    assert [lines.count(what) for what in ("added", "changed", "removed")] == [
        *map(int, would.groups())
    ]
    did = COUNTS.search(done)
    assert (did.groups() if did else ("0", "0", "0")) == would.groups()


def test_regrouped_links_are_changed(source: Path) -> None:
    regroup(source)
    shown = run_publish("sync", FQRN, source, "--dry-run").out
    assert [line for line in shown.splitlines() if line.startswith("changed")] == [
        "changed /a",
        "changed /b",
        "changed /c",
        "changed /d.txt",
    ]

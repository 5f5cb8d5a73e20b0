"""A run on a disk that has hardly any room left: programs run without the shim then."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = 4096
PYPARROT = f"{shlex.quote(sys.executable)} -m pyparrot"

SCRIPT = """
mount -t tmpfs -o size=64k none "$CACHE" || exit 77
for size in $SIZES; do
    mount -o remount,size=$size "$CACHE" || exit 77
    $PYPARROT run --cache "$CACHE/c" -v --log "$LOG" -- sh -c 'echo ran' >"$OUT" 2>&1
    echo "$size $? $(head -c 300 "$OUT" | tr '\\n' ' ')"
    mount -o remount,size=100m "$CACHE"
    $PYPARROT cache verify --cache "$CACHE/c" --quiet && echo sound
    $PYPARROT run --cache "$CACHE/c" -- true && ls "$CACHE/c/objects/"*/*S.* | wc -l
    rm -rf "$CACHE/c"
done
"""


def test_what_does_not_fit_is_not_there(tmp_path: Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("takes root, and a mount namespace")
    place = tmp_path / "cache"
    place.mkdir()
    log = tmp_path / "log"
    sizes = range(50, 900, 85)
    environment = {
        **os.environ,
        "CACHE": str(place),
        "LOG": str(log),
        "OUT": str(tmp_path / "out"),
        "PYPARROT": PYPARROT,
        "SIZES": " ".join(str(number * PAGE) for number in sizes),
    }
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("no file system in memory to be had")
    lines = done.stdout.splitlines()
    assert len(lines) == 3 * len(sizes), done
    assert {line.partition(" ")[2] for line in lines[::3]} == {"0 ran "}, lines
    assert set(lines[1::3]) == {"sound"}
    assert set(lines[2::3]) == {"2"}  # a copy, and what it is of
    assert "shim: " in log.read_text()
    assert "No space left" in log.read_text()

"""The tree that the job looks at: small enough for hundreds of runs, with a file of each kind."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

FQRN = "faults.example.org"
_LARGE = 3 << 20  # is cut into chunks
_PROGRAM = """
#include <stdio.h>
int main(int count, char **words)
{
    printf("%d words, the last is %s\\n", count, words[count - 1]);
    return 0;
}
"""


def fill(top: Path) -> None:
    """Write it below *top*: the same each time."""
    source = random.Random(5)
    for number in range(4):
        directory = top / f"dir{number}" / "below" / "deeper"
        directory.mkdir(parents=True)
        for name in ("inner", "data", "empty"):
            size = 0 if name == "empty" else source.randrange(1, 20_000)
            (directory / name).write_bytes(source.randbytes(size))
        (directory / "link").symlink_to("../../below/deeper/data")
        (top / f"dir{number}" / ".cvmfscatalog").touch()
        os.link(directory / "data", directory / "hard")
    (top / "large").write_bytes(source.randbytes(_LARGE))
    (top / "large-text").write_bytes(b"one line of many\n" * 100_000)
    programs = top / "bin"
    programs.mkdir()
    (programs / "script").write_text('#!/bin/sh\necho "script $# $2"\n')
    (programs / "nested").write_text("#!/usr/bin/env sh\ncat /dev/null\necho nested\n")
    (programs / "program.c").write_text(_PROGRAM)
    for name, options in (("program", ()), ("static", ("-static",))):
        subprocess.run(["cc", "-o", programs / name, programs / "program.c", *options], check=True)
    for name in ("script", "nested"):
        (programs / name).chmod(0o755)
    (programs / "program.c").rename(top / "program.c")

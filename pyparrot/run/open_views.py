"""Which views tasks have: as working directories, as open files, or as the programs they run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def names_in_use(views: str) -> set[str]:
    """The names in the directory *views* in which any process of this user's has something open.

    What is on its way in a message from one process to another is not seen.
    """
    top = views.rstrip("/") + "/"
    found = set()
    for link in _links():
        with contextlib.suppress(OSError):
            target = os.readlink(link)
            if target.startswith(top):
                found.add(target[len(top) :].partition("/")[0])
    return found


def _links() -> Iterator[str]:
    for process in os.listdir("/proc"):
        if process.isdecimal():
            # Threads may have working directories and descriptors of their own.
            for task in _listed(f"/proc/{process}/task"):
                place = f"/proc/{process}/task/{task}"
                yield from (f"{place}/cwd", f"{place}/root", f"{place}/exe")
                yield from (f"{place}/fd/{number}" for number in _listed(f"{place}/fd"))


def _listed(directory: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(directory)
    return []

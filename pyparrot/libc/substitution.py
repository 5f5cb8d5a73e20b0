"""The shim of a session, and the copies of C libraries that hold it.

``csrc/libc/libc_substitution.h`` says how programs come to load them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyparrot.core import ffi
from pyparrot.libc.copies import LibcCopies
from pyparrot.libc.linkers import Linkers
from pyparrot.libc.shared_state import SharedState
from pyparrot.libc.shared_usage import SharedUsage

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore

LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libpyparrot.so")


class Shim:
    """The shim of a session: its shared state, and the C libraries that hold it.

    *pointer* is the ``struct pp_substitution *`` for the engine. `OSError` if this host forbids it.
    """

    def __init__(self, store: ObjectStore, cookie: int, mark: int, views: str) -> None:
        if os.statvfs(store.directory).f_flag & os.ST_NOEXEC:
            raise OSError(f"{store.directory}: mounted without exec")
        self.state = SharedState(cookie, mark, views)
        self.shared = SharedUsage()
        self.state.share(self.shared)
        self.pointer = ffi.new("struct pp_substitution *")
        self.pointer.state = self.state.descriptor
        self.libraries = LibcCopies(store, LIBRARY, self.pointer)
        self.linkers = Linkers(store, LIBRARY, self.pointer)

    def prepare(self, task: int, complain: Callable[[Exception], None]) -> None:
        """Make copies of this process's own C library, which nearly all programs have, too.

        *task* is a process with the run's filter, before it runs a program; *complain* gets what
        goes wrong.
        """
        self.pointer.filters = _filters(task)
        for path in _own_libraries():
            try:
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    self.libraries.add(descriptor)
                finally:
                    os.close(descriptor)
            except Exception as error:  # without a copy programs are only slower
                complain(error)


def _filters(task: int) -> int:
    with open(f"/proc/{task}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Seccomp_filters:"):
                return int(line.split()[1])
    return 1


def _own_libraries() -> set[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        paths = {line.rstrip("\n").partition("/")[2] for line in maps}
    return {f"/{path}" for path in paths if os.path.basename(path).startswith("libc.so.")}

"""The shim of a session, and the copies of C libraries that hold it.

``csrc/libc/libc_substitution.h`` says how programs come to load them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyparrot.core import ffi
from pyparrot.libc.copies import LibcCopies

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.libc.shared_state import SharedState
    from pyparrot.libc.shared_usage import SharedUsage

LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libpyparrot.so")


class Shim:
    """The shim of a session: its shared *state* and usage, and the C libraries that hold it.

    The directory *views* is told to shims. *pointer* is the ``struct pp_substitution *`` for the
    engine. `OSError` if this host forbids it.
    """

    def __init__(
        self, store: ObjectStore, state: SharedState, shared: SharedUsage, views: str
    ) -> None:
        if os.statvfs(store.directory).f_flag & os.ST_NOEXEC:
            raise OSError(f"{store.directory}: mounted without exec")
        state.set_views(views)
        self.state = state
        self.shared = shared
        self.pointer = ffi.new("struct pp_substitution *")
        self.pointer.state = self.state.descriptor
        self.libraries = LibcCopies(store, LIBRARY, self.pointer)

    def prepare(self, complain: Callable[[Exception], None]) -> None:
        """Make copies of this process's own C library, which nearly all programs have, too.

        *complain* gets what goes wrong.
        """
        self.pointer.filters = _filters() + 1
        for path in _own_libraries():
            try:
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    self.libraries.add(descriptor)
                finally:
                    os.close(descriptor)
            except Exception as error:  # without a copy programs are only slower
                complain(error)


def _filters() -> int:
    """How many filters this process has; the command has the run's one more."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Seccomp_filters:"):
                return int(line.split()[1])
    return 0


def _own_libraries() -> set[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        paths = {line.rstrip("\n").partition("/")[2] for line in maps}
    return {f"/{path}" for path in paths if os.path.basename(path).startswith("libc.so.")}

"""What outlives a supervisor: memory that is made before the run's processes are forked.

All of them have it, at the same addresses. A process that is forked to take over from a supervisor
finds in it what that one has told shims, what shims have told, and what was mounted.
"""

from __future__ import annotations

import errno
import os

from pyparrot.core import ffi, lib
from pyparrot.libc.shared_state import SharedState
from pyparrot.libc.shared_usage import SharedUsage
from pyparrot.run.journal import Journal


class SessionMemory:
    """The memory of one run. Calls with *cookie* pass the filter; with *shim* there is a shim."""

    def __init__(self, cookie: int, shim: bool) -> None:
        self.cookie = cookie
        self.frontend = os.getppid()
        """The process that the user started: the first supervisor's parent."""
        self.journal = Journal()
        """What is mounted."""
        self.state = SharedState(cookie) if shim else None
        """What shims read."""
        self.usage = SharedUsage() if shim else None
        """What shims write."""
        self.engine = lib.pp_engine_memory_new()
        """What the engine has in hand (``struct pp_engine_memory *``)."""
        if self.engine == ffi.NULL:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    @property
    def descriptors(self) -> set[int]:
        """Those that every process that may come to serve has to keep."""
        return (
            set()
            if not self.state or not self.usage
            else {
                self.state.descriptor,
                self.usage.descriptor,
            }
        )

    def open_by(self, process: int) -> None:
        """Let shims open what they write by a descriptor of *process*, which lives to the end."""
        if self.state is not None and self.usage is not None:
            self.state.share(self.usage, process)

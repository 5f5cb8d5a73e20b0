"""The notify engine: threads that serve seccomp notifications in C (``csrc/engine/notify.h``).

A thread comes back to Python only for what has to be got first. Whoever waits for a download waits
alone: there is always another thread that receives.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.core import ffi, lib

if TYPE_CHECKING:
    from pyparrot.core import PpCall, PpNamespace, PpWorker
    from pyparrot.libc.substitution import Shim

WORKERS_AT_FIRST = 2
WORKERS_AT_MOST = 768
_STACK_SIZE = 512 << 10


class Counters(NamedTuple):
    """What became of the calls that were trapped."""

    calls: int
    ran: int
    answered: int
    opened: int
    changed: int
    asked: int


Supply = Callable[["PpCall", int], None]
"""Gets what a call needs: (``struct pp_call *``, need). `OSError` if it can't be had."""


class Unavailable(Exception):
    """The engine can't work here: what failed, and what would help."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


def probe(task: int) -> None:
    """Try on a child of ours all that the engine does; raises `Unavailable`."""
    what = ffi.new("const char **")
    error = lib.pp_probe(task, what)
    if error:
        name = ffi.string(what[0]).decode()
        raise Unavailable(f"{name}: {os.strerror(error)}", _hint(name))


def _hint(name: str) -> str:
    if name == "openat2":
        return "it takes Linux 5.14 or newer"
    return "in a container, allow it: docker run --security-opt seccomp=unconfined"


class NotifyEngine:
    """Serves the notifications of one *listener* until `stop`.

    *namespace* is the mount table's; calls with *cookie* pass the filter; *mark* is when objects
    were modified, as their files say (unix seconds); *supply* is called from any thread; *shim* is
    what goes into programs, if anything.
    """

    def __init__(
        self,
        listener: int,
        namespace: PpNamespace,
        cookie: int,
        mark: int,
        supply: Supply,
        shim: Shim | None = None,
    ) -> None:
        self._supply = supply
        self._lock = threading.Lock()
        self._workers: list[PpWorker] = []
        self._engine = ffi.new("struct pp_engine *")
        self._engine.listener = listener
        self._engine.space = namespace
        self._engine.cookie = cookie
        self._engine.mark = mark
        self._mappings = ffi.gc(lib.pp_mapping_pool_new(), lib.pp_mapping_pool_free)
        self._engine.mappings = self._mappings
        self._shim = shim
        self._no_shim = (
            ffi.new("struct pp_substitution *", {"state": -1}),
            ffi.new("struct pp_shared_state *"),
        )
        self._engine.substitution = shim.pointer if shim else self._no_shim[0]
        self._engine.state = shim.state.pointer if shim else self._no_shim[1]
        self._engine.shared = shim.shared.pointer if shim else ffi.NULL
        lib.pp_listener_prepare(listener)

    def start(self) -> None:
        """Start the first threads."""
        for _ in range(WORKERS_AT_FIRST):
            self._add_worker()

    def counters(self) -> Counters:
        """What has happened so far, all threads together."""
        with self._lock:
            all_counters = [lib.pp_worker_counters(worker) for worker in self._workers]
        return Counters(*(sum(getattr(c, name) for c in all_counters) for name in Counters._fields))

    def _add_worker(self) -> None:
        with self._lock:
            if len(self._workers) >= WORKERS_AT_MOST:
                return
            worker = lib.pp_worker_new(self._engine)
            if worker == ffi.NULL:
                return
            self._workers.append(worker)
            number = len(self._workers)
            before = threading.stack_size(_STACK_SIZE)
            try:
                thread = threading.Thread(
                    target=self._serve, args=(worker,), name=f"notify-{number}", daemon=True
                )
                thread.start()
            except RuntimeError:
                self._workers.pop()  # no more threads to be had: those that are there must do
            finally:
                threading.stack_size(before)

    def _serve(self, worker: PpWorker) -> None:
        call = lib.pp_worker_call(worker)
        while True:
            need = lib.pp_worker_serve(worker)
            if need == lib.PP_NEEDS_NOTHING:
                return
            if self._engine.idle == 0:
                self._add_worker()
            try:
                self._supply(call, need)
            except OSError as error:
                lib.pp_worker_refuse(worker, error.errno or 5)

"""The notify engine: threads that serve seccomp notifications in C (``csrc/engine/notify.h``).

A thread comes back to Python only for what has to be fetched first. A call that waits for a
download keeps no other call waiting: there is always another thread that receives.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, NoReturn

from pyparrot.core import ffi, lib
from pyparrot.run.engines.base import (
    Attachment,
    Counters,
    Engine,
    Services,
    Session,
    Unavailable,
)

if TYPE_CHECKING:
    from pyparrot.core import PpEngineMemory, PpWorker
    from pyparrot.libc.substitution import Shim

WORKERS_AT_FIRST = 2
WORKERS_AT_MOST = lib.PP_WORKERS_MAX
_STACK_SIZE = 512 << 10
_INSTALLED, _FAILED = b"L", b"E"
"""What the child says: with its process number and the listener, or with an errno."""


class NotifyEngine(Engine):
    """Serves the notifications of one listener."""

    name = "notify"

    @classmethod
    def install(cls, cookie: int, to_supervisor: socket.socket) -> None:
        """Install the filter, and send its listener."""
        listener = lib.pp_filter_install(cookie, 1)
        if listener == -errno.EINVAL:
            listener = lib.pp_filter_install(cookie, 0)  # it is younger than the rest: Linux 5.19
        if listener < 0:
            to_supervisor.send(b"%s%d" % (_FAILED, -listener))
            return
        socket.send_fds(to_supervisor, [b"%s%d" % (_INSTALLED, os.getpid())], [listener])
        os.close(listener)

    @classmethod
    def attach(cls, from_command: socket.socket) -> Attachment:
        """Receive the listener, and try on the child all that will be done to tasks."""
        message, received, _, _ = socket.recv_fds(from_command, 64, 1)
        kind, number = message[:1], int(message[1:] or b"0")
        if kind != _INSTALLED or not received:
            raise _not_installed(number)
        what = ffi.new("const char **")
        error = lib.pp_notify_probe(number, what)
        if error:
            name = ffi.string(what[0]).decode()
            raise Unavailable(f"this host forbids it: {name}: {os.strerror(error)}", _hint(name))
        return Attachment(number, received[0])

    def __init__(
        self,
        attachment: Attachment,
        session: Session,
        services: Services,
        shim: Shim | None,
        memory: PpEngineMemory,
    ) -> None:
        self._services = services
        self._shim = shim  # C has pointers into it
        self._lock = threading.Lock()
        self._workers: list[PpWorker] = []
        self._spares: list[PpWorker] = []
        self._notify = ffi.new("struct pp_notify *")
        self._notify.listener = attachment.descriptor
        self._engine = self._notify.engine
        self._engine.space = session.namespace
        self._engine.cookie = session.cookie
        self._engine.mark = session.mark
        self._engine.memory = self._memory = memory
        family = self._engine.family
        family.frontend, family.monitor = session.frontend, session.monitor
        family.command = attachment.task
        family.reaper = session.reaper or ffi.NULL
        if shim is not None:
            shim.state.pointer.monitor = session.monitor
            self._engine.state = shim.state.pointer
            self._engine.shared = shim.shared.pointer
            lib.pp_substitution_register(shim.pointer, ffi.addressof(self._engine))
        lib.pp_notify_prepare(self._notify)

    def start(self) -> None:
        """Start the first threads, and one for each call that another supervisor had begun."""
        for _ in range(max(WORKERS_AT_FIRST, lib.pp_notify_under_way(self._notify))):
            self._add_worker()
        threading.Thread(target=self._watch, name="notify-watch", daemon=True).start()

    def counters(self) -> Counters:
        """What has happened in the run so far."""
        counters = ffi.new("struct pp_counters *")
        lib.pp_engine_memory_count(self._memory, counters)
        return Counters(*(getattr(counters, name) for name in Counters._fields))

    def _watch(self) -> NoReturn:
        """Start another thread whenever all of them wait inside of the kernel."""
        while True:
            lib.pp_engine_wait_for_shortage(ffi.addressof(self._engine))
            self._add_worker()

    def _add_worker(self) -> None:
        with self._lock:
            if len(self._workers) >= WORKERS_AT_MOST:
                return
            worker = self._spares.pop() if self._spares else lib.pp_notify_worker_new(self._notify)
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
                # No more threads to be had: those that are there must do.
                self._spares.append(self._workers.pop())
            finally:
                threading.stack_size(before)

    def _rest(self, worker: PpWorker) -> None:
        """Keep a worker for when there is more to do again; its thread ends."""
        lib.pp_worker_rest(worker)
        with self._lock:
            self._workers.remove(worker)
            self._spares.append(worker)

    def _serve(self, worker: PpWorker) -> None:
        call = lib.pp_worker_call(worker)
        while True:
            event = lib.pp_worker_serve(worker)
            if event.kind == lib.PP_EVENT_END:
                return
            if event.kind == lib.PP_EVENT_SPARE:
                self._rest(worker)
                return
            if self._engine.idle == 0:
                self._add_worker()
            if event.kind == lib.PP_EVENT_LIBRARY:
                self._services.patch_library(event.library)
            elif event.kind == lib.PP_EVENT_LINKER:
                self._services.patch_linker(event.library)
            elif event.kind == lib.PP_EVENT_LOG:
                self._services.say_unfit(event.task, ffi.string(event.text).decode())
            else:
                try:
                    self._services.fetch(call, event.need)
                except OSError as error:
                    lib.pp_worker_refuse(worker, error.errno or errno.EIO)


def _not_installed(error: int) -> Unavailable:
    if error == errno.EBUSY:
        return Unavailable(
            "already in a run, or under another supervisor",
            "inside a run, start the command without options",
        )
    return Unavailable(
        f"no seccomp user notification here: {os.strerror(error) if error else 'no answer'}",
        "it takes Linux 5.14 or newer, and a container that allows it",
    )


def _hint(name: str) -> str:
    if name == "openat2":
        return "it takes Linux 5.14 or newer"
    return "in a container, allow it: docker run --security-opt seccomp=unconfined"

"""The process that serves the command's system calls: it starts an engine and waits for the end."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import threading
from typing import TYPE_CHECKING

from pyparrot.cache import views
from pyparrot.cache.directory import DEFAULT_QUOTA, choose_directory
from pyparrot.cache.intact import SECOND
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError
from pyparrot.run import engines, fds
from pyparrot.run.engines.base import Engine, Session, Unavailable
from pyparrot.run.fetcher import Fetcher
from pyparrot.run.mounter import Mounter
from pyparrot.run.mounts import MountTable
from pyparrot.run.report import Reporter
from pyparrot.run.tracer import connect
from pyparrot.run.usage import UsageRecorder

if TYPE_CHECKING:
    from pyparrot.libc.substitution import Shim
    from pyparrot.run.options import Options
    from pyparrot.run.session_memory import SessionMemory

_FLUSH_SECONDS = 30.0


class Supervisor:
    """Serves one run.

    *memory* is what outlives it: if another supervisor has used it before, this one takes over.
    *to_frontend* is the pipe that the frontend reads, *tracer* the socket that leads to the tracer.
    """

    def __init__(
        self,
        options: Options,
        memory: SessionMemory,
        to_frontend: int,
        tracer: socket.socket,
    ) -> None:
        # Of this process alone, not the command's: what we make for ourselves we have to read.
        os.umask(os.umask(0o077) & 0o077)
        self._tracer = tracer
        self._options = options
        self._memory = memory
        self._to_frontend = to_frontend
        self._report = Reporter(options.verbosity, options.log)
        directory = choose_directory(options.cache, self._parameter("CVMFS_CACHE_DIR"))
        quota = DEFAULT_QUOTA if options.quota is None else options.quota
        self._store = ObjectStore(directory, quota)
        self._shim = self._make_shim()
        state = None if self._shim is None else self._shim.state
        self._table = MountTable(
            views.directory(self._store), state, memory.journal, self._store.mark
        )
        self._mounter = Mounter(options, self._store, self._table, self._report)
        self._usage = None
        if self._shim is not None:
            self._usage = UsageRecorder(self._shim.state, self._shim.shared, options.touched)
            self._table.forgetting.append(self._usage.forget)
        self._table.forgetting.append(self._mounter.forget)
        flags = os.statvfs(directory).f_flag
        if flags & os.ST_RDONLY:
            self._report.complain(
                f"warning: {directory}: mounted read-only: what is not in this cache can't be seen"
                " (choose another place with --cache)"
            )
        if flags & os.ST_NOEXEC:
            self._report.complain(
                f"warning: {directory}: mounted without exec: no program can run from a repository"
                " (choose another place with --cache)"
            )

    def _make_shim(self) -> Shim | None:
        from pyparrot.libc.substitution import Shim

        state, usage = self._memory.state, self._memory.usage
        if state is None or usage is None:
            return None
        try:
            shim = Shim(self._store, state, usage, views.directory(self._store))
        except OSError as error:
            self._report.say(1, f"programs run without the shim: {error}")
            return None
        if self._options.stats:
            shim.state.count()
        shim.pointer.tells = self._options.verbosity > 0
        return shim

    def _parameter(self, name: str) -> str | None:
        """A parameter that concerns all repositories."""
        return self._options.parameters.get(name) or os.environ.get(name)

    def serve(self, from_command: socket.socket) -> None:
        """Serve from the command's start until the last process has ended."""
        before = self._memory.journal.read()
        if before and self._shim is not None:
            self._shim.state.resume()
        self._mounter.start(before)
        engine = self._start_engine(from_command)
        self._detach()
        if self._options.follow:
            self._follow()
        from_command.send(b"G")
        from_command.close()
        threading.Thread(target=_import_for_mounts, daemon=True).start()
        self._wait_for_end(self._attachment.descriptor)
        if self._options.stats:
            fetched, waited = self._mounter.fetched(), self._fetcher.waited
            self._report.statistics(engine.counters(), self._shim, fetched, waited)
        if self._usage is not None:
            self._usage.finish(self._table)
        self._mounter.close()
        self._store.close()

    def _follow(self) -> None:
        from pyparrot.run.follow import Follower

        mounter = self._mounter
        Follower(self._table, mounter, self._report.complain).start()

    def _start_engine(self, from_command: socket.socket) -> Engine:
        kind = engines.load(self._options.engine)
        try:
            self._attachment = kind.attach(from_command)
        except Unavailable as error:
            raise PyparrotError("run", error.why, error.hint) from None
        self._fetcher = Fetcher(
            self._table,
            self._store,
            self._mounter.mount_automatically,
            self._report.complain,
            self._report.say,
            None if self._shim is None else self._shim.libraries,
            None if self._shim is None else self._shim.linkers,
        )
        if self._shim is not None:
            self._shim.prepare(lambda error: self._report.say(1, f"shim: {error}"))
        session = Session(
            self._table.namespace,
            self._memory.cookie,
            self._store.mark // SECOND,
            frontend=self._memory.frontend,
            monitor=_parent_of(self._attachment.task),
        )
        engine = kind(self._attachment, session, self._fetcher, self._shim, self._memory.engine)
        engine.start()
        connect(self._tracer, self._attachment.descriptor)
        return engine

    def _detach(self) -> None:
        """Keep nothing of the user's session but standard error from here on."""
        os.setsid()
        fds.redirect_to_null(0, 1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    def _wait_for_end(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, 0)
        poll.register(self._to_frontend, 0)
        while True:
            ended = [descriptor for descriptor, _ in poll.poll(_FLUSH_SECONDS * 1000)]
            if listener in ended:
                return
            if self._to_frontend in ended:
                # A program that reads the command's output must not wait for its daemons.
                poll.unregister(self._to_frontend)
                fds.redirect_to_null(2)
            self._mounter.tidy()
            with contextlib.suppress(OSError):
                self._store.flush()


def _parent_of(process: int) -> int:
    with open(f"/proc/{process}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def _import_for_mounts() -> None:
    """Import what the first mount needs, while the command is still starting."""
    import pyparrot.sources.names  # noqa: F401
    from pyparrot.sources import registry

    registry.import_kinds_with_names()

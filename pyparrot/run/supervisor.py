"""The process that serves the command's system calls: it starts an engine and waits for the end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Collection
from typing import TYPE_CHECKING

from pyparrot.cache import views
from pyparrot.cache.directory import DEFAULT_QUOTA, choose_directory
from pyparrot.cache.intact import SECOND
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError
from pyparrot.run import engines, fds, witness
from pyparrot.run.engines.base import Attachment, Services, Session, Unavailable
from pyparrot.run.fetcher import Fetcher
from pyparrot.run.mounter import Mounter
from pyparrot.run.mounts import MountTable
from pyparrot.run.report import Reporter
from pyparrot.run.roles import Run, hand_on, tell
from pyparrot.run.tasks import until_all_have_ended
from pyparrot.run.tracer import connect
from pyparrot.run.usage import UsageRecorder

if TYPE_CHECKING:
    from pyparrot.core import PpCall
    from pyparrot.libc.substitution import Shim

_FLUSH_SECONDS = 30.0


class Supervisor:
    """Serves one run.

    *monitor* is the monitor's process number. If that ends before the run, this process ends all
    that descends from it but *spared*.
    """

    def __init__(self, run: Run, monitor: int, spared: Collection[int]) -> None:
        # Of this process alone, not the command's: what we make for ourselves we have to read.
        os.umask(os.umask(0o077) & 0o077)
        self._options = options = run.options
        self._memory = memory = run.memory
        self._to_frontend = run.to_frontend
        self._shared = run.shared
        self._monitor = monitor
        self._spared = spared
        self._report = Reporter(options.verbosity, options.log)
        directory = choose_directory(options.cache, self._parameter("CVMFS_CACHE_DIR"))
        quota = DEFAULT_QUOTA if options.quota is None else options.quota
        self._store = ObjectStore(directory, quota)
        self._identity = _identity(directory)
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

    def begin(
        self, from_command: socket.socket, to_tracer: socket.socket, to_monitor: socket.socket
    ) -> None:
        """Let the command begin, when all that is needed to serve it is there."""
        self._mounter.start()
        try:
            attachment = engines.load(self._options.engine).attach(from_command)
        except Unavailable as error:
            raise PyparrotError("run", error.why, error.hint) from None
        self._start_engine(attachment)
        witness.begin(self._shared.witness, attachment.task)
        connect(to_tracer, attachment.descriptor)
        fds.redirect_to_null(0, 1)
        hand_on(to_monitor, attachment.descriptor)  # from here on others can take over
        from_command.send(b"G")
        for ours in (from_command, to_tracer, to_monitor):
            ours.close()
        options = self._options
        if options.mounts or options.stats or options.touched is not None or self._store.has_added:
            self._work.announce()

    def take_over(self, listener: int, command: int) -> None:
        """Go on where another supervisor has ended.

        Calls come by *listener*; *command* is the command's process number.
        """
        if self._shim is not None:
            self._shim.state.resume()
        self._mounter.start(self._memory.journal.read())
        self._start_engine(Attachment(command, listener))
        self._work.announce()

    def serve(self) -> None:
        """Serve until the last process has ended."""
        if self._options.follow:
            self._follow()
        threading.Thread(target=_import_for_mounts, daemon=True).start()
        self._wait_for_end()
        if self._options.stats:
            fetched, waited = self._mounter.fetched(), self._fetcher.waited
            self._report.statistics(self._engine.counters(), self._shim, fetched, waited)
        self._finish()
        tell(self._to_frontend, b"D\n")

    def _finish(self) -> None:
        """Write what the run leaves behind; the frontend waits for it."""
        if not self._cache_is_there():
            return
        if self._usage is not None:
            self._usage.finish(self._table)
        self._mounter.close()
        self._store.close()

    def _follow(self) -> None:
        from pyparrot.run.follow import Follower

        mounter = self._mounter
        Follower(self._table, mounter, self._report.complain).start()

    def _start_engine(self, attachment: Attachment) -> None:
        self._listener = attachment.descriptor
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
            monitor=self._monitor,
            reaper=self._shared.reaper,
        )
        self._work = _AnnouncedWork(self._fetcher, self._to_frontend)
        kind = engines.load(self._options.engine)
        self._engine = kind(attachment, session, self._work, self._shim, self._memory.engine)
        self._engine.start()

    def _wait_for_end(self) -> None:
        for _ in until_all_have_ended(
            self._listener, self._to_frontend, self._monitor, self._spared, _FLUSH_SECONDS
        ):
            self._mounter.tidy()
            if self._cache_is_there():
                with contextlib.suppress(OSError):
                    self._store.flush()

    def _cache_is_there(self) -> bool:
        """Whether the cache has not been removed meanwhile; to write would make it again."""
        return _identity(self._store.directory) == self._identity


class _AnnouncedWork(Services):
    """The services of *fetcher*; the frontend hears of the first, since something is to be written.

    A run that needs none of them leaves nothing behind, and nobody waits for its end.
    """

    def __init__(self, fetcher: Fetcher, to_frontend: int) -> None:
        self._fetcher = fetcher
        self._to_frontend = to_frontend
        self._announced = False

    def announce(self) -> None:
        """Tell the frontend to wait for the end of this process's work."""
        if not self._announced:
            self._announced = True
            tell(self._to_frontend, b"T\n")

    def fetch(self, call: PpCall, need: int) -> None:
        """As `Fetcher.fetch`."""
        self.announce()
        self._fetcher.fetch(call, need)

    def patch_library(self, descriptor: int) -> None:
        """As `Fetcher.patch_library`."""
        self.announce()
        self._fetcher.patch_library(descriptor)

    def patch_linker(self, descriptor: int) -> None:
        """As `Fetcher.patch_linker`."""
        self.announce()
        self._fetcher.patch_linker(descriptor)

    def say_unfit(self, task: int, why: str) -> None:
        """As `Fetcher.say_unfit`."""
        self._fetcher.say_unfit(task, why)


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _import_for_mounts() -> None:
    """Import what the first mount needs, while the command is still starting."""
    # If memory is short, whoever mounts says so.
    with contextlib.suppress(ImportError, MemoryError, OSError):
        import pyparrot.sources.names  # noqa: F401
        from pyparrot.sources import registry

        registry.import_kinds_with_names()

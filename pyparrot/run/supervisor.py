"""The process that serves the command's system calls: mounts, engine, and an end."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import stat
import threading
import time
from typing import TYPE_CHECKING

from pyparrot.cache import views
from pyparrot.cache.directory import DEFAULT_QUOTA, choose_directory
from pyparrot.cache.intact import MARK
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError, printable
from pyparrot.run import engines, fds
from pyparrot.run.engines.base import Engine, Session, Unavailable
from pyparrot.run.fetcher import Fetcher
from pyparrot.run.mounts import MountTable

if TYPE_CHECKING:
    from pyparrot.libc.substitution import Shim
    from pyparrot.run.session import MountOption, Options
    from pyparrot.sources.capabilities import Renewable
    from pyparrot.sources.registry import Context
    from pyparrot.tree.base import Tree

AUTOMOUNT = b"/cvmfs"
_FLUSH_SECONDS = 30.0


class Supervisor:
    """Serves one run. *to_front* is the pipe that the front reads."""

    def __init__(self, options: Options, cookie: int, to_front: int) -> None:
        self._options = options
        self._cookie = cookie
        self._to_front = to_front
        self._started = time.monotonic()
        self._said: set[str] = set()
        self._names: dict[bytes, set[bytes]] = {AUTOMOUNT: set()}
        self._naming = threading.RLock()  # many may mount at once
        self._opened: list[Tree] = []
        self._log = self._open_log()
        directory = choose_directory(options.cache, self._parameter("CVMFS_CACHE_DIR"))
        quota = DEFAULT_QUOTA if options.quota is None else options.quota
        self._store = ObjectStore(directory, quota)
        self._shim = self._make_shim() if options.shim else None
        state = None if self._shim is None else self._shim.state
        self._table = MountTable(views.directory(self._store), state)
        if os.statvfs(directory).f_flag & os.ST_NOEXEC:
            self._complain(
                f"warning: {directory}: mounted without exec: no program can run from a repository"
                " (choose another place with --cache)"
            )

    def _make_shim(self) -> Shim | None:
        from pyparrot.libc.substitution import Shim

        try:
            shim = Shim(
                self._store, self._cookie, MARK // 1_000_000_000, views.directory(self._store)
            )
        except OSError as error:
            self._say(1, f"programs run without the shim: {error}")
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
        self._table.reserve(AUTOMOUNT)
        for option in sorted(self._options.mounts, key=lambda option: len(option.path)):
            self._mount_option(option)
        engine = self._start_engine(from_command)
        self._detach()
        if self._options.follow:
            self._follow()
        from_command.send(b"G")
        from_command.close()
        threading.Thread(target=_get_ready, daemon=True).start()
        self._wait_for_end(self._attachment.descriptor)
        self._report(engine)
        self._record_usage()
        for mount in self._table:
            if mount.repository is not None:
                mount.repository.close()
        self._store.close()

    # Mounts

    def _mount_names(self, directory: bytes, names: set[bytes]) -> None:
        """Show a directory that is nothing but a place for mount points."""
        from pyparrot.sources.names import Names

        self._names[directory] = names
        repository = Names(self._store, directory, names)
        self._table.mount(directory, repository, automount=directory == AUTOMOUNT)

    def _mount_option(self, option: MountOption) -> None:
        path = os.fsencode(os.path.normpath(option.path))
        if not path.startswith(b"/") or path == b"/":
            raise PyparrotError(option.path, "not a mount point", "an absolute path, below /")
        self._mount(path, self._open(option.source, path))

    def _open(self, source: str, path: bytes) -> Tree:
        from pyparrot.sources import registry

        return self._note_opened(registry.open_source(source, self._context(path)))

    def _context(self, path: bytes) -> Context:
        from pyparrot.sources.registry import Context

        environment = {**os.environ, **self._options.environment}
        return Context(
            self._store,
            path,
            self._options.parameters,
            self._options.wanted,
            {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
            quota_given=self._options.quota is not None,
        )

    def _note_opened(self, tree: Tree) -> Tree:
        self._opened.append(tree)
        for warning in tree.warnings:
            self._complain(f"warning: {warning}")
        return tree

    def _mount(self, path: bytes, repository: Tree) -> None:
        self._table.mount(path, repository, size=self._store.quota)
        self._say(1, f"mounted {repository.name} at {printable(path)}")
        with self._naming:
            self._show_in_parent(path)

    def _show_in_parent(self, path: bytes) -> None:
        """Let a mount point be seen where it is, even if there is no such directory."""
        parent, _, name = path.rpartition(b"/")
        if parent in self._names:
            self._mount_names(parent, self._names[parent] | {name})
        elif parent and not self._is_virtual(parent) and not os.path.lexists(parent):
            self._mount_names(parent, {name})
            self._show_in_parent(parent)

    def _is_virtual(self, path: bytes) -> bool:
        """Whether a path lies in a repository."""
        if path.startswith(AUTOMOUNT + b"/"):
            top = b"/".join(path.split(b"/")[:3])
            if self._table.get(top) is not None or self._mount_automatically(top):
                return True
        return any((path + b"/").startswith(mount.path + b"/") for mount in self._table)

    def _mount_automatically(self, path: bytes) -> bool:
        """Mount what a program has named; False if there is nothing of that name."""
        if path == AUTOMOUNT:
            with self._naming:
                self._mount_names(path, self._names[path])
            return True
        from pyparrot.sources import registry
        from pyparrot.transport import TransportError

        name = os.fsdecode(path.rpartition(b"/")[2])
        try:
            tree = self._note_opened(registry.open_by_name(name, self._context(path)))
        except registry.UnknownSourceError:
            return False
        except (PyparrotError, OSError) as error:
            # Programs look for their files in all directories above: most of it is no repository.
            unknown = isinstance(error, TransportError) and error.errno == errno.ENOENT
            self._say(1, str(error)) if unknown else self._complain(str(error))
            return False
        self._mount(path, tree)
        return True

    def _follow(self) -> None:
        from pyparrot.run.follow import Follower

        def newest(tree: Renewable) -> Tree:
            return self._note_opened(tree.newest())

        Follower(self._table, newest, self._mount, self._complain).start()

    # The engine

    def _start_engine(self, from_command: socket.socket) -> Engine:
        kind = engines.load(self._options.engine)
        try:
            self._attachment = kind.attach(from_command)
        except Unavailable as error:
            raise PyparrotError("run", error.why, error.hint) from None
        self._fetcher = Fetcher(
            self._table,
            self._store,
            self._mount_automatically,
            self._complain,
            self._say,
            None if self._shim is None else self._shim.libraries,
        )
        if self._shim is not None:
            self._shim.prepare(self._attachment.task, lambda error: self._say(1, f"shim: {error}"))
        session = Session(self._table.namespace, self._cookie, MARK // 1_000_000_000)
        engine = kind(self._attachment, session, self._fetcher, self._shim)
        engine.start()
        return engine

    def _detach(self) -> None:
        """From here on nothing of the user's session is ours but standard error."""
        os.setsid()
        fds.blind(0, 1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    def _wait_for_end(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, 0)
        poll.register(self._to_front, 0)
        while True:
            ended = [descriptor for descriptor, _ in poll.poll(_FLUSH_SECONDS * 1000)]
            if listener in ended:
                return
            if self._to_front in ended:
                # Whoever reads what the command says shall not have to wait for its daemons.
                poll.unregister(self._to_front)
                fds.blind(2)
            with contextlib.suppress(OSError):
                self._store.flush()

    # Words

    def _open_log(self) -> int:
        if self._options.log is None:
            return -1
        return os.open(
            self._options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666
        )

    def _say(self, level: int, text: str | bytes) -> None:
        """A line of a *level*: 0 for what everybody has to know, 1 with ``-v``, 2 with ``-vv``."""
        if level <= max(self._options.verbosity, int(self._log >= 0)):
            os.write(self._log if self._log >= 0 else 2, f"pyparrot: {printable(text)}\n".encode())

    def _complain(self, text: str) -> None:
        """Say what has failed, once: thousands of calls may fail for the same reason."""
        if text not in self._said:
            self._said.add(text)
            self._say(0, text)

    def _report(self, engine: Engine) -> None:
        if not self._options.stats:
            return
        from pyparrot.sources.capabilities import Transported

        calls = engine.counters()
        seconds = time.monotonic() - self._started
        fetched = [tree.transferred() for tree in self._opened if isinstance(tree, Transported)]
        requests, size = sum(each[0] for each in fetched), sum(each[1] for each in fetched)
        line = (
            f"{seconds:.2f} s; system calls: {calls.calls} trapped = {calls.ran} let run"
            f" + {calls.answered} answered + {calls.opened} opened + {calls.changed} changed;"
            f"{self._shim_statistics()}"
            f" fetched: {requests} requests, {size / 1e6:.3f} MB;"
            f" waited for what was missing: {self._fetcher.waited:.2f} s in {calls.asked} calls"
        )
        self._say(0, line)

    def _record_usage(self) -> None:
        """See what was used: it shall not be evicted first, and may be wanted as a list."""
        if self._shim is None:
            return
        from pyparrot.sources.capabilities import CountsUse

        used: list[tuple[int, bytes]] = []
        for start, number, index in self._shim.state.touched:
            mount = self._table.numbered(number)
            if mount is None or mount.repository is None:
                continue
            counting = mount.repository if isinstance(mount.repository, CountsUse) else None
            for touch in self._shim.shared.touches(start, index):
                node = index.node(touch.record)
                if counting is not None and touch.is_opened and stat.S_ISREG(node.mode):
                    counting.use(node)
                if self._options.touched is not None:
                    used.append((touch.order, mount.path + index.path_of(touch.record)))
        if self._options.touched is not None:
            with open(self._options.touched, "wb") as file:
                file.writelines(path + b"\n" for _, path in sorted(used))

    def _shim_statistics(self) -> str:
        if self._shim is None:
            return ""
        shared = self._shim.shared.pointer
        return f" shim: {shared.answered} answered, {shared.ran} let through, {shared.left} left;"


def _get_ready() -> None:
    """Import what the first mount needs, while the command is still starting."""
    import pyparrot.sources.names  # noqa: F401
    from pyparrot.sources import registry

    registry.import_kinds_with_names()

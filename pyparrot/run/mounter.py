"""What a run mounts: repositories that the user has named, or that programs name."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, cast

from pyparrot.errors import PyparrotError, printable

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.config import Configuration
    from pyparrot.run.mounts import Mount, MountTable
    from pyparrot.run.options import MountOption, Options
    from pyparrot.run.report import Reporter
    from pyparrot.sources.cvmfs.remote import RemoteRepository
    from pyparrot.tree.base import Repository

AUTOMOUNT = b"/cvmfs"
"""What is named in this directory is mounted."""

URL_PREFIX = "cvmfs+"


class Mounter:
    """Opens repositories and puts them into *table*. Any thread may ask for a mount."""

    def __init__(
        self, options: Options, store: ObjectStore, table: MountTable, report: Reporter
    ) -> None:
        self._options = options
        self._store = store
        self._table = table
        self._report = report
        # The names in each directory that is shown for its mount points alone.
        self._names: dict[bytes, set[bytes]] = {AUTOMOUNT: set()}
        self._naming = threading.RLock()  # threads may mount at the same time
        self.opened: list[RemoteRepository] = []
        """All repositories with a server, those included that are not mounted any more."""

    def start(self) -> None:
        """Mount what the options say; what is below /cvmfs is mounted when it is first needed."""
        self._table.reserve(AUTOMOUNT)
        for option in sorted(self._options.mounts, key=lambda option: len(option.path)):
            self._mount_option(option)

    def close(self) -> None:
        """Close all mounted repositories."""
        for mount in self._table:
            if mount.repository is not None:
                mount.repository.close()

    def _mount_names(self, directory: bytes, names: set[bytes]) -> None:
        """Show a directory that has mount points in it, and nothing else."""
        from pyparrot.sources.names import Names

        self._names[directory] = names
        repository = Names(self._store, directory, names)
        self._table.mount(directory, repository, automount=directory == AUTOMOUNT)

    def _mount_option(self, option: MountOption) -> None:
        path = os.fsencode(os.path.normpath(option.path))
        if not path.startswith(b"/") or path == b"/":
            raise PyparrotError(option.path, "not a mount point", "an absolute path, below /")
        self.mount(path, self._open(option.source, path))

    def _open(self, source: str, path: bytes) -> Repository:
        if source.startswith("/") or source.startswith("."):
            from pyparrot.sources.directory import LocalDirectory

            return LocalDirectory(source, path, self._store)
        parameters = dict(self._options.parameters)
        if source.startswith(URL_PREFIX):
            url = source[len(URL_PREFIX) :].rstrip("/")
            parameters["CVMFS_SERVER_URL"] = url
            source = url.rpartition("/")[2]
        from pyparrot.config import load

        return self._open_remote(load(source, parameters), path)

    def _open_remote(
        self, configuration: Configuration, path: bytes, refresh: bool = False
    ) -> RemoteRepository:
        from pyparrot.sources.cvmfs.remote import RemoteRepository

        if self._options.quota is None:
            self._store.quota = configuration.number("CVMFS_QUOTA_LIMIT", 4000, minimum=0) << 20
        environment = {**os.environ, **self._options.environment}
        repository = RemoteRepository(
            configuration,
            self._store,
            self._options.wanted,
            {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
            refresh=refresh,
            mountpoint=path,
        )
        self.opened.append(repository)
        for warning in repository.warnings:
            self._report.complain(f"warning: {warning}")
        return repository

    def mount(self, path: bytes, repository: Repository) -> None:
        """Show *repository* at *path*, and the mount point in the directories above it."""
        self._table.mount(path, repository, size=self._store.quota)
        self._report.say(1, f"mounted {repository.name} at {printable(path)}")
        with self._naming:
            self._show_in_parent(path)

    def _show_in_parent(self, path: bytes) -> None:
        """Show a mount point in the directory above it, even if there is no such directory."""
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
            if self._table.get(top) is not None or self.mount_automatically(top):
                return True
        return any((path + b"/").startswith(mount.path + b"/") for mount in self._table)

    def mount_automatically(self, path: bytes) -> bool:
        """Mount what a program has named; False if there is nothing of that name."""
        from pyparrot.config import load

        if path == AUTOMOUNT:
            with self._naming:
                self._mount_names(path, self._names[path])
            return True
        from pyparrot.transport import TransportError

        fqrn = os.fsdecode(path.rpartition(b"/")[2])
        try:
            configuration = load(fqrn, self._options.parameters)
        except PyparrotError:
            return False
        if not configuration.get("CVMFS_SERVER_URL"):
            return False
        try:
            repository = self._open_remote(configuration, path)
        except (PyparrotError, OSError) as error:
            # Many programs look for their files in all directories above them: such a name is
            # seldom meant to be a repository's.
            unknown = isinstance(error, TransportError) and error.errno == errno.ENOENT
            self._report.say(1, str(error)) if unknown else self._report.complain(str(error))
            return False
        self.mount(path, repository)
        return True

    def open_newest(self, mount: Mount) -> RemoteRepository:
        """Open the newest revision of what is mounted."""
        configuration = cast("RemoteRepository", mount.repository).configuration
        return self._open_remote(configuration, mount.path, refresh=True)

"""What a run mounts: trees that the user has named, or that programs name."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from pyparrot.errors import PyparrotError, printable
from pyparrot.run.mounts import view_name

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.run.mounts import MountTable
    from pyparrot.run.options import MountOption, Options
    from pyparrot.run.report import Reporter
    from pyparrot.sources.capabilities import Renewable
    from pyparrot.sources.registry import Context
    from pyparrot.tree.base import Tree

AUTOMOUNT = b"/cvmfs"
"""What is named in this directory is mounted."""


class Mounter:
    """Opens trees and puts them into *table*. Any thread may ask for a mount."""

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
        self.opened: list[Tree] = []
        """All trees but directories of names, those included that are not mounted any more."""

    def start(self) -> None:
        """Mount what the options say; what is below /cvmfs is mounted when it is first needed."""
        self._table.reserve(AUTOMOUNT)
        for option in sorted(self._options.mounts, key=lambda option: len(option.path)):
            self._mount_option(option)

    def close(self) -> None:
        """Close all mounted trees."""
        for mount in self._table:
            if mount.tree is not None:
                mount.tree.close()
                if mount.tree.is_passing:
                    self._store.remove_views(mount.view)

    def _mount_names(self, directory: bytes, names: set[bytes]) -> None:
        """Show a directory that has mount points in it, and nothing else."""
        from pyparrot.sources.names import Names

        self._names[directory] = names
        tree = Names(self._store, directory, names)
        self._table.mount(directory, tree, automount=directory == AUTOMOUNT)

    def _mount_option(self, option: MountOption) -> None:
        path = os.fsencode(os.path.normpath(option.path))
        if not path.startswith(b"/") or path == b"/":
            raise PyparrotError(option.path, "not a mount point", "an absolute path, below /")
        self.mount(path, self._open(option.source, path))

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
        self.opened.append(tree)
        for warning in tree.warnings:
            self._report.complain(f"warning: {warning}")
        return tree

    def mount(self, path: bytes, tree: Tree) -> None:
        """Show *tree* at *path*, and the mount point in the directories above it.

        `PyparrotError` if others could put something into its views.
        """
        self._store.check_views(view_name(path, tree))
        self._table.mount(path, tree, size=self._store.quota)
        self._report.say(1, f"mounted {tree.name} at {printable(path)}")
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
        """Whether a path lies in a mounted tree."""
        if path.startswith(AUTOMOUNT + b"/"):
            top = b"/".join(path.split(b"/")[:3])
            if self._table.get(top) is not None or self.mount_automatically(top):
                return True
        return any((path + b"/").startswith(mount.path + b"/") for mount in self._table)

    def mount_automatically(self, path: bytes) -> bool:
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
            # Many programs look for their files in all directories above them: such a name is
            # seldom meant to be a repository's.
            unknown = isinstance(error, TransportError) and error.errno == errno.ENOENT
            if unknown:
                self._report.say(1, str(error))
            else:
                self._report.complain(str(error))
            return False
        self.mount(path, tree)
        return True

    def open_newest(self, tree: Renewable) -> Tree:
        """Open the newest revision of what is mounted."""
        return self._note_opened(tree.newest())

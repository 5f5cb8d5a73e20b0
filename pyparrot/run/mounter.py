"""What a run mounts: trees that the user has named, or that programs name."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from pyparrot.errors import PyparrotError, printable
from pyparrot.run.journal import AUTOMATIC, CHOSEN, NAMES, RESERVED
from pyparrot.run.mounts import view_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyparrot.cache.store import ObjectStore
    from pyparrot.run.journal import Entry
    from pyparrot.run.mounts import Mount, MountTable
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
        # What another supervisor had mounted, and could not be opened again so far.
        self._missing: dict[bytes, Entry] = {}
        self._opened: list[Tree] = []
        self._fetched_before = (0, 0)  # by trees that were closed

    def start(self, before: Sequence[Entry] = ()) -> None:
        """Mount what the options say; what is below /cvmfs is mounted when it is first needed.

        *before* is what another supervisor has mounted, which has gone: that is mounted again, at
        the same revisions.
        """
        if before:
            self._restore(before)
        else:
            self._table.reserve(AUTOMOUNT)
        for option in sorted(self._options.mounts, key=lambda option: len(option.path)):
            if self._table.get(_path_of(option)) is None:
                self._mount_option(option)

    def _restore(self, entries: Sequence[Entry]) -> None:
        newest = {entry.path: entry.number for entry in entries}
        trees = [(entry, self._reopen(entry)) for entry in entries]
        self._table.restore(
            (entry, tree)
            for entry, tree in trees
            if tree is not None or entry.number == newest[entry.path]
        )
        for entry, tree in trees:
            if entry.kind == RESERVED or entry.number != newest[entry.path]:
                continue
            if tree is None:
                self._missing[entry.path] = entry
            elif entry.kind != NAMES:
                self._show_in_parent(entry.path)

    def _reopen(self, entry: Entry) -> Tree | None:
        """The tree of *entry*; None if it can't be had now, which is said."""
        try:
            if entry.kind == RESERVED:
                return None
            if entry.kind == NAMES:
                return self._names_tree(entry.path, set(entry.source.split(b"/")) - {b""})
            return self._open(entry.kind, os.fsdecode(entry.source), entry.path, entry.pin.decode())
        except (PyparrotError, OSError) as error:
            self._report.complain(str(error))
            return None

    def close(self) -> None:
        """Close all trees."""
        passing = [mount.view for mount in self._table if mount.tree and mount.tree.is_passing]
        for tree in list(self._opened):
            self.close_tree(tree)
        for view in passing:
            self._store.remove_views(view)

    def close_tree(self, tree: Tree) -> None:
        """Close a tree that this has opened."""
        with self._naming:
            if tree in self._opened:
                self._fetched_before = self.fetched([tree])
                self._opened.remove(tree)
        tree.close()

    def fetched(self, trees: Iterable[Tree] | None = None) -> tuple[int, int]:
        """How many requests were made, and how many bytes arrived: for all trees that ever were.

        Or for those that were closed, and *trees*.
        """
        from pyparrot.sources.capabilities import Transported

        requests, size = self._fetched_before
        for tree in list(self._opened if trees is None else trees):
            if isinstance(tree, Transported):
                more_requests, more_size = tree.transferred()
                requests, size = requests + more_requests, size + more_size
        return requests, size

    def tidy(self) -> None:
        """Forget revisions that others have replaced, if there are many and nobody uses them."""
        self._table.tidy(self._names_in_use)

    def _names_in_use(self) -> set[str]:
        from pyparrot.cache import views
        from pyparrot.run.open_views import names_in_use

        return names_in_use(views.directory(self._store))

    def forget(self, mount: Mount) -> None:
        """Close the tree of a mount that is to be forgotten."""
        if mount.tree is not None:
            self.close_tree(mount.tree)

    def _mount_names(self, directory: bytes, names: set[bytes]) -> None:
        """Show a directory that has mount points in it, and nothing else."""
        self._table.mount(
            directory,
            self._names_tree(directory, names),
            automount=directory == AUTOMOUNT,
            kind=NAMES,
            source=b"/".join(sorted(names)) or b"/",
        )

    def _names_tree(self, directory: bytes, names: set[bytes]) -> Tree:
        from pyparrot.sources.names import Names

        self._names[directory] = names
        return Names(self._store, directory, names)

    def _mount_option(self, option: MountOption) -> None:
        path = _path_of(option)
        if not path.startswith(b"/") or path == b"/":
            raise PyparrotError(option.path, "not a mount point", "an absolute path, below /")
        self.mount(path, self._open(CHOSEN, option.source, path), CHOSEN, option.source)

    def _open(self, kind: int, source: str, path: bytes, pin: str = "") -> Tree:
        from pyparrot.sources import registry

        open_it = registry.open_by_name if kind == AUTOMATIC else registry.open_source
        return self._note_opened(open_it(source, self._context(path, pin or None)))

    def _context(self, path: bytes, pin: str | None) -> Context:
        from pyparrot.sources.registry import Context

        environment = {**os.environ, **self._options.environment}
        return Context(
            self._store,
            path,
            self._options.parameters,
            self._options.wanted,
            {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
            quota_given=self._options.quota is not None,
            pin=pin,
        )

    def _note_opened(self, tree: Tree) -> Tree:
        self._opened.append(tree)
        for warning in tree.warnings:
            self._report.complain(f"warning: {warning}")
        return tree

    def mount(self, path: bytes, tree: Tree, kind: int = CHOSEN, source: str = "") -> None:
        """Show *tree* at *path*, and the mount point in the directories above it.

        *kind* and *source* are as in `MountTable.mount`. `PyparrotError` if others could put
        something into its views.
        """
        self._store.check_views(view_name(path, tree))
        self._table.mount(path, tree, size=self._store.quota, kind=kind, source=os.fsencode(source))
        self._report.say(1, f"mounted {tree.name} at {printable(path)}")
        with self._naming:
            self._show_in_parent(path)

    def _show_in_parent(self, path: bytes) -> None:
        """Show a mount point in the directory above it, even if there is no such directory."""
        parent, _, name = path.rpartition(b"/")
        if parent in self._names:
            if name not in self._names[parent]:
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
        """Mount what a program has named; False if there is nothing of that name.

        `OSError` if this machine prevents it, which says nothing about what there is.
        """
        if path == AUTOMOUNT:
            with self._naming:
                self._mount_names(path, self._names[path])
            return True
        from pyparrot.sources import registry
        from pyparrot.transport import TransportError

        kind, source, pin = AUTOMATIC, os.fsdecode(path.rpartition(b"/")[2]), ""
        missing = self._missing.get(path)
        if missing is not None:
            kind, source, pin = missing.kind, os.fsdecode(missing.source), missing.pin.decode()
        try:
            tree = self._open(kind, source, path, pin)
        except registry.UnknownSourceError:
            return False
        except PyparrotError as error:
            # Many programs look for their files in all directories above them: such a name is
            # seldom meant to be a repository's, unless the user has named the server of one.
            unknown = isinstance(error, TransportError) and error.errno == errno.ENOENT
            url = self._options.parameters.get("CVMFS_SERVER_URL", "@fqrn@")
            if unknown and ("@fqrn@" in url or "@org@" in url):
                self._report.say(1, str(error))
            else:
                self._report.complain(str(error))
            return False
        self.mount(path, tree, kind, source)
        self._missing.pop(path, None)
        return True

    def open_newest(self, tree: Renewable) -> Tree:
        """Open the newest revision of what is mounted."""
        return self._note_opened(tree.newest())


def _path_of(option: MountOption) -> bytes:
    return os.fsencode(os.path.normpath(option.path))

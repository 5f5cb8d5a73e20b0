"""Directories that hold nothing but mount points."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyparrot.tree.base import Tree
from pyparrot.tree.index import ROOT_HASH, Index
from pyparrot.tree.listing import Named, index_listing
from pyparrot.tree.snapshot import NeedIndex, Snapshot

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.tree.entries import Node
    from pyparrot.tree.snapshot import Found


class Names(Tree):
    """A directory that is nothing but a place for mount points: ``/cvmfs``."""

    def __init__(self, store: ObjectStore, path: bytes, names: Iterable[bytes]) -> None:
        self.name = "names"
        self.device = os.makedev(0x7AF, 1)
        directory = Named(b"", stat.S_IFDIR | 0o755, 4096, time.time_ns(), 0, 0, 2)
        held = [directory._replace(name=name) for name in sorted(set(names))]
        root = index_listing(store, directory, held, ROOT_HASH, nested=False)
        self.snapshot = Snapshot(root, path, {})
        self.identity = b"names"

    def fetch_index(self, need: NeedIndex) -> Index:
        """Nothing is nested."""
        raise NotImplementedError

    def body(self, node: Node, path: bytes) -> str:
        """There are no files."""
        raise NotImplementedError

    def magic_xattr(self, found: Found, name: bytes) -> bytes | None:
        """As `pyparrot.sources.capabilities.MagicXattrs`."""
        from pyparrot.sources import magic_xattrs

        return magic_xattrs.value(self, found, name)

    def close(self) -> None:
        """Nothing is open."""

"""The local cache: everything that was once used, verified, within a quota."""

from pyparrot.cache.store import ObjectStore, default_directory

__all__ = ["ObjectStore", "default_directory"]

"""The local cache: everything that was once used, verified, within a quota."""

from .store import ObjectStore, default_directory

__all__ = ["ObjectStore", "default_directory"]

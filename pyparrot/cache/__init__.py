"""The local cache: everything that was once used, verified, within a quota.

It knows no repositories: what is in it are named objects (`names`) and a few small files.
"""

from pyparrot.cache.store import ObjectStore

__all__ = ["ObjectStore"]

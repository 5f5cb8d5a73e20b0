"""The way in for programs: `open_repository`.

from pyparrot.repository import open_repository

with open_repository("sw.example.org", server="http://127.0.0.1:8000/cvmfs/@fqrn@") as sw:
    for name in sw.listdir("/releases"):
        print(name, sw.stat(f"/releases/{name}").st_size)
    with sw.open("/releases/README") as file:
        print(file.read())
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.remote import RemoteRepository
    from pyparrot.sources.cvmfs.revisions import Wanted

__all__ = ["Wanted", "open_repository"]


def open_repository(  # noqa: PLR0913 (keywords, all with a default)
    fqrn: str,
    *,
    server: str | None = None,
    key: str | None = None,
    proxy: str | None = None,
    cache: str | None = None,
    quota: int | None = None,
    wanted: Wanted | None = None,
    refresh: bool = False,
    options: Mapping[str, str] | None = None,
) -> RemoteRepository:
    """Open a CernVM-FS repository, as it is configured (`pyparrot.config`).

    *server* (a URL or a chain of them, ``;`` between), *key* (files of master keys, ``:``
    between) and *proxy* replace CVMFS_SERVER_URL, CVMFS_PUBLIC_KEY and CVMFS_HTTP_PROXY; any other
    parameter can be given in *options*. *cache* is the cache's directory, *quota* its size in
    bytes, *wanted* the revision; *refresh* asks the servers which is the newest even if the TTL of
    what is known has not passed. `PyparrotError` or `OSError` if it can't be opened; close it at
    the end.
    """
    from pyparrot.cache.directory import choose_directory, configured_quota
    from pyparrot.cache.store import ObjectStore
    from pyparrot.config import load
    from pyparrot.sources.cvmfs.remote import RemoteRepository

    given = {"CVMFS_SERVER_URL": server, "CVMFS_PUBLIC_KEY": key, "CVMFS_HTTP_PROXY": proxy}
    values = {name: value for name, value in given.items() if value is not None}
    configuration = load(fqrn, {**values, **(options or {})})
    if quota is None:
        quota = configured_quota(configuration)
    directory = choose_directory(cache, configuration.get("CVMFS_CACHE_DIR"))
    return RemoteRepository(configuration, ObjectStore(directory, quota), wanted, refresh=refresh)


def __getattr__(name: str) -> object:
    if name == "Wanted":
        from pyparrot.sources.cvmfs.revisions import Wanted

        return Wanted
    raise AttributeError(name)

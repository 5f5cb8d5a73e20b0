"""Opens CernVM-FS repositories for the registry (`pyparrot.sources.registry`)."""

from __future__ import annotations

from pyparrot.cache.directory import configured_quota
from pyparrot.config import load
from pyparrot.errors import PyparrotError
from pyparrot.sources.cvmfs.remote import RemoteRepository
from pyparrot.sources.cvmfs.servers import server_url
from pyparrot.sources.registry import Context, UnknownSourceError

_URL_PREFIX = "cvmfs+"


def open_url(text: str, context: Context) -> RemoteRepository:
    """Open ``cvmfs+http://server/cvmfs/FQRN``."""
    url = text[len(_URL_PREFIX) :].rstrip("/")
    parameters = {**context.parameters, "CVMFS_SERVER_URL": url}
    return open_fqrn(url.rpartition("/")[2], context._replace(parameters=parameters))


def open_fqrn(fqrn: str, context: Context) -> RemoteRepository:
    """Open the repository *fqrn*, as it is configured."""
    try:
        configuration = load(fqrn, context.parameters)
        server_url(configuration)
    except PyparrotError as error:
        raise UnknownSourceError(error.what, error.why, error.hint, status=error.status) from None
    if not context.quota_given:
        context.store.quota = configured_quota(configuration)
    return RemoteRepository(
        configuration,
        context.store,
        context.wanted,
        context.environment,
        refresh=context.refresh,
        mountpoint=context.mountpoint,
        pin=context.pin,
    )

"""From a repository's parameters to transports: its servers, proxies, timeouts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pyparrot.errors import PyparrotError
from pyparrot.transport import Policy, ProxyGroups, Transport, parse_servers

if TYPE_CHECKING:
    from pyparrot.config import Configuration

_LONGEST = 24 * 3600
"""The most that a parameter in seconds may be."""


def server_url(configuration: Configuration) -> str:
    """The chain of servers that is configured; `PyparrotError` if there is none."""
    url = configuration.get("CVMFS_SERVER_URL")
    if not url:
        raise PyparrotError(
            configuration.fqrn,
            "no server is known for this repository",
            "--server URL, or CVMFS_SERVER_URL",
        )
    return url


def transport(configuration: Configuration) -> Transport:
    """What fetches a repository's objects; `PyparrotError` if a parameter is wrong."""
    return _new_transport(configuration, server_url(configuration), "CVMFS_")


def external_transport(configuration: Configuration) -> Transport | None:
    """What fetches external files; None if no server for them is configured."""
    url = configuration.get("CVMFS_EXTERNAL_URL")
    return _new_transport(configuration, url, "CVMFS_EXTERNAL_") if url else None


def _new_transport(configuration: Configuration, url: str, common: str) -> Transport:
    number = partial(configuration.number, maximum=_LONGEST)
    proxies = configuration.get(f"{common}HTTP_PROXY") or "DIRECT"
    fallback = configuration.get(f"{common}FALLBACK_PROXY") or ""
    policy = Policy(
        timeout=number(f"{common}TIMEOUT", 5, minimum=1),
        timeout_direct=number(f"{common}TIMEOUT_DIRECT", 10, minimum=1),
        low_speed_limit=configuration.number("CVMFS_LOW_SPEED_LIMIT", 1024, minimum=0),
        retries=number("CVMFS_MAX_RETRIES", 1, minimum=0),
        backoff_init=number("CVMFS_BACKOFF_INIT", 2, minimum=0),
        backoff_max=number("CVMFS_BACKOFF_MAX", 10, minimum=0),
        proxy_reset_after=number("CVMFS_PROXY_RESET_AFTER", 300, minimum=0),
        host_reset_after=number("CVMFS_HOST_RESET_AFTER", 1800, minimum=0),
        follow_redirects=configuration.boolean("CVMFS_FOLLOW_REDIRECTS", False),
    )
    return Transport(parse_servers(url), ProxyGroups.parse(proxies, fallback), policy)

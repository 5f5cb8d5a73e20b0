"""HTTP as CernVM-FS wants it: a chain of servers, groups of proxies, failover and back-off.

`Transport` fetches; what it may use and how long it may take are `parse_servers`, `ProxyGroups`
and `Policy`. Nothing here knows repositories: a *sink* of the caller judges the content as it
arrives and raises `Corrupt` if it is not what was asked for.

``servers`` and ``proxies`` remember between requests which server and proxy are in use,
``failover`` decides what a request tries next, ``failures`` whose fault a failure is, ``policy``
holds the limits, ``connections`` the sockets, and ``client`` puts them together.

Importing this does not import requests: programs that find everything in the cache start faster.
"""

from __future__ import annotations

from pyparrot.transport.client import Sink, Statistics, Transport
from pyparrot.transport.failures import Corrupt, TransportError
from pyparrot.transport.policy import Policy
from pyparrot.transport.proxies import DIRECT, ProxyGroups
from pyparrot.transport.servers import parse_servers

__all__ = [
    "DIRECT",
    "Corrupt",
    "Policy",
    "ProxyGroups",
    "Sink",
    "Statistics",
    "Transport",
    "TransportError",
    "parse_servers",
]

"""What is known without any configuration: public facts about servers, keys and time-outs.

Servers are those of the ``domain.d`` files in the public repository cvmfs-contrib/config-repo, the
source of what CernVM-FS clients find in their configuration repository (revision
0a227e23cd8bfe25c0b74d9079dc2c8133154e38). Keys are those that the package cvmfs-config-default
installs: ``mount/keys`` in the repository cvmfs/cvmfs, and for opensciencegrid.org its
``cvmfs-keys/keys``; Parrot (cctools) carries the same key. Other values are those of
``mount/default.conf`` in cvmfs/cvmfs, but for the proxy: a client that mounts refuses to start when
none is set, while pyparrot needs nothing but the network.
"""

from __future__ import annotations

import os

_PARAMETERS = {
    "CVMFS_BACKOFF_INIT": "2",
    "CVMFS_BACKOFF_MAX": "10",
    "CVMFS_DEFAULT_DOMAIN": "cern.ch",
    "CVMFS_FOLLOW_REDIRECTS": "no",
    "CVMFS_HOST_RESET_AFTER": "1800",
    "CVMFS_HTTP_PROXY": "DIRECT",
    "CVMFS_LOW_SPEED_LIMIT": "1024",
    "CVMFS_MAX_RETRIES": "1",
    "CVMFS_MOUNT_DIR": "/cvmfs",
    "CVMFS_PAC_URLS": "http://wpad/wpad.dat",
    "CVMFS_PROXY_RESET_AFTER": "300",
    "CVMFS_QUOTA_LIMIT": "4000",
    "CVMFS_SEND_INFO_HEADER": "no",
    "CVMFS_TIMEOUT": "5",
    "CVMFS_TIMEOUT_DIRECT": "10",
    "CVMFS_USE_GEOAPI": "no",
}

_SERVERS = {
    "cern.ch": (
        "cvmfs-stratum-one.cern.ch:8000",
        "cernvmfs.gridpp.rl.ac.uk:8000",
        "cvmfs-s1bnl.opensciencegrid.org:8000",
        "cvmfs-s1fnal.opensciencegrid.org:8000",
        "cvmfs-stratum-one.ihep.ac.cn:8000",
        "cvmfs-s1.hpc.swin.edu.au:8000",
        "sampacs01.if.usp.br:8000",
    ),
    "egi.eu": (
        "cvmfs-egi.gridpp.rl.ac.uk:8000",
        "cvmfs01.nikhef.nl:8000",
        "cvmfsrepo.lcg.triumf.ca:8000",
        "cvmfs-stratum-one.ihep.ac.cn:8000",
        "cvmfs-s1.hpc.swin.edu.au:8000",
        "sampacs01.if.usp.br:8000",
    ),
    "opensciencegrid.org": (
        "cvmfs-egi.gridpp.rl.ac.uk:8000",
        "cvmfs01.nikhef.nl:8000",
        "cvmfs-s1bnl.opensciencegrid.org:8000",
        "cvmfs-s1fnal.opensciencegrid.org:8000",
        "cvmfs-stratum-one.ihep.ac.cn:8000",
        "cvmfs-s1.hpc.swin.edu.au:8000",
        "sampacs01.if.usp.br:8000",
    ),
}

# The same servers behind a content delivery network, for CVMFS_USE_CDN=yes.
_CDN = {
    "cern.ch": (
        "s1cern-cvmfs.openhtc.io",
        "s1bnl-cvmfs.openhtc.io",
        "s1fnal-cvmfs.openhtc.io:8080",
        "s1ihep-cvmfs.openhtc.io:8080",
        "s1swinburne-cvmfs.openhtc.io:8080",
        "s1sampa-cvmfs.openhtc.io:8080",
    ),
    "egi.eu": (
        "s1nikhef-cvmfs.openhtc.io",
        "s1triumf-cvmfs.openhtc.io:8080",
        "s1ihep-cvmfs.openhtc.io:8080",
        "s1swinburne-cvmfs.openhtc.io:8080",
        "s1sampa-cvmfs.openhtc.io:8080",
    ),
    "opensciencegrid.org": (
        "s1nikhef-cvmfs.openhtc.io",
        "s1bnl-cvmfs.openhtc.io",
        "s1fnal-cvmfs.openhtc.io:8080",
        "s1ihep-cvmfs.openhtc.io:8080",
        "s1swinburne-cvmfs.openhtc.io:8080",
        "s1sampa-cvmfs.openhtc.io:8080",
    ),
}

_KEYS = {
    "cern.ch": ("cern-it1.cern.ch.pub", "cern-it4.cern.ch.pub", "cern-it5.cern.ch.pub"),
    "egi.eu": ("egi.eu.pub",),
    "opensciencegrid.org": ("opensciencegrid.org.pub",),
}


def parameters(domain: str) -> dict[str, str]:
    """The parameters of repositories of *domain*."""
    values = dict(_PARAMETERS)
    if domain in _SERVERS:
        values["CVMFS_SERVER_URL"] = _chain(_SERVERS[domain])
        values["CVMFS_USE_GEOAPI"] = "yes"
    return values


def content_network(domain: str) -> str | None:
    """The value of ``CVMFS_SERVER_URL`` with a content delivery network, if one is known."""
    return _chain(_CDN[domain]) if domain in _CDN else None


def keys(domain: str) -> list[str]:
    """The files of the master keys that sign for *domain*, and for no other."""
    directory = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keys")
    return [os.path.join(directory, name) for name in _KEYS.get(domain, ())]


def _chain(hosts: tuple[str, ...]) -> str:
    return ";".join(f"http://{host}/cvmfs/@fqrn@" for host in hosts)

"""What a user can ask of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pyparrot.sources.cvmfs.revisions import Wanted


class MountOption(NamedTuple):
    """What the user wants to see at *path*: an FQRN, ``cvmfs+http://…``, or a local directory."""

    path: str
    source: str


class Options(NamedTuple):
    """How to run a command. What is None is left to the configuration."""

    mounts: Sequence[MountOption] = ()
    parameters: Mapping[str, str] = {}
    wanted: Wanted | None = None
    cache: str | None = None
    quota: int | None = None
    environment: Mapping[str, str] = {}
    verbosity: int = 0
    log: str | None = None
    stats: bool = False
    follow: bool = False
    shim: bool = True
    touched: str | None = None
    engine: str = "auto"

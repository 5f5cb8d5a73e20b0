"""Where configuration is kept: the machine's and the user's."""

from __future__ import annotations

import os
from collections.abc import Mapping

ETC = "/etc/cvmfs"
"""Where a machine keeps the configuration of CernVM-FS."""


def config_directory(environ: Mapping[str, str] | None = None) -> str:
    """The user's configuration directory of pyparrot."""
    variables = os.environ if environ is None else environ
    base = variables.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    # A user whom the machine does not know has no home; a working directory's files are not his.
    return os.path.join(base if os.path.isabs(base) else "/nonexistent", "pyparrot")

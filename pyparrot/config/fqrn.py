"""Fully qualified repository names (FQRN): which are valid, and what their parts are called."""

from __future__ import annotations

import re

from pyparrot.errors import PyparrotError

_FQRN = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)+")


def check_fqrn(fqrn: str) -> None:
    """Raise if *fqrn* can't name a repository."""
    if not _FQRN.fullmatch(fqrn) or len(fqrn) > 253:
        raise PyparrotError(
            fqrn or "FQRN",
            "not a repository name",
            "lower-case letters, digits and '-' in at least two parts: sw.example.org",
        )


def split_fqrn(fqrn: str) -> tuple[str, str]:
    """The organisation and the domain of a repository: ``sft.cern.ch`` is sft, of cern.ch."""
    organisation, _, domain = fqrn.partition(".")
    return organisation, domain

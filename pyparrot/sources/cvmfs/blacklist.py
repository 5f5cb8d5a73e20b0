"""Blacklists: certificates and revisions that are not to be trusted any more.

Source: CernVM-FS ``catalog_mgr_client.cc`` and ``signature.cc``: lines of a fingerprint as in a
whitelist, or of ``<fqrn N``, which refuses the revisions of a repository below N.
"""

from __future__ import annotations

from typing import NamedTuple

from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.whitelist import fingerprint, fingerprint_text

_MOST_DIGITS = 19


class Blacklist(NamedTuple):
    """What a blacklist says; fingerprints without colons, in small letters."""

    fingerprints: frozenset[str] = frozenset()
    first_revisions: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Blacklist:
        """Read a blacklist; lines that are neither are ignored, as the official client does."""
        fingerprints, revisions = set(), []
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            is_revision = len(words) == 2 and words[0].startswith("<") and words[1].isdecimal()
            if is_revision and len(words[1]) <= _MOST_DIGITS:
                revisions.append((words[0][1:], int(words[1])))
            elif words:
                fingerprints.add(_plain(words[0]))
        return cls(frozenset(fingerprints), tuple(revisions))

    def lists(self, certificate_der: bytes) -> bool:
        """Whether a certificate is on the list, by whichever algorithm's fingerprint."""
        for algorithm in Algorithm:
            # Not every machine has every algorithm: ask for no more than are used.
            listed = [name for name in self.fingerprints if name.endswith(algorithm.suffix)]
            found = fingerprint_text(fingerprint(certificate_der, algorithm)) if listed else ""
            if listed and _plain(found) in listed:
                return True
        return False

    def first_revision(self, fqrn: str) -> int:
        """The first revision of a repository that is not on the list."""
        return max((first for name, first in self.first_revisions if name == fqrn), default=0)


def _plain(fingerprint_line: str) -> str:
    return fingerprint_line.replace(":", "").lower()

"""The whitelist ``.cvmfswhitelist``: which certificates may sign manifests, and until when.

Source: CernVM-FS ``whitelist.cc``, ``server/cvmfs_server_ssl.sh``. Signed with the master key, as
`signed_text` says. The expiry counts by the hour: valid while now is before that hour.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import NamedTuple

from pyparrot.sources.cvmfs.hashes import Algorithm, ContentHash

FILE_NAME = ".cvmfswhitelist"

_TIME = "%Y%m%d%H%M%S"
_SIZE_LIMIT = 1024 * 1024
_FINGERPRINT = re.compile(r"((?:[0-9A-F]{2}:?){20})(-RMD160|-SHAKE128)?(?:[ #].*)?", re.IGNORECASE)


class Whitelist(NamedTuple):
    """What a whitelist says; times are aware and in UTC."""

    fqrn: str
    issued: datetime
    expires: datetime
    fingerprints: tuple[ContentHash, ...]

    def encode(self) -> bytes:
        """The text that is signed."""
        lines = [self.issued.strftime(_TIME), "E" + self.expires.strftime(_TIME), "N" + self.fqrn]
        lines += map(fingerprint_text, self.fingerprints)
        return "".join(line + "\n" for line in lines).encode()

    @classmethod
    def parse(cls, text: bytes) -> Whitelist:
        """Read the text part of a whitelist; `ValueError` names what is wrong with it."""
        if len(text) > _SIZE_LIMIT:
            raise ValueError("too large for a whitelist")
        lines = text.decode("ascii").splitlines()
        if len(lines) < 3 or lines[1][:1] != "E" or lines[2][:1] != "N":
            raise ValueError("not a whitelist")
        fingerprints = []
        for line in lines[3:]:
            match = _FINGERPRINT.fullmatch(line)
            if match:
                digits = match[1].replace(":", "") + (match[2] or "")
                fingerprints.append(ContentHash.parse(digits.lower()))
        return cls(lines[2][1:], _time(lines[0]), _time(lines[1][1:]), tuple(fingerprints))

    def expired(self, now: datetime) -> bool:
        """Whether the whitelist is no longer valid at *now*."""
        hour = {"minute": 0, "second": 0, "microsecond": 0}
        return not now.replace(**hour) < self.expires.replace(**hour)  # type: ignore[arg-type]


def fingerprint(certificate_der: bytes, algorithm: Algorithm) -> ContentHash:
    """What a whitelist lists for a certificate."""
    return algorithm.of(certificate_der)


def fingerprint_text(value: ContentHash) -> str:
    """A fingerprint as the whitelist writes it: ``AB:CD:…[-SHAKE128]``."""
    digits = value.digest.hex().upper()
    pairs = ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))
    return pairs + value.algorithm.suffix.upper()


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc)

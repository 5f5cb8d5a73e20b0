"""Content hashes: the names of everything in a repository.

Source: CernVM-FS ``crypto/hash.h`` and ``hash.cc``. All three algorithms give 20 bytes. In text a
hash is lower-case hex followed by the algorithm's identifier (``-rmd160``, ``-shake128``; SHA-1
has none). An object lies at ``data/XX/YYYY…`` where ``XX`` are the first two digits; a letter at
the end tells what kind of object it is.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol

from pyparrot.errors import PyparrotError

DIGEST_SIZE = 20

_TEXT = re.compile(r"([0-9a-f]{40})(-rmd160|-shake128)?")


class Hasher(Protocol):
    """The part of hashlib's objects that is used here."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes in."""

    def digest(self) -> bytes:
        """The hash of what was taken in."""


class Algorithm(IntEnum):
    """A hash algorithm; the value is what a catalog's flags hold."""

    SHA1 = 0
    RMD160 = 1
    SHAKE128 = 2

    @property
    def suffix(self) -> str:
        """The identifier behind the hex digits."""
        return ("", "-rmd160", "-shake128")[self]

    @classmethod
    def named(cls, name: str) -> Algorithm:
        """The algorithm that the server's configuration calls *name*."""
        try:
            return {"sha1": cls.SHA1, "rmd160": cls.RMD160, "shake128": cls.SHAKE128}[name]
        except KeyError:
            raise PyparrotError(
                name, "unknown hash algorithm", "sha1, rmd160 or shake128"
            ) from None

    def hasher(self) -> Hasher:
        """A new hash in progress; `finish` gives its digest."""
        if self is Algorithm.SHA1:
            return hashlib.sha1(usedforsecurity=False)
        if self is Algorithm.SHAKE128:
            return _Shake128()
        return _new_rmd160()

    def finish(self, hasher: Hasher) -> ContentHash:
        """The hash of all that *hasher* (one of this algorithm's) took in."""
        return ContentHash(hasher.digest(), self)

    def of(self, data: bytes) -> ContentHash:
        """The hash of *data*."""
        hasher = self.hasher()
        hasher.update(data)
        return self.finish(hasher)


class Kind(Enum):
    """What an object is; the value is the letter at the end of its path."""

    BODY = ""
    CHUNK = "P"
    CATALOG = "C"
    HISTORY = "H"
    CERTIFICATE = "X"
    METAINFO = "M"


class ContentHash(NamedTuple):
    """The hash of an object's stored bytes, and so its name."""

    digest: bytes
    algorithm: Algorithm

    def __str__(self) -> str:
        return self.digest.hex() + self.algorithm.suffix

    def path(self, kind: Kind) -> str:
        """Where the object lies below the repository's root."""
        text = self.digest.hex()
        return f"data/{text[:2]}/{text[2:]}{self.algorithm.suffix}{kind.value}"

    @classmethod
    def parse(cls, text: object) -> ContentHash:
        """Read a hash from its text; `ValueError` for anything else that a database may hold."""
        match = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if not match:
            raise ValueError(f"not a hash: {str(text)[:80]!r}")
        algorithm = next(a for a in Algorithm if a.suffix == (match[2] or ""))
        return cls(bytes.fromhex(match[1]), algorithm)

    @classmethod
    def null(cls, algorithm: Algorithm) -> ContentHash:
        """All zeros: "there is none" where the format wants a hash."""
        return cls(bytes(DIGEST_SIZE), algorithm)


class _Shake128:
    """SHAKE-128 gives as many bytes as one asks for: here always 20."""

    def __init__(self) -> None:
        self._shake = hashlib.shake_128(usedforsecurity=False)
        self.update = self._shake.update

    def digest(self) -> bytes:
        return self._shake.digest(DIGEST_SIZE)


def _new_rmd160() -> Hasher:
    try:
        return hashlib.new("ripemd160", usedforsecurity=False)
    except ValueError:
        pass
    try:
        from Crypto.Hash import RIPEMD160
    except ImportError:
        raise PyparrotError(
            "rmd160", "this Python's OpenSSL has no RIPEMD-160", "pip install 'pyparrot[rmd160]'"
        ) from None
    hasher: Hasher = RIPEMD160.new()
    return hasher

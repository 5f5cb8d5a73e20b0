"""The manifest ``.cvmfspublished``: which revision is the current one.

Source: CernVM-FS ``manifest.cc``. Lines of a letter and a value, in any order, unknown letters
ignored; signed as `signed_text` says.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from pyparrot.sources.cvmfs.hashes import ContentHash

FILE_NAME = ".cvmfspublished"
ROOT_PATH_HASH = hashlib.md5(b"", usedforsecurity=False).hexdigest()

_SIZE_LIMIT = 64 * 1024
"""A manifest has some 600 bytes; more than this is not one."""


class Manifest(NamedTuple):
    """What a manifest says; times in unix seconds, sizes in bytes."""

    fqrn: str
    catalog: ContentHash
    catalog_size: int
    revision: int
    ttl: int
    published: int
    certificate: ContentHash | None = None
    history: ContentHash | None = None
    metainfo: ContentHash | None = None
    reflog: ContentHash | None = None
    garbage_collectable: bool = False
    alternative_path: bool = False

    def encode(self) -> bytes:
        """The text that is signed."""
        lines = [
            f"C{self.catalog}",
            f"B{self.catalog_size}",
            f"R{ROOT_PATH_HASH}",
            f"D{self.ttl}",
            f"S{self.revision}",
            f"G{_yes_no(self.garbage_collectable)}",
            f"A{_yes_no(self.alternative_path)}",
            f"N{self.fqrn}",
        ]
        optional = {"X": self.certificate, "H": self.history}
        lines += [f"{letter}{value}" for letter, value in optional.items() if value]
        lines.append(f"T{self.published}")
        optional = {"M": self.metainfo, "Y": self.reflog}
        lines += [f"{letter}{value}" for letter, value in optional.items() if value]
        return "".join(line + "\n" for line in lines).encode()

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """Read the text part of a manifest; `ValueError` names what is wrong with it."""
        if len(text) > _SIZE_LIMIT:
            raise ValueError("too large for a manifest")
        fields = {line[:1]: line[1:] for line in text.decode("ascii").splitlines()}
        missing = [letter for letter in "CRDSN" if letter not in fields]
        if missing:
            raise ValueError(f"no field {missing[0]}")
        if fields["R"] != ROOT_PATH_HASH:
            raise ValueError("the root path's hash is not the one of an empty path")

        def content_hash(letter: str) -> ContentHash | None:
            return ContentHash.parse(fields[letter]) if letter in fields else None

        return cls(
            fqrn=fields["N"],
            catalog=ContentHash.parse(fields["C"]),
            catalog_size=_number(fields.get("B", "0")),
            revision=_number(fields["S"]),
            ttl=_number(fields["D"]),
            published=_number(fields.get("T", "0")),
            certificate=content_hash("X"),
            history=content_hash("H"),
            metainfo=content_hash("M"),
            reflog=content_hash("Y"),
            garbage_collectable=fields.get("G") == "yes",
            alternative_path=fields.get("A") == "yes",
        )


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 19:
        raise ValueError(f"not a number: {text[:80]!r}")
    return int(text)

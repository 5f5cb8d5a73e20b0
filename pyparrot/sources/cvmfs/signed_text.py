"""Signed texts: the form that manifest and whitelist share.

Source: CernVM-FS ``crypto/signature.cc``. It is a text, the line ``--``, the hash of the text
in ASCII and a newline, and then the raw signature, made over the ASCII hash (without newline).
"""

from __future__ import annotations

from typing import NamedTuple

from pyparrot.sources.cvmfs.hashes import ContentHash

SEPARATOR = b"--\n"


class SignedText(NamedTuple):
    """A signed text taken apart; nothing about it is verified but the hash's own form."""

    text: bytes
    text_hash: ContentHash
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over."""
        return str(self.text_hash).encode()

    @property
    def intact(self) -> bool:
        """Whether the text has the hash that was signed."""
        return self.text_hash.algorithm.of(self.text) == self.text_hash

    @classmethod
    def parse(cls, raw: bytes) -> SignedText:
        """Take *raw* apart; `ValueError` if it is no signed text."""
        start = 0 if raw.startswith(SEPARATOR) else raw.find(b"\n" + SEPARATOR) + 1
        if start == 0 and not raw.startswith(SEPARATOR):
            raise ValueError("no signature")
        text, rest = raw[:start], raw[start + len(SEPARATOR) :]
        line, newline, signature = rest.partition(b"\n")
        if not newline or not signature:
            raise ValueError("the signature is cut off")
        return cls(text, ContentHash.parse(line.decode("ascii", "replace")), signature)

    def encode(self) -> bytes:
        """The signed text as it is stored."""
        return self.text + SEPARATOR + self.signed + b"\n" + self.signature

"""Names of objects: what is looked for in the store, and what kind of object a file is.

A name is ``HASH[-ALGORITHM][LETTER][.FIELD...]``: a hash in hexadecimal (with the identifier of its
algorithm, as in CernVM-FS), a letter for the kind of object, and what else tells two objects apart.
The letter and the number of fields say which kind it is. Kinds are registered by the modules that
make such objects; a name of a kind that is not registered is still a name: such objects can be
listed, counted and removed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

CONTENT_HASH = "[0-9a-f]{40}(?:-[a-z0-9]+)?"
"""What `Kind.hash` is for hashes of 20 bytes."""

HEXADECIMAL = "[0-9a-f]+"
"""A field that is a number, or a hash of any length."""

CHECKSUM = "[0-9a-f]{8}"
"""A field that is what `checksum` gives for the object's content.

For objects whose hash says where their content is from, and not what it is. It is the last field,
so that such an object can be found by all that is before (`Kind.beginning`).
"""

_NAME = r"([0-9a-f]+(?:-[a-z0-9]+)?)([A-Z]?)((?:\.[0-9a-z]+)*)"


class Parts(NamedTuple):
    """A name, taken apart; *hash* has its algorithm's identifier behind it."""

    hash: str
    letter: str
    fields: tuple[str, ...]


class ObjectName(str):
    """The name of an object in the store. It is a text, so that databases and JSON take it."""

    __slots__ = ()

    @property
    def parts(self) -> Parts | None:
        """What the name consists of; None if it does not have the form of a name."""
        match = re.fullmatch(_NAME, self)
        return Parts(match[1], match[2], tuple(match[3].split(".")[1:])) if match else None

    @property
    def kind(self) -> Kind | None:
        """What kind of object has such a name; None if that is not known here."""
        parts = self.parts
        if parts is None:
            return None
        kind = _kinds.get((parts.letter, len(parts.fields)))
        return kind if kind is not None and kind.fits(parts) else None


class Kind:
    """A kind of object: *plural* is what people call such objects.

    Names have *letter* (one or none) behind the hash, and as many fields as there are *fields*.
    *hash* and *fields* are regular expressions.
    """

    def __init__(
        self,
        plural: str,
        letter: str = "",
        fields: tuple[str, ...] = (),
        hash: str = CONTENT_HASH,
    ) -> None:
        self.plural = plural
        self.letter = letter
        self.fields = fields
        self.hash = hash

    def name(self, hash_text: object, *fields: object) -> ObjectName:
        """The name of an object of this kind; hash and fields are what their text is."""
        assert len(fields) == len(self.fields)
        return ObjectName(".".join([f"{hash_text}{self.letter}", *map(str, fields)]))

    def beginning(self, hash_text: object, *fields: object) -> str:
        """What names with this hash and these first fields begin with."""
        return ".".join([f"{hash_text}{self.letter}", *map(str, fields), ""])

    @property
    def has_checksum(self) -> bool:
        """Whether the last field is a checksum of the content."""
        return self.fields[-1:] == (CHECKSUM,)

    def fits(self, parts: Parts) -> bool:
        """Whether *parts*, with the right letter and number of fields, have the right form."""
        texts = zip((self.hash, *self.fields), (parts.hash, *parts.fields))
        return all(re.fullmatch(pattern, text) for pattern, text in texts)


def checksum(crc: int) -> str:
    """The `CHECKSUM` field for the CRC-32 (`zlib.crc32`) of an object's content."""
    return f"{crc:08x}"


_kinds: dict[tuple[str, int], Kind] = {}


def register(kind: Kind) -> Kind:
    """Make a kind known, and give it back. `ValueError` if another one has such names."""
    known = _kinds.setdefault((kind.letter, len(kind.fields)), kind)
    if known is not kind:
        raise ValueError(f"{known.plural} have the same names as {kind.plural}")
    return kind

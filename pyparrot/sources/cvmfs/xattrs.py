"""The blob that holds a catalog entry's extended attributes.

Source: CernVM-FS ``xattr.cc``. One byte version (1), one byte count, then for each attribute one
byte each for the lengths of name and value, name, value. So a name or a value has at most 255
bytes, and an entry at most 255 attributes.
"""

from __future__ import annotations

from collections.abc import Mapping

VERSION = 1
LONGEST = 255


def travels(name: bytes) -> bool:
    """Whether an attribute means something on another machine, and so is published."""
    return name.startswith((b"user.", b"system.posix_acl_")) or name == b"security.capability"


def fits(name: bytes, value: bytes) -> bool:
    """Whether the format can hold this attribute."""
    return 0 < len(name) <= LONGEST and len(value) <= LONGEST


def pack(attributes: Mapping[bytes, bytes]) -> bytes | None:
    """The blob for *attributes*, sorted by name; None if there are none.

    `ValueError` if there are too many of them or one does not fit.
    """
    if not attributes:
        return None
    if len(attributes) > LONGEST or not all(fits(*item) for item in attributes.items()):
        raise ValueError("extended attributes beyond what the format holds")
    parts = [bytes((VERSION, len(attributes)))]
    for name, value in sorted(attributes.items()):
        parts += (bytes((len(name), len(value))), name, value)
    return b"".join(parts)


def unpack(blob: bytes) -> dict[bytes, bytes]:
    """The attributes in *blob*; `ValueError` if it is malformed."""
    attributes, fault = _unpack(blob)
    if fault:
        raise ValueError(fault)
    return attributes


def unpack_readable(blob: bytes) -> tuple[dict[bytes, bytes], bool]:
    """The attributes in *blob* that can be read, and whether it is well-formed."""
    attributes, fault = _unpack(blob)
    return attributes, not fault


def _unpack(blob: bytes) -> tuple[dict[bytes, bytes], str]:
    """The attributes up to the first fault, and what that is; empty if there is none."""
    attributes: dict[bytes, bytes] = {}
    if len(blob) < 2 or blob[0] != VERSION:
        return attributes, "not a version 1 attribute list"
    position = 2
    for _ in range(blob[1]):
        if position + 2 > len(blob):
            return attributes, "attribute list ends early"
        name_end = position + 2 + blob[position]
        value_end = name_end + blob[position + 1]
        if value_end > len(blob):
            return attributes, "attribute list ends early"
        attributes[blob[position + 2 : name_end]] = blob[name_end:value_end]
        position = value_end
    return attributes, "" if position == len(blob) else "bytes behind the attribute list"

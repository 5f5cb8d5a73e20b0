"""What a tree holds, in a form that belongs to no format: so every source gives its names."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pyparrot.core import lib

NESTED: int = lib.PP_NESTED
"""Flag of a directory whose content stands in another index, which the entry's handle names."""

HIDDEN: int = lib.PP_HIDDEN
"""Flag of a name that can be looked up and is not listed."""

_ATTRIBUTE = struct.Struct("=IH")


class Entry(NamedTuple):
    """A name in a directory, as `pyparrot.tree.index.build` takes it; any tuple of these will do.

    *key* and *key_2*, two signed numbers of 64 bits, tell an entry from all others of its index;
    *parent* and *parent_2* are the keys of the directory that lists it. A source that counts its
    entries leaves the second ones 0.

    *mode* is as in st_mode, with the type; *size* is in bytes (for devices it is st_rdev); *mtime*
    is in unix seconds, with *mtime_ns* beside it. Entries of one directory that have the same
    *link_group* are one file, 0 is none. *flags* are `NESTED` and `HIDDEN`, *target* is a
    symlink's. *handle* is what the source itself wants to know again: of a regular file, its body;
    of a `NESTED` directory, the index that is mounted there. *attributes* are extended attributes
    as `pack_attributes` gives them.
    """

    key: int
    key_2: int
    parent: int
    parent_2: int
    name: bytes
    mode: int
    size: int
    mtime: int
    mtime_ns: int = 0
    uid: int = 0
    gid: int = 0
    nlink: int = 1
    link_group: int = 0
    flags: int = 0
    target: bytes = b""
    handle: bytes = b""
    attributes: bytes = b""


class Node(NamedTuple):
    """What an index says of one name.

    *size* is in bytes (st_rdev for devices), *mtime* in nanoseconds of unix time, *target* a
    symlink's as it is stored; *flags*, *handle* and *attributes* are as in `Entry`.
    """

    name: bytes
    inode: int
    mode: int
    size: int
    mtime: int
    uid: int
    gid: int
    nlink: int
    flags: int
    target: bytes
    handle: bytes
    attributes: bytes


def pack_attributes(attributes: Mapping[bytes, bytes]) -> bytes:
    """Extended attributes in the form of index files (``csrc/core/index.h``), in their order.

    `struct.error` if a name has more than 65,535 bytes.
    """
    return b"".join(map(_pack_attribute, attributes.items()))


def _pack_attribute(attribute: tuple[bytes, bytes]) -> bytes:
    name, value = attribute
    return _ATTRIBUTE.pack(len(value), len(name)) + name + value


CUT_OFF = _ATTRIBUTE.pack(1, 0)
"""Put behind attributes when their source could not read all: they end early."""


def unpack_attributes(packed: bytes) -> dict[bytes, bytes]:
    """The attributes in *packed*; `ValueError` if they end early."""
    return dict(_attributes(packed))


def _attributes(packed: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position < len(packed):
        name = position + _ATTRIBUTE.size
        if name > len(packed):
            raise ValueError("attribute list ends early")
        value_length, name_length = _ATTRIBUTE.unpack_from(packed, position)
        value = name + name_length
        position = value + value_length
        if position > len(packed):
            raise ValueError("attribute list ends early")
        yield packed[name:value], packed[value:position]

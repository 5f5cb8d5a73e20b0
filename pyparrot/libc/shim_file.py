"""Reads the shim's file, which becomes a part of other images."""

from __future__ import annotations

from typing import NamedTuple

from pyparrot.libc.arch.base import Arch
from pyparrot.libc.elf import DYNAMIC
from pyparrot.libc.image import LARGEST, Image


def read_image(file: str) -> Image:
    """The shared library that is the *file*; `ValueError` if it is none."""
    with open(file, "rb") as opened:
        return Image(opened.read(LARGEST + 1))


class Shim(NamedTuple):
    """The shim as it was linked: its *code* to address 0, its memory, all zeros, behind it.

    *memory* and *end* are addresses, and so are the *entries*, one for each of `Arch.ENTRIES`.
    """

    image: Image
    code: bytes
    memory: int
    end: int
    entries: list[int]


def read_shim(file: str, library: Image, arch: Arch) -> Shim:
    """The shim of *file*.

    `ValueError` if it is not linked as setup.py does it, or for another CPU than *library*.
    """
    image = read_image(file)
    if image.header.machine != library.header.machine:
        raise ValueError(f"{file}: a shim for another CPU")
    if len(image.loads) != 2 or image.loads[0].address or image.has_relocations:
        raise ValueError(f"{file}: no shim")
    code, memory = image.loads
    entries = [image.address_of(name) for name in arch.ENTRIES]
    inside = [entry for entry in entries if entry is not None and entry < code.file_size]
    # What the linker notes for a loader stands in it; anything else would be lost.
    noted = sum(each.file_size for each in image.segments if each.type == DYNAMIC)
    start = memory.address - memory.address % arch.PAGE_SIZE
    if len(inside) < len(entries) or memory.file_size > noted or start < code.memory_size:
        raise ValueError(f"{file}: no shim")
    end = memory.address + memory.memory_size
    return Shim(image, image.read(0, code.file_size), start, end, inside)

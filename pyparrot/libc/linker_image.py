"""Reads the image of the shim for a dynamic linker (``csrc/shim/linker_image.h``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyparrot.core import ffi, lib

if TYPE_CHECKING:
    from pyparrot.core import PpLinkerImage


def open_image(content: bytes) -> PpLinkerImage:
    """The ``struct pp_linker_image *`` that the file's *content* begins with.

    It is valid as long as *content*. `ValueError` if it is none, or does not hold what it should.
    """
    if len(content) < ffi.sizeof("struct pp_linker_image"):
        raise ValueError("no image of a dynamic linker")
    image: PpLinkerImage = ffi.cast("struct pp_linker_image *", ffi.from_buffer(content))
    if (
        bytes(ffi.buffer(image.magic)) != magic()
        or image.sites_count > lib.PP_LINKER_SITES_MAX
        or image.pages_copy + lib.PP_LINKER_PAGE + image.pages_size > len(content)
    ):
        raise ValueError("no image of a dynamic linker")
    return image


def magic() -> bytes:
    """What an image begins with."""
    return bytes(ffi.string(lib.PP_LINKER_MAGIC)).ljust(16, b"\0")[:16]

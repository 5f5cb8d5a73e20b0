"""A copy of a C library with the shim in it.

Behind all that is loaded of the library come a stub for each site, and the shim. A site jumps to
its stub, and the stub to the shim, which returns behind the site. So nothing has to be loaded,
relocated or written to when a program starts: the dynamic linker maps two segments more.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pyparrot.libc.arch.x86_64.sites import COMPARISONS, Site, find_sites
from pyparrot.libc.elf import HEADER, SEGMENT
from pyparrot.libc.frames import STUB, frames
from pyparrot.libc.image import (
    DYNAMIC,
    EH_FRAME,
    EXECUTE,
    LARGEST,
    LOAD,
    PROGRAM_HEADERS,
    READ,
    WRITE,
    Image,
    Segment,
)

_PAGE = 4096
_JUMP = struct.Struct("<Bi")
_TRAP = b"\xcc"  # int3


class _Shim(NamedTuple):
    """The shim as it was linked: its *code* to address 0, its memory, all zeros, behind it."""

    image: Image
    code: bytes
    memory: int
    end: int
    entries: list[int]


def make_patched(source: str, shim: str, target: str) -> int:
    """Write the copy of the library *source* with *shim* in it to the new file *target*.

    Gives the number of sites; with none there is no file. `ValueError` if *source* is not a shared
    library for x86-64 or is broken, `OSError` if it cannot be read or *target* cannot be written.
    """
    library = _image(source)
    sites = find_sites(library)
    if not sites:
        return 0
    added = _shim(shim)
    # Offset and address are the same: above all that is loaded, behind all that is in the file.
    last = library.loads[-1]
    address = _up(max(len(library.data), last.address + last.memory_size), _PAGE)
    headers_size = (len(library.segments) + 2) * SEGMENT.size
    first = _up(address + headers_size, STUB)
    stubs = range(first, first + len(sites) * STUB, STUB)
    places = [(stub, site.address + site.length) for site, stub in zip(sites, stubs)]
    unwinding_at = first + len(sites) * STUB
    # How long it is does not depend on where the shim comes to lie.
    unwinding, _ = frames(library, unwinding_at, places, added.image, 0)
    base = _up(unwinding_at + len(unwinding), _PAGE)
    unwinding, table = frames(library, unwinding_at, places, added.image, base)
    if base + added.end > LARGEST:
        raise ValueError("no room for the shim")
    code = b"".join(
        _stub(site, stub, base + added.entries[site.comparison]) for site, stub in zip(sites, stubs)
    )
    own = [
        _load(READ | EXECUTE, address, base + len(added.code) - address),
        _load(READ | WRITE, base + added.memory, 0, added.end - added.memory),
    ]
    headers = _headers(library, own, address, table, unwinding_at + len(unwinding) - table)
    fields = list(library.header)
    fields[5], fields[10] = address, len(headers)
    # At once: a file that is written in one piece lies in large pages in the kernel's cache, and
    # every program maps it.
    content = bytearray(base + added.memory)  # what is loaded begins within the file
    pieces = [
        (0, library.data),
        (0, HEADER.pack(*fields)),
        (address, b"".join(SEGMENT.pack(*header) for header in headers)),
        (first, code + unwinding),
        (base, added.code),
    ]
    pieces += [
        (library.offset(site.address), _jump(site.address, stub).ljust(site.length, _TRAP))
        for site, stub in zip(sites, stubs)
    ]
    for offset, piece in pieces:
        content[offset : offset + len(piece)] = piece
    with open(target, "xb", buffering=0) as file:
        file.write(content)
    return len(sites)


def _image(file: str) -> Image:
    with open(file, "rb") as opened:
        return Image(opened.read(LARGEST + 1))


def _shim(file: str) -> _Shim:
    """`ValueError` if it is not linked as setup.py does it."""
    image = _image(file)
    if len(image.loads) != 2 or image.loads[0].address or image.has_relocations:
        raise ValueError(f"{file}: no shim")
    code, memory = image.loads
    entries = [image.address_of(b"pp_enter_%d" % number) for number in range(len(COMPARISONS))]
    inside = [entry for entry in entries if entry is not None and entry < code.file_size]
    # What the linker notes for a loader stands in it; anything else would be lost.
    noted = sum(each.file_size for each in image.segments if each.type == DYNAMIC)
    start = memory.address - memory.address % _PAGE
    if len(inside) < len(entries) or memory.file_size > noted or start < code.memory_size:
        raise ValueError(f"{file}: no shim")
    end = memory.address + memory.memory_size
    return _Shim(image, image.read(0, code.file_size), start, end, inside)


def _headers(
    library: Image, own: list[Segment], start: int, table: int, table_size: int
) -> list[Segment]:
    """The program headers at *start*, with *own* segments and the unwinder's *table*."""
    size = (len(library.segments) + len(own)) * SEGMENT.size
    moved = {
        PROGRAM_HEADERS: _extent(start, size),
        EH_FRAME: _extent(table, table_size),
    }
    headers = [each._replace(**moved.get(each.type, {})) for each in library.segments]
    last = max(index for index, each in enumerate(headers) if each.type == LOAD)
    headers[last + 1 : last + 1] = own
    return headers


def _load(flags: int, address: int, size: int, memory_size: int = 0) -> Segment:
    memory_size = memory_size or size
    return Segment(LOAD, flags, address, address, address, size, memory_size, _PAGE)


def _extent(address: int, size: int) -> dict[str, int]:
    return {
        "offset": address,
        "address": address,
        "physical": address,
        "file_size": size,
        "memory_size": size,
    }


def _stub(site: Site, address: int, entry: int) -> bytes:
    """The code at *address* that *site* jumps to: on to the shim's *entry* for its comparison.

    It may use %r11, which a system call overwrites. The shim finds in it where to return to, after
    the same comparison.
    """
    back = site.address + site.length
    code = b"\x4c\x8d\x1d" + struct.pack("<i", back - (address + 7))  # lea back(%rip),%r11
    code += _jump(address + len(code), entry)
    return code.ljust(STUB, _TRAP)


def _jump(source: int, target: int) -> bytes:
    return _JUMP.pack(0xE9, target - (source + _JUMP.size))


def _up(number: int, unit: int) -> int:
    return number + -number % unit

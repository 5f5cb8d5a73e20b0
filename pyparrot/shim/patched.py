"""A copy of a library whose system calls go through the shim, if the shim is there.

Each site jumps to a stub in a segment of its own at the end of the file. The stub jumps on to
the address that stands in the slot of the site's comparison, and makes the system call itself as
long as that is zero: the shim fills in the slots when it starts, and no code is ever written to.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pyparrot.shim.frames import STUB, frames
from pyparrot.shim.image import (
    EH_FRAME,
    EXECUTE,
    HEADER,
    LARGEST,
    LOAD,
    PROGRAM_HEADERS,
    READ,
    RELRO,
    SEGMENT,
    WRITE,
    Image,
    Segment,
)
from pyparrot.shim.sites import COMPARISONS, Site, find_sites

_PAGE = 4096
_SLOT = 8
_SLOTS = _SLOT * len(COMPARISONS)
_JUMP = struct.Struct("<Bi")
_TRAP = b"\xcc"  # int3


class Patched(NamedTuple):
    """What tells the copy in memory from any other library, and where its slots are.

    *phoff* and *shoff* are the fields e_phoff and e_shoff of its header, *slots* the address of
    its pointers (relative to where the library is loaded), one for each of `COMPARISONS`, and
    *sites* the number of its sites.
    """

    phoff: int
    shoff: int
    slots: int
    sites: int


def make_patched(source: str, target: str) -> Patched | None:
    """Write the patched copy of the library *source* to the new file *target*.

    None, and no file, if it has no sites. `ValueError` if *source* is not a shared library for
    x86-64 or is broken, `OSError` if it cannot be read or *target* cannot be written.
    """
    with open(source, "rb") as file:
        library = Image(file.read(LARGEST + 1))
    sites = find_sites(library)
    if not sites:
        return None
    segments, slots = _with_slots(library)
    # Offset and address are the same: above all that is loaded, behind all that is in the file.
    loads = [segment for segment in segments if segment.type == LOAD]
    address = _up(max(len(library.data), loads[-1].address + loads[-1].memory_size), _PAGE)
    if address > LARGEST:
        raise ValueError("no room for the stubs")
    first = _up(address + (len(segments) + 1) * SEGMENT.size, STUB)
    stubs = range(first, first + len(sites) * STUB, STUB)
    code = b"".join(
        _stub(site, stub, slots + site.comparison * _SLOT) for site, stub in zip(sites, stubs)
    )
    behind = [site.address + site.length for site in sites]
    unwinding, table = frames(library, first + len(code), list(zip(stubs, behind)))
    end = first + len(code) + len(unwinding)
    headers = _with_content(segments, address, end, end - table)

    fields = list(library.header)
    fields[5], fields[10] = address, len(headers)
    with open(target, "xb") as file:
        file.write(HEADER.pack(*fields))
        file.write(library.data[HEADER.size :])
        for site, stub in zip(sites, stubs):
            file.seek(library.offset(site.address))
            file.write(_jump(site.address, stub).ljust(site.length, _TRAP))
        file.seek(address)
        file.write(b"".join(SEGMENT.pack(*header) for header in headers))
        file.seek(first)
        file.write(code + unwinding)
    return Patched(address, library.shoff, slots, len(sites))


def _with_slots(library: Image) -> tuple[list[Segment], int]:
    """The segments with room for the slots, which are zero at first, and the slots' address.

    The room is made behind the end of the last writable segment, out of the read-only part's reach.
    """
    segments = list(library.segments)
    writable = [each for each in library.loads if each.flags & WRITE]
    if not writable:
        raise ValueError("no writable segment")
    last = writable[-1]
    end = last.address + last.memory_size
    for each in segments:
        if each.type == RELRO:
            end = max(end, _up(each.address + each.memory_size, _PAGE))
    slots = _up(end, _SLOT)
    for each in library.loads:
        if last.address < each.address and each.address - each.address % _PAGE < slots + _SLOTS:
            raise ValueError("no room behind the writable segment")
    size = slots + _SLOTS - last.address
    segments[segments.index(last)] = last._replace(memory_size=size)
    return segments, slots


def _with_content(segments: list[Segment], start: int, end: int, table: int) -> list[Segment]:
    """The program headers with a segment from *start* to *end* behind the others.

    It begins with the program headers and ends with the unwinder's table of *table* bytes.
    """
    headers = []
    for each in segments:
        if each.type == PROGRAM_HEADERS:
            headers.append(_at(each, start, (len(segments) + 1) * SEGMENT.size))
        elif each.type == EH_FRAME:
            headers.append(_at(each, end - table, table))
        else:
            headers.append(each)
    last = max(index for index, each in enumerate(headers) if each.type == LOAD)
    own = Segment(LOAD, READ | EXECUTE, 0, 0, 0, 0, 0, _PAGE)
    headers.insert(last + 1, _at(own, start, end - start))
    return headers


def _at(segment: Segment, address: int, size: int) -> Segment:
    return segment._replace(
        offset=address, address=address, physical=address, file_size=size, memory_size=size
    )


def _stub(site: Site, address: int, slot: int) -> bytes:
    """The code at *address* that *site* jumps to.

    It may use %rcx and %r11, which a system call overwrites, and the flags, which the comparison
    sets. The shim finds in %r11 where to return to, after the same comparison.
    """
    back = site.address + site.length
    code = b"\x48\x8b\x0d" + struct.pack("<i", slot - (address + 7))  # mov slot(%rip),%rcx
    code += b"\x4c\x8d\x1d" + struct.pack("<i", back - (address + 14))  # lea back(%rip),%r11
    code += b"\x48\x85\xc9"  # test %rcx,%rcx
    code += b"\x74\x02"  # jz over the next
    code += b"\xff\xe1"  # jmp *%rcx
    code += b"\x0f\x05" + COMPARISONS[site.comparison]  # syscall, cmp
    code += _jump(address + len(code), back)
    return code.ljust(STUB, _TRAP)


def _jump(source: int, target: int) -> bytes:
    return _JUMP.pack(0xE9, target - (source + _JUMP.size))


def _up(number: int, unit: int) -> int:
    return number + -number % unit

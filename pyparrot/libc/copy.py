"""Makes a copy of a C library with the shim in it.

Behind all that is loaded of the library come a stub for each site, and the shim. A site jumps to
its stub, and the stub to the shim, which returns behind the site. So nothing has to be loaded,
relocated or written to when a program starts: the dynamic linker maps two segments more.
"""

from __future__ import annotations

from collections.abc import Iterator

from pyparrot.libc.arch import arch_of
from pyparrot.libc.arch.base import Arch, CallSite
from pyparrot.libc.elf import (
    EH_FRAME,
    EXECUTE,
    HEADER,
    LOAD,
    PROGRAM_HEADERS,
    READ,
    SEGMENT,
    WRITE,
    Segment,
)
from pyparrot.libc.frames import Stub, frames
from pyparrot.libc.image import LARGEST, Image
from pyparrot.libc.shim_file import Shim, read_image, read_shim

_NEW_SEGMENTS = 2


def make_copy(source: str, shim: str, target: str) -> int:
    """Write the copy of the library *source* with *shim* in it to the new file *target*.

    Gives the number of sites; with none there is no file. `ValueError` if *source* is not a shared
    library, is broken, or is for a CPU that is not supported. `OSError` if it cannot be read or
    *target* cannot be written: *target* may be incomplete then.
    """
    library = read_image(source)
    arch = arch_of(library.header.machine)
    sites = arch.find_sites(library)
    if not sites:
        return 0
    content = _Copy(library, read_shim(shim, library, arch), sites, arch).content()
    with open(target, "xb", buffering=0) as file:
        # At once: a file that is written in one piece lies in large pages in the kernel's cache,
        # and every program maps it.
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
    return len(sites)


class _Copy:
    """Where everything lies in a copy; offset and address of what is added are the same.

    These are: program headers, stubs, what the unwinder needs, and the shim, in this order.
    """

    def __init__(self, library: Image, shim: Shim, sites: list[CallSite], arch: Arch) -> None:
        self._library = library
        self._shim = shim
        self._sites = sites
        self._arch = arch
        # Above all that is loaded, behind all that is in the file.
        last = library.loads[-1]
        self._start = _up(max(len(library.data), last.address + last.memory_size), arch.PAGE_SIZE)
        headers_size = (len(library.segments) + _NEW_SEGMENTS) * SEGMENT.size
        first = _up(self._start + headers_size, arch.STUB_SIZE)
        self._unwinding = first + len(sites) * arch.STUB_SIZE
        self._stubs = range(first, self._unwinding, arch.STUB_SIZE)
        unwinding, _ = self._frames(0)
        self._base = _up(self._unwinding + len(unwinding), arch.PAGE_SIZE)
        if self._base + shim.end > LARGEST:
            raise ValueError("no room for the shim")

    def content(self) -> bytearray:
        """The whole file."""
        content = bytearray(self._base + self._shim.memory)  # what is loaded begins in the file
        for offset, piece in self._pieces():
            content[offset : offset + len(piece)] = piece
        return content

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        """What stands where; what comes later replaces what came before."""
        unwinding, table = self._frames(self._base)
        headers = self._headers(table, self._unwinding + len(unwinding) - table)
        header = self._library.header._replace(phoff=self._start, phnum=len(headers))
        yield 0, self._library.data
        yield 0, HEADER.pack(*header)
        yield self._start, b"".join(SEGMENT.pack(*each) for each in headers)
        yield self._unwinding, unwinding
        yield self._base, self._shim.code
        for site, stub in zip(self._sites, self._stubs):
            entry = self._base + self._shim.entries[site.entry]
            yield stub, self._arch.stub(site, stub, entry)
            yield self._library.offset(site.address), self._arch.jump(site, stub)

    def _frames(self, base: int) -> tuple[bytes, int]:
        """What the unwinder needs if the shim lies at *base*; its size is the same for all."""
        stubs = [
            Stub(address, site.address + site.length)
            for site, address in zip(self._sites, self._stubs)
        ]
        return frames(self._arch, self._library, self._unwinding, stubs, self._shim.image, base)

    def _headers(self, table: int, table_size: int) -> list[Segment]:
        """The program headers, with the new segments and the unwinder's *table*."""
        size = (len(self._library.segments) + _NEW_SEGMENTS) * SEGMENT.size
        moved = {
            PROGRAM_HEADERS: _extent(self._start, size),
            EH_FRAME: _extent(table, table_size),
        }
        headers = [each._replace(**moved.get(each.type, {})) for each in self._library.segments]
        last = max(index for index, each in enumerate(headers) if each.type == LOAD)
        headers[last + 1 : last + 1] = self._new_segments()
        return headers

    def _new_segments(self) -> list[Segment]:
        """All that is added but the shim's memory, and that memory: zeros, not in the file."""
        start, memory = self._start, self._base + self._shim.memory
        size = self._base + len(self._shim.code) - start
        code = Segment(LOAD, READ | EXECUTE, start, start, start, size, size, self._arch.PAGE_SIZE)
        zeros = {**_extent(memory, 0), "memory_size": self._shim.end - self._shim.memory}
        return [code, code._replace(flags=READ | WRITE, **zeros)]


def _extent(address: int, size: int) -> dict[str, int]:
    return {
        "offset": address,
        "address": address,
        "physical": address,
        "file_size": size,
        "memory_size": size,
    }


def _up(number: int, unit: int) -> int:
    return number + -number % unit

"""Makes the image of the shim for a dynamic linker (``csrc/shim/linker_image.h``)."""

from __future__ import annotations

from pyparrot.core import ffi, lib
from pyparrot.libc.arch import arch_of
from pyparrot.libc.arch.base import Arch, CallSite
from pyparrot.libc.elf import EXECUTE, Segment, build_id
from pyparrot.libc.image import Image
from pyparrot.libc.linker_image import magic
from pyparrot.libc.shim_file import Shim, read_image, read_shim

_ATTACH = b"pp_linker_attach"
_BASE_SIZE = 8


def make_image(source: str, shim: str, target: str) -> bool:
    """Write the image for the dynamic linker *source* with *shim* in it to the new file *target*.

    Gives whether there is one: if not, nothing can be patched, and there is no file. `ValueError`
    if *source* is no shared library, is broken, or is for a CPU that is not supported. `OSError`
    if it cannot be read or *target* cannot be written: *target* may be incomplete then.
    """
    linker = read_image(source)
    arch = arch_of(linker.header.machine)
    sites = [site for site in arch.find_sites(linker) if lib.pp_is_look_up(site.number)]
    code = [load for load in linker.loads if load.flags & EXECUTE]
    room = _unused(linker, code[0], arch) if len(code) == 1 else 0
    if not sites or room < lib.PP_LINKER_BOOTSTRAP_MAX or not build_id(linker.data):
        return False
    shim_image = read_shim(shim, linker, arch)
    attach = shim_image.image.address_of(_ATTACH)
    if attach is None:
        return False
    sites = sites[: lib.PP_LINKER_SITES_MAX]
    content = _content(linker, code[0], shim_image, attach, sites, room, arch)
    with open(target, "xb", buffering=0) as file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
    return True


def _unused(linker: Image, code: Segment, arch: Arch) -> int:
    """How many bytes behind *code* are mapped with it, but belong to nothing: all zeros."""
    end = code.address + code.file_size
    room = -end % arch.PAGE_SIZE
    if code.file_size != code.memory_size:
        return 0
    offset = code.offset + code.file_size
    behind = linker.data[offset : offset + room]
    follower = min((load.address for load in linker.loads if load.address >= end), default=end)
    return room if follower >= end + room and not behind.strip(b"\0") else 0


def _content(
    linker: Image,
    code: Segment,
    shim: Shim,
    attach: int,
    sites: list[CallSite],
    room: int,
    arch: Arch,
) -> bytearray:
    """The whole file: the head, stubs, the shim, a copy of some of the linker's pages."""
    stubs = _up(ffi.sizeof("struct pp_linker_image"), arch.LINKER_STUB_SIZE)
    base = _up(stubs + len(sites) * arch.LINKER_STUB_SIZE, arch.PAGE_SIZE)
    memory = base + shim.memory
    kept = _up(base + shim.end, _BASE_SIZE)  # the linker's address
    end = _up(kept + _BASE_SIZE, arch.PAGE_SIZE)
    bootstrap = code.address + code.file_size
    image = ffi.new("struct pp_linker_image *")
    ffi.memmove(image.magic, magic(), len(magic()))
    image.memory, image.memory_size, image.base = memory, end - memory, kept
    image.bootstrap, image.room, image.cookie = bootstrap, room, arch.COOKIE
    image.sites_count = len(sites)
    pages = sites[0].address - sites[0].address % lib.PP_LINKER_PAGE
    end_of_pages = min(_up(sites[-1].address + 8, lib.PP_LINKER_PAGE), bootstrap + room)
    image.pages, image.pages_size, image.pages_copy = pages, end_of_pages - pages, memory
    content = bytearray(memory) + linker.data[: lib.PP_LINKER_PAGE]
    # Behind the code there are zeros.
    content += linker.read(pages, min(end_of_pages, bootstrap) - pages)
    content += bytes(max(end_of_pages - bootstrap, 0))
    for number, site in enumerate(sites):
        entry = image.sites[number]
        entry.address, entry.length = site.address, site.length
        entry.stub = stubs + number * arch.LINKER_STUB_SIZE
        entry.behind = site.address + arch.SYSCALL_SIZE
        original = linker.read(entry.behind, site.length - arch.SYSCALL_SIZE)
        ffi.memmove(entry.original, original, len(original))
        detour = arch.detour(site, bootstrap)
        ffi.memmove(entry.detour, detour, len(detour))
        code_there = arch.bootstrap(site, bootstrap, end, base + attach)
        ffi.memmove(entry.bootstrap, code_there, len(code_there))
        stub = arch.linker_stub(site, entry.stub, kept, base + shim.entries[site.entry])
        content[entry.stub : entry.stub + len(stub)] = stub
    head = bytes(ffi.buffer(image))
    content[: len(head)] = head
    content[base : base + len(shim.code)] = shim.code
    return content


def _up(number: int, unit: int) -> int:
    return number + -number % unit

"""What each CPU offers, and the terms that it speaks in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pyparrot.libc.image import Image

ANY_NUMBER = -1
"""The number of the site in the function `syscall`."""


class CallSite(NamedTuple):
    """A system call in a library that may be replaced by a jump.

    *address* is that of its first byte, *length* how many bytes may be replaced, *entry* the index
    of the shim's entry for it (`Arch.ENTRIES`), *number* that of the system call.
    """

    address: int
    length: int
    entry: int
    number: int


class Arch(Protocol):
    """A CPU; the packages below this one are such objects."""

    PAGE_SIZE: int
    """Bytes: what is loaded begins at multiples of it."""

    STUB_SIZE: int
    """Bytes from one stub to the next; each begins at a multiple of it."""

    ENTRIES: tuple[bytes, ...]
    """The symbols of the shim's entries, to which stubs jump."""

    FRAME_RULES: bytes
    """The content of a common information entry (DWARF): at first the caller's stack pointer is
    that of the stub, addresses are signed 32 bits relative to where they stand, and augmentation
    data have a length."""

    def find_sites(self, library: Image) -> list[CallSite]:
        """The sites of *library* that may be replaced, in ascending order.

        The calls are those that the filter traps and those that the shim has to know of.
        `ValueError` if the library is broken.
        """

    def jump(self, site: CallSite, stub: int) -> bytes:
        """What takes the place of *site*: a jump to the address *stub*."""

    def stub(self, site: CallSite, address: int, entry: int) -> bytes:
        """The code at *address* that *site* jumps to: on to the shim's *entry* (an address)."""

    LINKER_STUB_SIZE: int
    """As `STUB_SIZE`, for `linker_stub`."""

    SYSCALL_SIZE: int
    """Bytes of a system call's instruction, with which a site begins."""

    COOKIE: int
    """Where in the `bootstrap` the session's cookie belongs."""

    def detour(self, site: CallSite, bootstrap: int) -> bytes:
        """What stands behind the instruction of *site* until the shim is there: a jump to the
        address *bootstrap*."""

    def bootstrap(self, site: CallSite, address: int, size: int, attach: int) -> bytes:
        """The code at *address* in a dynamic linker to which `detour` leads.

        It maps the shim's image, of *size* bytes of address space, whose path stands behind it,
        calls the function at *attach* in the image, and goes on behind *site*. It is filled up to
        ``PP_LINKER_BOOTSTRAP_MAX``; `ValueError` if it is longer.
        """

    def linker_stub(self, site: CallSite, address: int, base: int, entry: int) -> bytes:
        """As `stub`, but in an image that lies anywhere. At *base* in it the linker's address is
        kept, from which those of sites count."""

    def return_rule(self, distance: int) -> bytes:
        """Call frame instructions (DWARF): a stub returns *distance* bytes behind its beginning."""

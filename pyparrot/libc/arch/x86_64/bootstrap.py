"""The machine code by which a running dynamic linker gets the shim.

Source: Intel's manual, volume 2; the x86-64 supplement of the System V ABI, "Linux Conventions".
"""

from __future__ import annotations

import struct

from pyparrot.core import lib
from pyparrot.libc.arch.base import CallSite
from pyparrot.libc.arch.x86_64.sites import COMPARISONS
from pyparrot.libc.arch.x86_64.stubs import LINKER_STUB_SIZE, jump_from

SYSCALL_SIZE = 2
COOKIE = 34
"""Where in the bootstrap the cookie belongs, 8 bytes."""

_OPENAT, _MMAP, _CLOSE = 257, 9, 3
_HERE = b"\xbf" + struct.pack("<i", -100)  # mov $AT_FDCWD,%edi
_CLOSE_ON_EXEC = 0o2000000  # O_CLOEXEC
_READ_EXECUTE, _PRIVATE = 5, 2  # PROT_…, MAP_…
_SYSCALL = b"\x0f\x05"
_TRAP = b"\xcc"  # int3

# All registers that a system call leaves alone, below what may be the program's (the red zone).
_SAVE = bytes.fromhex("488d642480 50 57 56 52 4152 4150 4151")  # lea -128(%rsp),%rsp; push …
_RESTORE = bytes.fromhex("4159 4158 415a 5a 5e 5f 58 488da42480000000")
_OPENED = bytes.fromhex("4189c0 85c0")  # mov %eax,%r8d; test %eax,%eax
_NO_ADDRESS_NO_OFFSET = bytes.fromhex("31ff 4531c9")  # xor %edi,%edi; xor %r9d,%r9d
_KEEP = bytes.fromhex("50 4489c7")  # push %rax; mov %r8d,%edi
_MAPPED = bytes.fromhex("58 483d00f0ffff")  # pop %rax; cmp $-4096,%rax
_IMAGE = bytes.fromhex("4889c7")  # mov %rax,%rdi
_CALL = bytes.fromhex("ffd0")  # call *%rax


def detour(site: CallSite, bootstrap: int) -> bytes:
    """What stands behind the instruction of *site* for a moment: a jump to *bootstrap*."""
    return jump_from(site.address + SYSCALL_SIZE, bootstrap).ljust(
        site.length - SYSCALL_SIZE, _TRAP
    )


def bootstrap(site: CallSite, address: int, size: int, attach: int) -> bytes:
    """The code at *address* in the linker that maps the image and calls its function *attach*.

    The path of the image is behind it.
    *size* is how many bytes of address space the image takes. Then it goes on behind *site*, the
    result of whose call it has kept.
    """
    behind = _IMAGE + _lea(b"\x48\x8d\x35", 0) + b"\x48\x05" + struct.pack("<i", attach) + _CALL
    mapping = b"".join(
        (
            _NO_ADDRESS_NO_OFFSET,
            _load(b"\xbe", size),  # %esi
            _load(b"\xba", _READ_EXECUTE),  # %edx
            _load(b"\x41\xba", _PRIVATE),  # %r10d
            _load(b"\xb8", _MMAP),  # %eax
            _SYSCALL,
            _KEEP,
            _load(b"\xb8", _CLOSE),
            _SYSCALL,
            _MAPPED,
            b"\x77" + bytes([len(behind)]),  # ja
        )
    )
    code = _SAVE + _HERE
    path = address + lib.PP_LINKER_BOOTSTRAP_MAX
    code += _lea(b"\x48\x8d\x35", path - (address + len(code) + 7))  # lea path(%rip),%rsi
    code += _load(b"\xba", _CLOSE_ON_EXEC)
    code += b"\x49\xb9"  # movabs …,%r9
    assert len(code) == COOKIE
    code += bytes(8)
    code += _load(b"\xb8", _OPENAT) + _SYSCALL + _OPENED
    code += b"\x78" + bytes([len(mapping) + len(behind)])  # js
    code += mapping + _IMAGE
    code += _lea(b"\x48\x8d\x35", -(address + len(code) + 7))  # where the linker lies
    code += behind[len(_IMAGE) + 7 :]
    code += _RESTORE + COMPARISONS[site.entry]
    code += jump_from(address + len(code), site.address + site.length)
    if len(code) > lib.PP_LINKER_BOOTSTRAP_MAX:
        raise ValueError("no room for the bootstrap")
    return code.ljust(lib.PP_LINKER_BOOTSTRAP_MAX, _TRAP)


def linker_stub(site: CallSite, address: int, base: int, entry: int) -> bytes:
    """As `stub`, in an image that lies anywhere: at *base* in it the linker's address is kept."""
    code = b"\x4c\x8b\x1d" + struct.pack("<i", base - (address + 7))  # mov base(%rip),%r11
    code += b"\x4d\x8d\x9b" + struct.pack("<i", site.address + site.length)  # lea …(%r11),%r11
    code += jump_from(address + len(code), entry)
    return code.ljust(LINKER_STUB_SIZE, _TRAP)


def _load(opcode: bytes, value: int) -> bytes:
    return opcode + struct.pack("<I", value)


def _lea(opcode: bytes, displacement: int) -> bytes:
    return opcode + struct.pack("<i", displacement)

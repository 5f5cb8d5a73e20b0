"""The places in a library where a system call may be replaced by a jump, provably safely.

glibc makes its system calls inline and compares the result right behind them: instruction and
comparison are 7 or 8 bytes, room for a jump. Replacing them is safe only if no branch lands
behind their first byte, which is why everything that may be a branch is looked at.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import capstone
from capstone import x86

from pyparrot.core import lib
from pyparrot.libc.arch.base import ANY_NUMBER, CallSite
from pyparrot.libc.elf import EXECUTE
from pyparrot.libc.image import Function, Image

COMPARISONS = (
    bytes.fromhex("483d01f0ffff"),  # cmp $-4095,%rax
    bytes.fromhex("483d00f0ffff"),  # cmp $-4096,%rax
    bytes.fromhex("3d01f0ffff"),  # cmp $0xfffff001,%eax
    bytes.fromhex("3d00f0ffff"),  # cmp $0xfffff000,%eax
)
"""What a site does with the result; which one it is tells the shim how to return."""

_CANDIDATE = re.compile(rb"\x0f\x05(" + b"|".join(map(re.escape, COMPARISONS)) + b")")

WANTED = frozenset(filter(lib.pp_concerns_shim, range(lib.pp_numbers_end())))
"""The numbers of the system calls whose sites are replaced (csrc/syscalls.tbl)."""

# What may be a branch or take an address: these bytes, then a displacement from its end.
_FAR = re.compile(
    rb"(?=([\xe8\xe9]"  # call, jmp
    rb"|\x0f[\x80-\x8f]"  # jcc
    rb"|\xc7\xf8"  # xbegin
    rb"|\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]))"  # lea
)
_NEAR = frozenset((*range(0x70, 0x80), *range(0xE0, 0xE4), 0xEB))  # jcc, loop, jrcxz, jmp
_NEAR_REACH = 130
_DISPLACEMENT = struct.Struct("<i")

_RAX = frozenset((x86.X86_REG_RAX, x86.X86_REG_EAX, x86.X86_REG_AX, x86.X86_REG_AH, x86.X86_REG_AL))
_BREAKS = frozenset((capstone.CS_GRP_CALL, capstone.CS_GRP_RET, capstone.CS_GRP_INT))


class _Code(NamedTuple):
    """A function decoded from its first byte, as far as that makes sense."""

    starts: list[int]  # of its instructions
    ends: frozenset[int]
    end: int
    is_closed: bool  # all of it makes sense, and it jumps nowhere but where it says


def find_sites(library: Image) -> list[CallSite]:
    """The sites of *library* that may be replaced, in ascending order. `ValueError`: a broken file.

    The calls are those that the filter traps and those that the shim has to know of.
    """
    return list(_Search(library).sites())


class _Search:
    def __init__(self, library: Image) -> None:
        self._library = library
        self._decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._detailed = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        self._detailed.detail = True
        self._decoded: dict[Function, _Code] = {}
        self._any = library.address_of(b"syscall")
        self._segments = [
            (load.address, library.read(load.address, load.file_size))
            for load in library.loads
            if load.flags & EXECUTE
        ]

    def sites(self) -> Iterator[CallSite]:
        for base, data in self._segments:
            for match in _CANDIDATE.finditer(data):
                address, length = base + match.start(), len(match[0])
                function = self._library.function(address)
                if function is None or address + length > function.end:
                    continue
                number = self._number(function, address)
                if number is not None and self._is_safe(function, address, length):
                    yield CallSite(address, length, COMPARISONS.index(match[1]), number)

    def _number(self, function: Function, address: int) -> int | None:
        """The number of the system call at *address* if it is known and of interest."""
        code = self._decode(function)
        index = bisect_left(code.starts, address)
        if code.starts[index : index + 1] != [address]:
            return None
        if function.start == self._any:
            return ANY_NUMBER
        end = address
        for start in reversed(code.starts[:index]):
            instruction = next(self._detailed.disasm(self._library.read(start, end - start), start))
            if instruction.id == x86.X86_INS_JMP or not _BREAKS.isdisjoint(instruction.groups):
                return None
            if not _RAX.isdisjoint(chain.from_iterable(instruction.regs_access())):
                number = _loaded(instruction)
                known = number in WANTED and not self._is_entered(start + 1, address + 1)
                return number if known else None
            end = start
        return None

    def _is_safe(self, function: Function, address: int, length: int) -> bool:
        """Whether nothing can land behind the first byte of the *length* bytes at *address*."""
        if self._is_entered(address + 1, address + length):
            return False
        # Its own jump tables may lead anywhere in it, and so may those of its parts elsewhere.
        parts = {function}
        for end in self._landing(function.start + 1, function.end):
            part = self._library.function(end - 1)
            if part is not None:
                parts.add(part)
        return all(self._decode(part).is_closed for part in parts)

    def _is_entered(self, first: int, end: int) -> bool:
        """Whether anything may lead to one of the addresses from *first* to before *end*."""
        pointers = self._library.pointers
        return bisect_left(pointers, first) < bisect_left(pointers, end) or any(
            self._landing(first, end)
        )

    def _landing(self, first: int, end: int) -> Iterator[int]:
        """The ends of the branches that land at *first* or above, below *end*."""
        index = bisect_left(self._far, (first, 0))
        while index < len(self._far) and self._far[index][0] < end:
            if self._is_instruction(self._far[index][1]):
                yield self._far[index][1]
            index += 1
        for base, data in self._segments:
            low = max(base, first - _NEAR_REACH)
            for source in range(low, min(base + len(data) - 1, end + _NEAR_REACH)):
                if data[source - base] in _NEAR:
                    displacement = data[source - base + 1]
                    target = source + 2 + displacement - (displacement >> 7 << 8)
                    if first <= target < end and self._is_instruction(source + 2):
                        yield source + 2

    @cached_property
    def _far(self) -> list[tuple[int, int]]:
        """The targets, sorted, of all that may be a branch, each with the branch's end."""
        found = []
        for base, data in self._segments:
            for match in _FAR.finditer(data):
                position = match.end(1)
                if position + 4 <= len(data):
                    end = base + position + 4
                    found.append((end + _DISPLACEMENT.unpack_from(data, position)[0], end))
        return sorted(found)

    def _is_instruction(self, end: int) -> bool:
        """Whether some instruction ends at *end*: what looks like a branch may be one."""
        function = self._library.function(end - 1)
        if function is None:
            return True
        code = self._decode(function)
        return end in code.ends or end > code.end

    def _decode(self, function: Function) -> _Code:
        code = self._decoded.get(function)
        if code is None:
            data = self._library.read(function.start, function.end - function.start)
            starts, ends, end, is_direct = [], set(), function.start, True
            for start, size, name, operand in self._decoder.disasm_lite(data, function.start):
                end = start + size
                starts.append(start)
                ends.add(end)
                if name.endswith("jmp") and not operand.startswith("0x"):
                    is_direct = False
            is_closed = is_direct and end == function.end
            code = _Code(starts, frozenset(ends), end, is_closed)
            self._decoded[function] = code
        return code


def _loaded(instruction: capstone.CsInsn) -> int | None:
    """The number that *instruction* puts into %eax if it is ``mov $number,%eax``."""
    if instruction.bytes[0] != 0xB8:
        return None
    number: int = instruction.operands[1].imm
    return number

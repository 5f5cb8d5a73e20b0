"""What depends on the CPU when a copy of a library is made: one package for each CPU.

Its instructions, registers and system call numbers are known there alone; each offers what
`base.Arch` says. A new CPU is one more package, named in `arch_of`.
"""

from __future__ import annotations

from pyparrot.libc.arch.base import Arch

_X86_64 = 62  # EM_X86_64


def arch_of(machine: int) -> Arch:
    """The CPU that an ELF file is for by its *machine*; `ValueError` if it is not supported."""
    if machine == _X86_64:
        from pyparrot.libc.arch import x86_64

        return x86_64
    raise ValueError(f"unsupported CPU (ELF machine {machine})")

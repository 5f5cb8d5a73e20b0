"""x86-64: see `pyparrot.libc.arch.base.Arch`."""

from pyparrot.libc.arch.x86_64.bootstrap import COOKIE, SYSCALL_SIZE, bootstrap, detour, linker_stub
from pyparrot.libc.arch.x86_64.sites import COMPARISONS, find_sites
from pyparrot.libc.arch.x86_64.stubs import LINKER_STUB_SIZE, STUB_SIZE, jump, stub
from pyparrot.libc.arch.x86_64.unwinding import FRAME_RULES, return_rule

PAGE_SIZE = 4096
ENTRIES = tuple(b"pp_enter_%d" % number for number in range(len(COMPARISONS)))

__all__ = [
    "COOKIE",
    "ENTRIES",
    "FRAME_RULES",
    "LINKER_STUB_SIZE",
    "PAGE_SIZE",
    "STUB_SIZE",
    "SYSCALL_SIZE",
    "bootstrap",
    "detour",
    "find_sites",
    "jump",
    "linker_stub",
    "return_rule",
    "stub",
]

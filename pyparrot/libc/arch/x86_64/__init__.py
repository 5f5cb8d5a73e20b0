"""x86-64: see `pyparrot.libc.arch.base.Arch`."""

from pyparrot.libc.arch.x86_64.sites import COMPARISONS, find_sites
from pyparrot.libc.arch.x86_64.stubs import STUB_SIZE, jump, stub
from pyparrot.libc.arch.x86_64.unwinding import FRAME_RULES, return_rule

PAGE_SIZE = 4096
ENTRIES = tuple(b"pp_enter_%d" % number for number in range(len(COMPARISONS)))

__all__ = [
    "ENTRIES",
    "FRAME_RULES",
    "PAGE_SIZE",
    "STUB_SIZE",
    "find_sites",
    "jump",
    "return_rule",
    "stub",
]

"""What shims write: counters, and the touch map, which says what a session has used.

``csrc/shim/shared_state.h`` defines both.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pyparrot.core import ffi, lib

if TYPE_CHECKING:
    from pyparrot.core import Pointer, PpRecord, PpSharedUsage
    from pyparrot.tree.index import Index


class Touch(NamedTuple):
    """A record that was used: the *order* of its first use, from 1 on, and whether it was opened.

    *record* is a ``struct pp_record *`` of the index that was asked about.
    """

    order: int
    is_opened: bool
    record: PpRecord


# Of <linux/fcntl.h>.
_ADD_SEALS = 1033
_SEALS = 0x1 | 0x2 | 0x4  # SEAL, SHRINK, GROW


class SharedUsage:
    """Memory that all shims of a session write to: the file that is open as *descriptor*.

    Its size never changes, so that nobody who reads or writes there comes upon its end.
    """

    def __init__(self) -> None:
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        self.descriptor = os.memfd_create("pyparrot-shared-usage", flags)
        os.ftruncate(self.descriptor, lib.PP_SHARED_USAGE_SIZE)
        os.fchmod(self.descriptor, 0o600)
        fcntl.fcntl(self.descriptor, _ADD_SEALS, _SEALS)
        self._memory = mmap.mmap(self.descriptor, lib.PP_SHARED_USAGE_SIZE)
        self._buffer = ffi.from_buffer(self._memory, require_writable=True)
        self.pointer: PpSharedUsage = ffi.cast("struct pp_shared_usage *", self._buffer)

    def file_of(self, process: int) -> str:
        """The path by which it can be opened as long as *process* lives, which has inherited it."""
        return f"/proc/{process}/fd/{self.descriptor}"

    def words(self, start: int) -> Pointer[int]:
        """The words of the touch map from the one with number *start* on (``uint32_t *``)."""
        return self.pointer.words + start

    def touches(self, start: int, index: Index) -> Iterator[Touch]:
        """What was used of *index*, whose words begin at number *start*; not in order of use."""
        words, word, offset = self.words(start), ffi.new("uint32_t *"), 0
        while True:
            record = lib.pp_index_touched(index.pointer, words, offset, word)
            if record == ffi.NULL:
                return
            order = word[0] & ~lib.PP_TOUCH_OPENED
            yield Touch(order, bool(word[0] & lib.PP_TOUCH_OPENED), record)
            following = lib.pp_index_next(index.pointer, record)
            if following == ffi.NULL:
                return
            offset = lib.pp_index_offset(index.pointer, following)

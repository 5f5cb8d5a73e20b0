"""Gets what the decision core is missing: mounts, catalogs, views, programs, attributes.

A worker of the engine asks for one thing at a time; the same question may come from many workers,
which are threads, at once.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyparrot.core import ffi, lib
from pyparrot.errors import PyparrotError, in_words, understood
from pyparrot.run.mounts import MountTable

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.core import PpCall, PpPlace
    from pyparrot.libc.copies import LibcCopies
    from pyparrot.libc.linkers import Linkers
    from pyparrot.libc.shim_copies import ShimCopies
    from pyparrot.run.mounts import Mount
    from pyparrot.single_flight import SingleFlight
    from pyparrot.tree.base import Tree

_TOLD = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EIO,
    errno.ENOEXEC,
    errno.ENOSPC,
    errno.EROFS,
    errno.ESTALE,
)
"""The failures of ours that programs are told as they are. They would take others for something of
their own: a name that is not there, descriptors of which they have too many.
"""

REFUSED_SECONDS = 60
"""How long nothing is mounted at a path where mounting has failed."""

Mounter = Callable[[bytes], bool]
"""Mounts what belongs at a path; False if that can't be."""


class Fetcher:
    """The `Services` of an engine: meets the needs of calls from the mounts of *table*.

    *mount* is called for names that are missing in a directory whose names are mounted on first
    use; *complain* gets one line about each failure, *detail* one about each thing that was got,
    with its level (see ``-v``); *libraries* makes copies of C libraries with the shim, *linkers*
    images of the shim for dynamic linkers.
    """

    def __init__(
        self,
        table: MountTable,
        store: ObjectStore,
        mount: Mounter,
        complain: Callable[[str], None],
        detail: Callable[[int, bytes], None],
        libraries: LibcCopies | None = None,
        linkers: Linkers | None = None,
    ) -> None:
        self._table = table
        self._store = store
        self._mount = mount
        self._complain = complain
        self._detail = detail
        self._libraries = libraries
        self._linkers = linkers
        self.waited = 0.0
        """Seconds that calls have waited for something, all together."""
        self._needs = {
            lib.PP_NEEDS_CATALOG: self._catalog,
            lib.PP_NEEDS_MOUNT: self._mount_point,
            lib.PP_NEEDS_VIEW: self._view,
            lib.PP_NEEDS_PROGRAM: self._program,
            lib.PP_NEEDS_XATTR: self._attribute,
        }

    def fetch(self, call: PpCall, need: int) -> None:
        """Get what *call* needs; `OSError` with a fitting errno if it can't be had."""
        started = time.monotonic()
        try:
            self._needs[need](call)
        except PyparrotError as error:
            self._complain(str(error))
            raise OSError(errno.EIO, str(error)) from None
        except OSError as error:
            self._complain(in_words(error))
            if error.errno not in _TOLD:
                raise OSError(errno.EIO, str(error)) from None
            raise
        except Exception as error:
            # A bug of ours must not leave a program waiting for ever.
            failure = understood(error) or f"internal error: {type(error).__name__}: {error}"
            self._complain(str(failure))
            raise OSError(errno.EIO, str(error)) from error
        finally:
            self.waited += time.monotonic() - started

    def _mount_point(self, call: PpCall) -> None:
        place = call.asking
        found = self._table.find(place.mount)
        path = found.path
        if found.tree is not None:
            path += b"/" + ffi.string(place.path)

        def mount() -> None:
            there = self._table.get(path)
            if (there is not None and there.tree is not None) or self._mount(path):
                return
            if found.tree is None:
                raise OSError(errno.EIO, "it can't be mounted again", os.fsdecode(path))
            self._table.add_negative(path, REFUSED_SECONDS)

        self._mounting.run(path, mount)

    @functools.cached_property
    def _mounting(self) -> SingleFlight[bytes, None]:
        """Many may want the same at once; those that want something else do not wait for them."""
        from pyparrot.single_flight import SingleFlight  # not before something is mounted

        return SingleFlight()

    def _catalog(self, call: PpCall) -> None:
        place = call.asking
        mount, tree = self._mounted(place)
        need = tree.snapshot.needed(place.walk)
        tree.snapshot.mount(tree.fetch_index(need))
        self._table.has_grown(mount)
        self._detail(2, mount.path + need.mountpoint + b": catalog at hand")

    def _mounted(self, place: PpPlace) -> tuple[Mount, Tree]:
        mount = self._table.find(place.mount)
        assert mount.tree is not None
        return mount, mount.tree

    def _view(self, call: PpCall) -> None:
        self._make_view(call.asking)

    def _make_view(self, place: PpPlace) -> None:
        from pyparrot.cache import views

        mount, tree = self._mounted(place)
        found = tree.snapshot.found(place.walk)
        node, path = found.node, found.path
        view = os.fsencode(views.directory(self._store)) + b"/" + mount.view.encode() + path
        target = tree.target(node)
        views.make(self._store, view, node.mode, target, lambda: tree.body(node, path), node.size)
        self._detail(2, mount.path + path + b": made ready")

    def _program(self, call: PpCall) -> None:
        """A copy of the program ``file`` that names the interpreter's view as its interpreter."""
        from pyparrot.cache import program_copies, views
        from pyparrot.cache.identity import Identity
        from pyparrot.libc.interpreter import Changed, copy_with_interpreter

        interpreter = ffi.string(call.program.interpreter)
        source = ffi.string(call.file)
        copy = ffi.string(call.program.copy)
        directory = views.directory(self._store)
        identity = None
        if not source.startswith(os.fsencode(directory) + b"/"):
            image = call.program.image.identity
            times = image.modified, image.changed
            identity = Identity(image.device, image.inode, image.size, *times)
            source = b"/proc/%d/root%s" % (lib.pp_remote_number(call.task), source)
        with contextlib.suppress(Changed):  # then the call is decided anew
            views.make_file(
                self._store,
                copy,
                lambda name: copy_with_interpreter(source, name, interpreter, identity),
            )
        program_copies.remove_stale(directory)

    def _attribute(self, call: PpCall) -> None:
        from pyparrot.sources.capabilities import MagicXattrs

        _, tree = self._mounted(call.asking)
        found = tree.snapshot.found(call.asking.walk)
        value = None
        if isinstance(tree, MagicXattrs):
            value = tree.magic_xattr(found, ffi.string(call.attribute))
        call.attribute_fetched = 1
        if value is None:
            call.attribute_size = -errno.ENODATA
        else:
            size = min(len(value), len(call.buffer))
            ffi.memmove(call.buffer, value, size)
            call.attribute_size = size

    def patch_library(self, descriptor: int) -> None:
        """Make a patched copy of the library that is open there, for programs that load it later.

        It is made in a thread of its own, which closes the descriptor. A failure is reported; it
        costs nothing but speed.
        """
        self._patch(self._libraries, descriptor)

    def patch_linker(self, descriptor: int) -> None:
        """Make an image of the shim for the dynamic linker that is open there, in the same way."""
        self._patch(self._linkers, descriptor)

    def _patch(self, files: ShimCopies | None, descriptor: int) -> None:
        try:
            if files is not None:
                files.add_later(descriptor, lambda error: self._mention(str(error)))
                return
        except RuntimeError as error:  # no thread to be had
            self._mention(str(error))
        os.close(descriptor)

    def say_unfit(self, task: int, why: str) -> None:
        """Say that the process *task* runs without the shim."""
        self._mention(f"process {task} runs without the shim: {why}")

    def _mention(self, text: str) -> None:
        with contextlib.suppress(OSError):  # standard error may have no reader any more
            self._detail(1, text.encode("utf-8", "surrogateescape"))

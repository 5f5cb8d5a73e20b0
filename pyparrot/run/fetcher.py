"""Gets what the decision core is missing: mounts, catalogs, views, programs, attributes.

An engine asks for one thing at a time, from any thread; the same question may come from many
threads at once.
"""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyparrot.core import ffi, lib
from pyparrot.errors import PyparrotError
from pyparrot.run.mounts import MountTable

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.libc.copies import LibcCopies
    from pyparrot.run.mounts import Mount
    from pyparrot.transport import SingleFlight
    from pyparrot.tree.base import Repository

REFUSED_SECONDS = 60
"""How long a repository that could not be mounted is taken to be none."""

_PATH = 2 * 4096

Mounter = Callable[[bytes], bool]
"""Mounts what belongs at a path; False if that can't be."""


class Fetcher:
    """Answers an engine's needs from the mounts of *table*.

    *mount* is called for names that are missing in a directory where mounts come by themselves;
    *complain* gets one line about each failure, *detail* one about each thing that was got, with
    its level (see ``-v``); *libraries* are patched for the shim.
    """

    def __init__(
        self,
        table: MountTable,
        store: ObjectStore,
        mount: Mounter,
        complain: Callable[[str], None],
        detail: Callable[[int, bytes], None],
        libraries: LibcCopies | None = None,
    ) -> None:
        self._table = table
        self._store = store
        self._mount = mount
        self._complain = complain
        self._detail = detail
        self._libraries = libraries
        self.waited = 0.0
        """Seconds that calls have waited for something, all together."""
        self._needs = {
            lib.PP_NEEDS_CATALOG: self._catalog,
            lib.PP_NEEDS_MOUNT: self._mount_point,
            lib.PP_NEEDS_VIEW: self._view,
            lib.PP_NEEDS_PROGRAM: self._program,
            lib.PP_NEEDS_XATTR: self._attribute,
            lib.PP_NEEDS_PATCHING: self._patch,
            lib.PP_NEEDS_TELLING: self._tell,
        }

    def __call__(self, call: Any, need: int) -> None:
        """Get it; `OSError` with a fitting errno if it can't be had."""
        started = time.monotonic()
        try:
            self._needs[need](call)
        except PyparrotError as error:
            self._complain(str(error))
            raise OSError(errno.EIO, str(error)) from None
        except OSError as error:
            self._complain(_line(error))
            raise
        except Exception as error:
            # A bug of ours must not leave a program waiting for ever.
            self._complain(f"internal error: {type(error).__name__}: {error}")
            raise OSError(errno.EIO, str(error)) from error
        finally:
            self.waited += time.monotonic() - started

    def _mount_point(self, call: Any) -> None:
        place = call.asking
        found = self._table.find(place.mount)
        path = found.path
        if found.repository is not None:
            path += b"/" + ffi.string(place.path)

        def mount() -> None:
            there = self._table.get(path)
            if (there is None or there.repository is None) and not self._mount(path):
                self._table.add_negative(path, REFUSED_SECONDS)

        self._mounting.run(path, mount)

    @functools.cached_property
    def _mounting(self) -> SingleFlight[bytes, None]:
        """Many may want the same at once; who wants something else does not wait for them."""
        from pyparrot.transport import SingleFlight  # not before something is mounted

        return SingleFlight()

    def _catalog(self, call: Any) -> None:
        place = call.asking
        mount, repository = self._mounted(place)
        need = repository.snapshot.needed(place.walk)
        repository.snapshot.mount(repository.catalog(need))
        self._table.has_grown(mount)
        self._detail(2, mount.path + need.mountpoint + b": catalog at hand")

    def _mounted(self, place: Any) -> tuple[Mount, Repository]:
        mount = self._table.find(place.mount)
        assert mount.repository is not None
        return mount, mount.repository

    def _view(self, call: Any) -> None:
        self._make_view(call.asking)

    def _make_view(self, place: Any) -> str:
        from pyparrot.cache import views

        mount, repository = self._mounted(place)
        found = repository.snapshot.found(place.walk)
        node, path = found.node, found.path
        view = os.fsencode(views.directory(self._store)) + b"/" + mount.view.encode() + path
        target = repository.target(node)
        views.make(self._store, view, node.mode, target, lambda: repository.body(node, path))
        self._detail(2, mount.path + path + b": made ready")
        return os.fsdecode(view)

    def _program(self, call: Any) -> None:
        """A copy of the program ``file`` whose interpreter is the view of what was found."""
        from pyparrot.cache import views
        from pyparrot.libc import elf

        interpreter = os.fsencode(self._make_view(call.asking))
        source = ffi.string(call.file)
        copy = ffi.string(ffi.addressof(call.buffer, _PATH))
        views.make_file(
            self._store, copy, lambda name: elf.copy_with_interpreter(source, name, interpreter)
        )

    def _attribute(self, call: Any) -> None:
        from pyparrot.sources import magic_xattrs

        _, repository = self._mounted(call.asking)
        found = repository.snapshot.found(call.asking.walk)
        value = magic_xattrs.value(repository, found, ffi.string(call.text))
        call.asked = 1
        if value is None:
            call.answer = -errno.ENODATA
        else:
            size = min(len(value), len(call.buffer))
            ffi.memmove(call.buffer, value, size)
            call.answer = size

    def _patch(self, call: Any) -> None:
        """Make a patched copy of the library that ``answer`` has open, for who loads it next."""
        call.asked = 1
        descriptor = call.answer
        if self._libraries is None:
            os.close(descriptor)
        else:
            self._libraries.add_later(
                descriptor, lambda error: self._detail(1, str(error).encode())
            )

    def _tell(self, call: Any) -> None:
        call.asked = 1
        why = ffi.string(call.text).decode()
        self._detail(1, f"process {call.answer} runs without the shim: {why}".encode())


def _line(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason

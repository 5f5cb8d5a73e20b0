"""What the makers of files with the shim in them have in common (`LibcCopies`, `Linkers`)."""

from __future__ import annotations

import abc
import functools
import os
import threading
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.core import PpSubstitution


class ShimCopies(abc.ABC):
    """Files with the shim of the file *shim* in them, which are made once and kept in *store*.

    What is ready is entered into *substitution*, where the engine finds it. Any thread may add.
    """

    what: ClassVar[str]
    """The name of the threads that make them."""

    def __init__(self, store: ObjectStore, shim: str, substitution: PpSubstitution) -> None:
        self._store = store
        self._shim = shim
        self._substitution = substitution
        self._lock = threading.Lock()

    @functools.cached_property
    def _version(self) -> str:
        """Tells shims apart, in hexadecimal digits."""
        with open(self._shim, "rb") as file:
            content = file.read()
        return f"{zlib.crc32(content):08x}{len(content):x}"

    @abc.abstractmethod
    def add(self, descriptor: int) -> None:
        """Make what is needed for the file that is open there, unless the cache has it.

        Each file is tried once. `OSError` and `ValueError` if it can't be done.
        """

    def add_later(self, descriptor: int, complain: Callable[[Exception], None]) -> None:
        """The same in a thread of its own, which closes the descriptor.

        *complain* is called there if it can't be done.
        """

        def work() -> None:
            try:
                self.add(descriptor)
            except Exception as error:  # nothing depends on it but speed
                complain(error)
            finally:
                os.close(descriptor)

        threading.Thread(target=work, name=self.what, daemon=True).start()

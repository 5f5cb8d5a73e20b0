"""The kinds of sources, and which of them the text that a user gave means.

To add a kind takes a module with a function that opens one, and a line in `_KINDS`. A kind's module
is imported when one of it is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Callable, NamedTuple

from pyparrot.errors import PyparrotError

if TYPE_CHECKING:
    from pyparrot.cache.store import ObjectStore
    from pyparrot.sources.cvmfs.revisions import Wanted
    from pyparrot.tree.base import Tree


class Context(NamedTuple):
    """What a source is opened with, besides the text that names it.

    *mountpoint* is where it is seen. *parameters* beat what is configured, *wanted* is the
    revision, *environment* what variant symlinks refer to (None: the process's own). Unless
    *quota_given*, a source sets the quota of *store* as its configuration says. *refresh* asks for
    the newest revision even if what is known may still be taken for it. With *pin* the tree is the
    one that has said so (`pyparrot.sources.capabilities.Pinned`), and goes on to newer revisions
    as *wanted* says.
    """

    store: ObjectStore
    mountpoint: bytes
    parameters: Mapping[str, str] = {}
    wanted: Wanted | None = None
    environment: Mapping[bytes, bytes] | None = None
    quota_given: bool = True
    refresh: bool = False
    pin: str | None = None


class UnknownSourceError(PyparrotError):
    """Nothing is known by this name: it is badly formed, or nothing is configured for it."""


class _Kind(NamedTuple):
    prefixes: tuple[str, ...]
    """What texts that mean this kind start with."""

    opener: str
    """``module:function``, a function of text and `Context` that gives a `Tree`.

    It raises `UnknownSourceError`, or another `PyparrotError` or `OSError` if what is known can't
    be opened.
    """

    has_names: bool = False
    """Whether a text may be a name that is looked up below ``/cvmfs`` and was not mounted yet."""


# The first that fits is taken.
_KINDS = (
    _Kind(("/", "."), "pyparrot.sources.directory:open_directory"),
    _Kind(("cvmfs+",), "pyparrot.sources.cvmfs.opener:open_url"),
    _Kind(("",), "pyparrot.sources.cvmfs.opener:open_fqrn", has_names=True),
)


def open_source(text: str, context: Context) -> Tree:
    """Open what the user means by *text*; `PyparrotError` or `OSError` if that can't be."""
    kind = next(kind for kind in _KINDS if text.startswith(kind.prefixes))
    return _function(kind.opener)(text, context)


def open_by_name(name: str, context: Context) -> Tree:
    """Open what is called *name* in the directory whose names are mounted on first use.

    `UnknownSourceError` if there is no such thing: programs look for many names.
    """
    failure: UnknownSourceError | None = None
    for kind in _KINDS:
        if kind.has_names:
            try:
                return _function(kind.opener)(name, context)
            except UnknownSourceError as error:
                failure = error
    assert failure is not None
    raise failure


def import_kinds_with_names() -> None:
    """Import what `open_by_name` needs, so that the first name does not wait for it."""
    for kind in _KINDS:
        if kind.has_names:
            _function(kind.opener)


def _function(opener: str) -> Callable[[str, Context], Tree]:
    import importlib

    module, _, name = opener.partition(":")
    function: Callable[[str, Context], Tree] = getattr(importlib.import_module(module), name)
    return function

"""What some trees can do besides being read: callers ask with `isinstance` whether one can.

A kind of source has those that fit it, and need not name them: what has the methods has the
capability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pyparrot.tree.base import Tree
    from pyparrot.tree.entries import Node
    from pyparrot.tree.index import Index
    from pyparrot.tree.snapshot import Found


@runtime_checkable
class Renewable(Protocol):
    """A tree of which there may be a newer revision."""

    def ttl(self) -> float | None:
        """After how many seconds there may be a newer one; None if this revision is fixed."""

    def newest(self) -> Tree:
        """The newest revision, opened beside this one; `PyparrotError` or `OSError`."""


@runtime_checkable
class Pinned(Protocol):
    """A tree whose very revision can be opened again, by a `Context` with its *pin*."""

    def pin(self) -> str:
        """What says which revision it is."""


class Tag(Protocol):
    """A named revision."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def revision(self) -> int:
        """The revision's number."""

    @property
    def timestamp(self) -> int:
        """When the revision was made, in unix seconds."""

    @property
    def description(self) -> str:
        """What its publisher says of it."""


@runtime_checkable
class Tagged(Protocol):
    """A tree with named revisions."""

    def tags(self) -> Sequence[Tag]:
        """The tags, oldest first; `PyparrotError` or `OSError` if they can't be had."""


@runtime_checkable
class Transported(Protocol):
    """A tree that comes over a network."""

    def transferred(self) -> tuple[int, int]:
        """How many requests were made so far, and how many bytes of bodies arrived."""


@runtime_checkable
class CountsUse(Protocol):
    """A tree whose content is evicted from the cache in the order of its use."""

    def use(self, node: Node) -> None:
        """Count the content of the regular file *node* as used now."""


@runtime_checkable
class MagicXattrs(Protocol):
    """A tree with extended attributes that are made up when they are asked for."""

    def magic_xattr(self, found: Found, name: bytes) -> bytes | None:
        """The value of the attribute *name* of what was found; None if there is none."""


@runtime_checkable
class Describes(Protocol):
    """A tree that knows more of its names than `os.stat` says, in words that go into JSON."""

    def describe(self) -> dict[str, Any]:
        """What it is as a whole; what can't be had is one of its warnings."""

    def describe_content(self, node: Node) -> dict[str, Any]:
        """How the content of the regular file *node* is stored."""

    def describe_index(self, index: Index) -> str:
        """What *index* was made of."""

    def describe_nested(self, node: Node) -> str:
        """What is mounted at the nested directory *node*."""

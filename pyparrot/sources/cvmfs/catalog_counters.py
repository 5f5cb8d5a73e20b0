"""What catalogs count: names by their kind, and sizes in bytes.

Source: CernVM-FS ``catalog_counters.h``.
"""

from __future__ import annotations

from typing import NamedTuple

COUNTERS = (
    "regular",
    "symlink",
    "special",
    "dir",
    "nested",
    "chunked",
    "chunks",
    "file_size",
    "chunked_size",
    "xattr",
    "external",
    "external_file_size",
)
"""What a catalog counts of itself (``self_…``) and of all catalogs below it (``subtree_…``)."""


class CatalogCounters(NamedTuple):
    """One set of `COUNTERS`, in their order."""

    values: tuple[int, ...] = (0,) * len(COUNTERS)

    def __add__(self, other: object) -> CatalogCounters:
        assert isinstance(other, CatalogCounters)
        return CatalogCounters(tuple(map(sum, zip(self.values, other.values))))

    def __sub__(self, other: CatalogCounters) -> CatalogCounters:
        return CatalogCounters(tuple(a - b for a, b in zip(self.values, other.values)))

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return dict(zip(COUNTERS, self.values))

    def of_names(self) -> dict[str, int]:
        """The counters of a whole tree by name, with each directory counted once.

        A nested catalog's root is counted in it and, as its mountpoint, in its parent.
        """
        counts = self.as_dict()
        counts["dir"] -= counts["nested"]
        return counts

    @property
    def entries(self) -> int:
        """Files, links, special files and directories together."""
        counts = self.as_dict()
        return sum(counts[name] for name in ("regular", "symlink", "special", "dir"))

"""Takes views away, with the objects that they are links to (`views` makes them)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container

DIRECTORY = "views"
"""Where views are in a cache's directory."""


def remove(directory: str, inodes: Container[int]) -> None:
    """Remove the views in *directory* that are files with these inode numbers.

    A program that has one open keeps it; one that opens it later gets a new one.
    """
    pending = [directory]
    while pending:
        with contextlib.suppress(FileNotFoundError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.inode() in inodes:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.path)


def clear(directory: str) -> None:
    """Remove all views in *directory*.

    No program loses what it has open, nor its working directory: their names say what they are.
    """
    import shutil

    shutil.rmtree(directory, ignore_errors=True)

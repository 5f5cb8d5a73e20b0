"""Views: the real files that programs have open, named so that their names tell what they are.

``views/NAME/PATH`` stands for PATH in one snapshot at one mount point. A file there is a hard link
to the verified object; a directory is empty, since what it lists stands in the catalog; a symlink
and a named pipe are what they are in the repository. Views are made when something is first opened,
and are never changed; eviction takes them away with their objects (`stale_views`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable

from pyparrot.cache.intact import mark_complete
from pyparrot.cache.stale_views import DIRECTORY
from pyparrot.cache.store import ObjectStore
from pyparrot.cache.view_places import make_directory, make_way

_NO_LINK = (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_TRIES = 20
_SMALL = 16384


def directory(store: ObjectStore) -> str:
    """The directory of all views."""
    path = os.path.realpath(store.file(DIRECTORY))
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def make(
    store: ObjectStore,
    view: bytes,
    mode: int,
    target: bytes,
    body: Callable[[], str],
    size: int | None = None,
) -> None:
    """Make the view *view* of something with st_mode *mode*; nothing happens if it is there.

    *target* is a symlink's, *body* gives the object of a regular file, fetching it if need be, and
    *size* (bytes) is that file's. Whatever else has the view's name, or was changed, is removed.
    """
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR:
        make_directory(view)
        return
    make_way(view, kind, size)
    make_directory(os.path.dirname(view))
    with contextlib.suppress(FileExistsError):
        if kind == stat.S_IFLNK:
            os.symlink(target, view)
        elif kind == stat.S_IFIFO:
            os.mkfifo(view, 0o600)
        elif kind != stat.S_IFREG:
            os.mknod(view, stat.S_IFSOCK | 0o600)  # to be named, never to be used
        else:
            store.with_space(lambda: _link(store, body, view))


def make_file(store: ObjectStore, view: bytes, write: Callable[[bytes], None]) -> None:
    """Make a view that is a file of its own.

    *write* gets a new file's name, and fills and closes it: programs are run from views. What has
    the view's name is replaced.
    """
    make_directory(os.path.dirname(view), is_guarded=False)
    temporary = os.fsencode(store.temporary_file())

    def write_and_move() -> None:
        write(temporary)
        mark_complete(temporary)
        if os.path.isdir(view):
            make_way(view, stat.S_IFREG, None)
        os.rename(temporary, view)

    try:
        store.with_space(write_and_move)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _link(store: ObjectStore, body: Callable[[], str], view: bytes) -> None:
    for _ in range(_TRIES):
        source = body()
        try:
            status = os.stat(source)
            if status.st_nlink == 1 or status.st_size > _SMALL:
                os.link(os.fsencode(source), view)
                return
        except FileNotFoundError:
            continue  # evicted in this very moment
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
        # A small body that other views have, too: an inode of its own tells at once which view it
        # is. Or a file system without hard links, or a body that too many files share.
        make_file(store, view, lambda name, source=source: _copy(source, name))  # type: ignore[misc]
        return
    raise OSError(errno.EIO, "the object is evicted as soon as it is there")


def _copy(source: str, target: bytes) -> None:
    import shutil

    shutil.copyfile(source, target)

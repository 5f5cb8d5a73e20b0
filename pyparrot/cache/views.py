"""Views: the real files that programs have open, named so that their names tell what they are.

``views/NAME/PATH`` stands for PATH in one snapshot at one mount point. A file there is a hard link
to the verified object; a directory is empty, since what it lists stands in the catalog; a symlink
and a named pipe are what they are in the repository. Views are made when something is first opened,
and are never changed; eviction takes them away with their objects, and when they are not used
(`stale_views`).

Something else may lie where a view belongs, after damage or by another user's hand: it is removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable

from pyparrot.cache import owned
from pyparrot.cache.core_files import core_name
from pyparrot.cache.intact import is_marked, mark_with_checksum
from pyparrot.cache.stale_views import DIRECTORY, entry_size
from pyparrot.cache.store import ObjectStore

_NO_LINK = (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_TRIES = 20
_SMALL = 16384


def directory(store: ObjectStore) -> str:
    """The directory of all views."""
    path = os.path.realpath(store.file(DIRECTORY))
    owned.make_directory(path, parents=True)
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
    `PyparrotError` if the view can't be trusted, `OSError` if it can't be made.
    """
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR:
        _in_directory(store, view, lambda: os.lstat(view))
    elif kind == stat.S_IFREG:
        _make_regular(store, view, body, size)
    else:
        _in_directory(store, os.path.dirname(view), lambda: _make_special(view, kind, target))
        store.add_other(entry_size(os.path.basename(view), kind, len(target)))


def make_file(store: ObjectStore, view: bytes, write: Callable[[bytes], None]) -> None:
    """Make a view that is a file of its own; it takes the place of what is there.

    *write* gets a new file's name, and fills and closes it: programs are run from views.
    """
    temporary = os.fsencode(store.temporary_file())

    def write_and_move() -> None:
        write(temporary)
        mark_with_checksum(temporary, store.mark)
        size = os.lstat(temporary).st_size
        _in_directory(store, os.path.dirname(view), lambda: _replace(temporary, view))
        store.add_other(entry_size(os.path.basename(view), stat.S_IFREG, size))

    try:
        store.with_space(write_and_move)
    finally:
        owned.remove(temporary)


def _replace(file: bytes, view: bytes) -> None:
    try:
        os.rename(file, view)
    except OSError as error:
        if not owned.is_in_the_way(error):
            raise
        owned.remove(view)
        os.rename(file, view)


def _make_special(view: bytes, kind: int, target: bytes) -> None:
    """Make a symlink, a pipe, or what can only be named."""
    status = _status(view)
    if status is not None:
        made = kind if kind in (stat.S_IFLNK, stat.S_IFIFO) else stat.S_IFSOCK
        same = stat.S_IFMT(status.st_mode) == made and not owned.why_not(status)
        if same and (kind != stat.S_IFLNK or os.readlink(view) == target):
            return
        owned.remove(view)
    with contextlib.suppress(FileExistsError):
        if kind == stat.S_IFLNK:
            os.symlink(target, view)
        elif kind == stat.S_IFIFO:
            os.mkfifo(view, 0o600)
        else:
            os.mknod(view, stat.S_IFSOCK | 0o600)  # to be named, never to be used


def _make_regular(
    store: ObjectStore, view: bytes, body: Callable[[], str], size: int | None
) -> None:
    above = os.path.dirname(view)
    # First: what is made there may have to make room, and what is fetched is to stay.
    _in_directory(store, above, lambda: None)
    for _ in range(_TRIES):
        source = body()
        status = _status(os.fsencode(source))
        if status is None:
            continue  # evicted in this very moment
        if status.st_nlink == 1 or status.st_size > _SMALL:
            try:
                _in_directory(store, above, lambda source=source: _link(store, source, view, size))  # type: ignore[misc]
                store.add_other(entry_size(os.path.basename(view), stat.S_IFREG))
                return
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
        # A small body that other views have, too: an inode of its own tells at once which view it
        # is. Or a file system without hard links, or a body that too many files share.
        with contextlib.suppress(FileNotFoundError):
            make_file(store, view, lambda name, source=source: _copy(source, name))  # type: ignore[misc]
            return
    raise OSError(errno.EIO, "its content is evicted as soon as it is there", os.fsdecode(view))


def _link(store: ObjectStore, source: str, view: bytes, size: int | None) -> None:
    for _ in range(_TRIES):
        try:
            store.with_space(lambda: os.link(os.fsencode(source), view))
            return
        except FileExistsError:
            status = _status(view)
            fits = status is not None and size in (None, status.st_size)
            if status is not None and fits and is_marked(status, store.mark):
                return
            owned.remove(view)
    raise OSError(errno.EEXIST, "it changes while it is looked at", os.fsdecode(view))


def _copy(source: str, target: bytes) -> None:
    import shutil

    shutil.copyfile(source, target)


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _in_directory(store: ObjectStore, above: bytes, work: Callable[[], object]) -> None:
    """Do *work* in the directory *above*, which is made, or made right, if need be."""
    for _ in range(_TRIES):
        try:
            if above not in store.trusted:
                _claim(store, above)
            store.with_space(work)
            return
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            failure = error
            store.trusted.discard(above)
            _claim(store, above)
    raise failure


def _claim(store: ObjectStore, wanted: bytes) -> None:
    """Have the directory *wanted* below that of all views; each one on the way is looked at."""
    path = os.fsencode(directory(store))
    made = 0
    for name in wanted[len(path) + 1 :].split(b"/"):
        if name:
            path += b"/" + name
            made += store.with_space(lambda: _claim_one(path))  # noqa: B023 (called here)
    store.note_trusted(wanted)
    if made:
        store.add_other(made)


def _claim_one(path: bytes) -> int:
    """Have a directory of views; gives the bytes that were added."""
    if not owned.claim_directory(path):
        return 0
    size = entry_size(os.path.basename(path), stat.S_IFDIR)
    guard = core_name()
    if guard is not None:
        with contextlib.suppress(OSError):
            owned.make_directory(os.path.join(path, guard))
            size += entry_size(guard, stat.S_IFDIR)
    return size

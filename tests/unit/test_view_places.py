"""The directories of views, and what is in the way of a view."""

from __future__ import annotations

import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyparrot.cache import view_places, views
from pyparrot.cache.intact import mark_complete
from pyparrot.cache.store import ObjectStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(str(tmp_path / "cache")) as opened:
        yield opened


# Core files


@pytest.mark.parametrize(
    ("pattern", "uses_pid", "name"),
    [
        ("core\n", "0\n", b"core"),
        ("a name\n", "0\n", b"a name"),
        ("core\n", "1\n", None),
        ("core.%p\n", "0\n", None),
        ("|/usr/bin/handler %p\n", "0\n", None),
        ("@/run/socket\n", "0\n", None),
        ("/var/cores/core\n", "0\n", None),
        ("cores/core\n", "0\n", None),
        ("..\n", "0\n", None),
        ("\n", "0\n", None),
    ],
)
def test_the_name_of_core_files(
    monkeypatch: pytest.MonkeyPatch, pattern: str, uses_pid: str, name: bytes | None
) -> None:
    texts = {"core_pattern": pattern, "core_uses_pid": uses_pid}
    monkeypatch.setattr(
        view_places,
        "open",
        lambda file, _: io.BytesIO(texts[os.path.basename(file)].encode()),
        raising=False,
    )
    assert view_places.core_name.__wrapped__() == name


def test_directories_are_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_places, "core_name", lambda: b"dumped")
    view_places.make_directory(bytes(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "dumped").is_dir()
    assert (tmp_path / "a" / "b" / "dumped").is_dir()
    view_places.make_directory(bytes(tmp_path / "other"), is_guarded=False)
    assert not list((tmp_path / "other").iterdir())


def test_a_view_may_have_the_name_of_a_core_file(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_places, "core_name", lambda: b"core")
    body = Path(store.directory, "body")
    body.write_bytes(b"x" * 20000)
    mark_complete(str(body))
    for name in ("core", "other"):
        view = Path(views.directory(store), "name", name)
        views.make(store, bytes(view), stat.S_IFREG | 0o644, b"", lambda: str(body), 20000)
        assert view.read_bytes() == body.read_bytes()
    views.make(store, bytes(view.with_name("core")), stat.S_IFDIR | 0o755, b"", lambda: "")
    assert view.with_name("core").is_dir()


# What is in the way


def written(view: Path) -> None:
    view.chmod(0o700)
    view.write_bytes(b"something")


def unreadable(view: Path) -> None:
    view.chmod(0)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(view: Path) -> None:
        remove(view)
        make(view)

    return replace


def parent_replaced(view: Path) -> None:
    remove(view.parent)
    view.parent.write_bytes(b"")


DAMAGE = {
    "written": written,
    "directory": replaced(Path.mkdir),
    "fifo": replaced(os.mkfifo),
    "dangling": replaced(lambda view: view.symlink_to("nothing")),
    "file": replaced(lambda view: view.write_bytes(b"")),
    "unreadable": unreadable,
    "parent": parent_replaced,
}
KINDS = {
    "file": stat.S_IFREG | 0o644,
    "directory": stat.S_IFDIR | 0o755,
    "link": stat.S_IFLNK | 0o777,
    "fifo": stat.S_IFIFO | 0o644,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_such_view_is_made_again(store: ObjectStore, kind: str, damage: str) -> None:
    if damage == "unreadable" and kind in ("link", "fifo"):
        pytest.skip("nothing is read of it")
    if damage == "written" and kind != "file":
        pytest.skip("nothing is in it")
    view = Path(views.directory(store), "name", "sub", "view")

    def body() -> str:
        """As the store does, which gives no object that was changed."""
        file = Path(store.directory, "body")
        file.unlink(missing_ok=True)
        file.write_bytes(b"right" * 10000)
        mark_complete(str(file))
        return str(file)

    def make() -> None:
        views.make(store, bytes(view), KINDS[kind], b"target", body, 50000)

    for _ in range(2):
        make()
        DAMAGE[damage](view)
        make()
        make()
        status = view.lstat()
        assert stat.S_IFMT(status.st_mode) == stat.S_IFMT(KINDS[kind])
        if kind == "file":
            assert view.read_bytes() == b"right" * 10000
            assert status.st_mode & 0o777 == 0o500
        if kind == "directory":
            assert status.st_mode & 0o700 == 0o700
        if kind == "link":
            assert os.readlink(view) == "target"

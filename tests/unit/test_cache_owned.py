"""Nothing in a cache is believed that others could have put there; modes are the same always."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from support import run_pyparrot

from pyparrot.cache import owned, views
from pyparrot.cache.names import ObjectName
from pyparrot.cache.store import ObjectStore
from pyparrot.errors import PyparrotError

NAME = ObjectName("aa01")


def put(store: ObjectStore, name: ObjectName = NAME) -> str:
    def fill(file: BinaryIO) -> ObjectName:
        file.write(b"content")
        return name

    return store.find(name) or store.write(fill)


def use(directory: Path) -> None:
    with ObjectStore(str(directory)) as store:
        put(store)
        top = os.fsencode(views.directory(store))
        views.make(store, top + b"/v/d/file", 0o100644, b"", lambda: put(store))
        views.make(store, top + b"/v/d/pipe", 0o010644, b"", lambda: put(store))
        views.make_file(store, top + b"/v.x/file", lambda name: Path(os.fsdecode(name)).touch())
        store.write_file("manifests/x", b"manifest")
        store.pins.settle()


@pytest.fixture(params=[0, 0o022, 0o077, 0o277, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_modes_do_not_depend_on_the_umask(umask: int, tmp_path: Path) -> None:
    use(tmp_path / "home" / ".cache" / "pyparrot")
    use(tmp_path / "home" / ".cache" / "pyparrot")
    seen = []
    for path in (tmp_path / "home", *(tmp_path / "home").rglob("*")):
        mode = path.lstat().st_mode
        seen.append(path.name)
        if stat.S_ISDIR(mode):
            assert stat.S_IMODE(mode) == 0o700, path
        elif not stat.S_ISFIFO(mode):
            assert stat.S_IMODE(mode) in (0o500, 0o600), path
    assert {"home", ".cache", "pyparrot", "lock", "version", "cache.db", "01", "file"} < set(seen)


@pytest.mark.parametrize("exposed", ["", "objects", "objects/aa", "views", "ledger", "txn", "pins"])
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_what_others_may_write_to(exposed: str, mode: int, tmp_path: Path) -> None:
    """The advice does not have the user believe what is there by then."""
    cache = tmp_path / "cache"
    use(cache)
    (cache / exposed).chmod(mode)
    with pytest.raises(PyparrotError) as failure:
        use(cache)
    line = str(failure.value)
    assert line.startswith(f"{cache / exposed!s}: ")
    assert "others may write to it" in line
    assert "chmod" not in line
    assert line.endswith("pyparrot cache clear --all)")


def test_a_view_s_directory_that_others_may_write_to(tmp_path: Path) -> None:
    use(tmp_path / "cache")
    (tmp_path / "cache" / "views" / "v").chmod(0o777)
    with ObjectStore(str(tmp_path / "cache")) as store:
        view = os.path.join(views.directory(store), "v", "d", "new")
        with pytest.raises(PyparrotError) as failure:
            views.make(store, os.fsencode(view), 0o100644, b"", lambda: put(store))
    assert str(failure.value).startswith(f"{tmp_path}/cache/views/v: others may write to it")


@pytest.mark.parametrize("exposed", ["", "objects", "views"])
def test_clearing_makes_it_a_cache_again(exposed: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    use(cache)
    (cache / exposed).chmod(0o777)
    planted = cache / "objects" / "bb" / "01"
    planted.parent.mkdir()
    planted.write_text("planted\n")
    options = ["--cache", str(cache)]
    assert run_pyparrot(["cache", "clear", *options]).status == 125
    assert planted.exists()
    ran = run_pyparrot(["cache", "clear", "--all", *options])
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"{cache}: removed everything, since others could write to it\n")
    assert not planted.exists()
    use(cache)


def test_clearing_takes_nothing_else_away(tmp_path: Path) -> None:
    """A directory that is no cache is nothing to be emptied."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis").write_text("years\n")
    (tmp_path / "data").chmod(0o777)
    ran = run_pyparrot(["cache", "clear", "--all", "--cache", str(tmp_path / "data")])
    assert ran.status == 125
    assert (
        ran.err
        == f"pyparrot: {tmp_path}/data: not a cache, and not empty (choose one with --cache)\n"
    )
    assert (tmp_path / "data" / "thesis").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.parametrize("planted", ["objects/aa/01", "views/v/d/file", "manifests/x"])
def test_another_user_s_files_are_not_believed(planted: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    use(cache)
    status = (cache / planted).stat()
    (cache / planted).chmod(0o600)
    (cache / planted).write_bytes(b"CONTENT")
    os.utime(cache / planted, ns=(status.st_atime_ns, status.st_mtime_ns))
    (cache / planted).chmod(0o500)
    os.chown(cache / planted, 12345, 12345)
    with ObjectStore(str(cache)) as store:
        if planted.startswith("manifests"):
            assert store.read_file("manifests", "x", limit=99) is None
            store.write_file("manifests/x", b"mine")
            assert store.read_file("manifests", "x", limit=99) == b"mine"
            return
        assert Path(put(store)).read_bytes() == b"content"
        view = os.path.join(views.directory(store), "v", "d", "file")
        views.make(store, os.fsencode(view), 0o100644, b"", lambda: put(store))
        assert Path(view).read_bytes() == b"content"


@pytest.mark.parametrize("link", ["objects", "objects/aa", "views", "views/v", "manifests"])
def test_links_are_not_followed(link: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    use(cache)
    elsewhere = tmp_path / "elsewhere"
    (cache / link).rename(elsewhere)
    (cache / link).symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    use(cache)
    assert not (cache / link).is_symlink()
    assert sorted(elsewhere.rglob("*")) == before


def test_why_not(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")  # of which all may read and write, as of every link
    assert owned.why_not((tmp_path / "link").lstat()) == ""
    assert owned.why_not(tmp_path.stat()) == ""

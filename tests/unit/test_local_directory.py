"""Local directories in a run: what was first seen of a file stays, and no other run takes it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyparrot.cache.store import ObjectStore
from pyparrot.sources.directory import LocalDirectory


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(str(tmp_path / "cache")) as opened:
        yield opened


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "file").write_text("first\n")
    return tmp_path / "top"


def test_each_run_is_another_tree(
    store: ObjectStore, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Process numbers repeat, and in a container they always do."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    first, second = (LocalDirectory(str(top), b"/data", store) for _ in range(2))
    assert first.identity != second.identity
    assert first.is_passing


def test_a_file_that_was_changed_is_another_one(store: ObjectStore, top: Path) -> None:
    """Even if size and time of modification are what they were."""
    file = top / "file"
    times = file.stat()
    with LocalDirectory(str(top), b"/data", store) as tree:
        assert Path(tree.fetch("/file")).read_text() == "first\n"
    file.write_text("other\n")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with LocalDirectory(str(top), b"/data", store) as tree:
        assert Path(tree.fetch("/file")).read_text() == "other\n"


@pytest.mark.parametrize("change", ["longer", "shorter", "pipe", "link", "gone"])
def test_what_is_not_what_was_listed(change: str, store: ObjectStore, top: Path) -> None:
    """A program that was told a size must not find another, nor wait at a pipe."""
    file = top / "file"
    with LocalDirectory(str(top), b"/data", store) as tree:
        assert tree.stat("/file").st_size == 6
        if change in ("longer", "shorter"):
            file.write_text("x" * (7 if change == "longer" else 5))
        else:
            file.unlink()
        if change == "pipe":
            os.mkfifo(file)
        elif change == "link":
            file.symlink_to("/etc/passwd")
        with pytest.raises(OSError, match="file") as failure:
            tree.fetch("/file")
        assert failure.value.errno == (errno.ENOENT if change == "gone" else errno.ESTALE)


def test_a_failure_names_the_file(
    store: ObjectStore, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = open

    class Broken:
        """A file on a broken disk."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def read(self, size: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def fileno(self) -> int:
            return int(self._file.fileno())

    def open_file(file: Any, *more: Any, **most: Any) -> Any:
        opened = real(file, *more, **most)
        return Broken(opened) if os.fspath(file) == os.fsencode(top / "file") else opened

    monkeypatch.setattr("builtins.open", open_file)
    with (
        LocalDirectory(str(top), b"/data", store) as tree,
        pytest.raises(OSError, match="Input") as failure,
    ):
        tree.fetch("/file")
    assert failure.value.filename == str(top / "file")
    assert os.listdir(store.file("txn")) == []

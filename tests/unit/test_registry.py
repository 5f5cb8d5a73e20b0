"""Which kind of source a text means, and what trees can do besides being read."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest

from pyparrot.cache.directory import configured_quota
from pyparrot.cache.store import ObjectStore
from pyparrot.config import Configuration, load
from pyparrot.errors import PyparrotError
from pyparrot.sources import registry
from pyparrot.sources.capabilities import (
    CountsUse,
    Describes,
    MagicXattrs,
    Renewable,
    Tagged,
    Transported,
)
from pyparrot.sources.cvmfs import opener
from pyparrot.sources.cvmfs.remote import RemoteRepository
from pyparrot.sources.directory import LocalDirectory
from pyparrot.sources.names import Names
from pyparrot.sources.registry import Context, UnknownSourceError, open_by_name, open_source
from pyparrot.tree.entries import Node
from pyparrot.tree.snapshot import NeedIndex

FQRN = "sw.example.org"
URL = "http://127.0.0.1:1/cvmfs/@fqrn@"


class Opened(NamedTuple):
    """What a repository would have been opened with."""

    fqrn: str
    servers: str | None
    context: Context


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with ObjectStore(str(tmp_path / "cache")) as opened:
        yield opened


@pytest.fixture
def context(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A context, in which no repository is really opened."""
    context = Context(store, b"/cvmfs/here")

    def made(configuration: Configuration, *_: Any, **__: Any) -> Opened:
        return Opened(configuration.fqrn, configuration.get("CVMFS_SERVER_URL"), context)

    monkeypatch.setattr(opener, "RemoteRepository", made)
    return context


def with_server(context: Context, **parameters: str) -> Context:
    return context._replace(parameters={"CVMFS_SERVER_URL": URL, **parameters})


def test_a_repository_by_name(context: Context) -> None:
    for open_it in (open_source, open_by_name):
        opened: Any = open_it(FQRN, with_server(context))
        assert (opened.fqrn, opened.servers) == (FQRN, URL.replace("@fqrn@", FQRN))


def test_a_repository_by_url(context: Context) -> None:
    opened: Any = open_source(f"cvmfs+http://127.0.0.1:1/cvmfs/{FQRN}/", with_server(context))
    assert (opened.fqrn, opened.servers) == (FQRN, f"http://127.0.0.1:1/cvmfs/{FQRN}")


@pytest.mark.parametrize("text", ["{}", "{}/.", "."])
def test_a_directory(context: Context, tmp_path: Path, text: str) -> None:
    with open_source(text.format(tmp_path), context) as opened:
        assert isinstance(opened, LocalDirectory)
    with pytest.raises(FileNotFoundError):
        open_source(f"{tmp_path}/missing", context)


@pytest.mark.parametrize("name", ["..", ".git", ".", "cvmfs+http:", "no_name", "unknown.invalid"])
def test_names_that_programs_look_for_are_no_sources(context: Context, name: str) -> None:
    with pytest.raises(UnknownSourceError):
        open_by_name(name, context)


def test_an_unknown_name_says_why(context: Context) -> None:
    with pytest.raises(PyparrotError, match="no server is known"):
        open_source("unknown.invalid", context)


def test_a_kind_is_one_module_and_one_line(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("another_kind")
    module.open_it = lambda text, context: (text, context)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "another_kind", module)
    line = registry._Kind(("other:",), "another_kind:open_it")
    monkeypatch.setattr(registry, "_KINDS", (line, *registry._KINDS))
    opened: Any = open_source("other:x", context)
    assert opened == ("other:x", context)


@pytest.mark.parametrize(
    ("limit", "quota"), [("-1", 0), ("0", 0), ("3", 3 << 20), ("", 4000 << 20)]
)
def test_the_quota_is_the_configured_one_unless_it_is_given(
    context: Context, limit: str, quota: int
) -> None:
    context.store.quota = 12345
    configured = with_server(context, CVMFS_QUOTA_LIMIT=limit)
    open_source(FQRN, configured)
    assert context.store.quota == 12345
    open_source(FQRN, configured._replace(quota_given=False))
    assert context.store.quota == quota == configured_quota(load(FQRN, configured.parameters))


@pytest.mark.parametrize("handle", [b"", b"\x07", b"\x80short", b"\0" + bytes(35), b"\x38"])
def test_a_damaged_handle_is_an_io_error(monkeypatch: pytest.MonkeyPatch, handle: bytes) -> None:
    repository = RemoteRepository.__new__(RemoteRepository)
    monkeypatch.setattr(repository, "objects", Mock(), raising=False)
    node = Node(b"f", 2, 0o100644, 5, 0, 0, 0, 1, 0, b"", handle, b"")
    for use_it in (
        lambda: repository.body(node, b"/f"),
        lambda: repository.is_cached(node),
        lambda: repository.describe_content(node),
        lambda: repository.fetch_index(NeedIndex(b"/d", handle, 7)),
    ):
        with pytest.raises(OSError, match="damaged index") as caught:
            use_it()
        assert caught.value.errno == errno.EIO
    repository.use(node)


def test_capabilities(store: ObjectStore, tmp_path: Path) -> None:
    everything = {
        *(CountsUse, Describes, MagicXattrs, Renewable, Tagged, Transported),
    }
    repository = RemoteRepository.__new__(RemoteRepository)
    assert {each for each in everything if isinstance(repository, each)} == everything
    directory = LocalDirectory(str(tmp_path), b"/seen", store)
    for tree in (directory, Names(store, b"/cvmfs", [b"a"])):
        assert {each for each in everything if isinstance(tree, each)} == {MagicXattrs}
    found = directory.lookup("/")
    assert directory.magic_xattr(found, b"user.fqrn") == b"directory"
    assert directory.magic_xattr(found, b"user.root_hash") is None
    assert directory.magic_xattr(found, b"user.chunks") is None

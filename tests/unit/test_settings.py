"""``server.conf``: what is written is read again, and what can't be understood is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from pyparrot.errors import PyparrotError
from pyparrot.publish.settings import (
    Settings,
    check_fqrn,
    claimed,
    load,
    save,
    settings_file,
    unfinished_file,
)
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import Algorithm

FQRN = "sw.example.org"


@pytest.fixture(autouse=True)
def _configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def write(text: str | bytes) -> None:
    file = Path(settings_file(FQRN))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(os.fsencode(text))


_PATHS = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=30
) | st.binary(max_size=30).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))

_SETTINGS = st.builds(
    Settings,
    fqrn=st.just(FQRN),
    root=_PATHS.map(lambda text: f"/{text}/{FQRN}"),
    algorithm=st.sampled_from(Algorithm),
    compression=st.sampled_from(Compression),
    chunking=st.booleans(),
    chunk_minimum=st.integers(-1, 1 << 32),
    chunk_average=st.integers(0, 1 << 32),
    chunk_maximum=st.integers(0, 1 << 32),
    autocatalogs=st.booleans(),
    autocatalogs_maximum=st.integers(-1, 10**9),
    autocatalogs_minimum=st.integers(-1, 10**9),
    xattrs=st.booleans(),
    ttl=st.integers(0, 10**9),
    volatile=st.booleans(),
    garbage_collection=st.booleans(),
    auto_tag=st.booleans(),
)

_plain = Settings(FQRN, f"/srv/{FQRN}")


@given(
    st.builds(
        lambda drawn, keep: (
            drawn
            if keep
            else drawn._replace(
                chunk_minimum=1,
                chunk_average=2,
                chunk_maximum=3,
                autocatalogs_minimum=1,
                autocatalogs_maximum=2,
            )
        ),
        _SETTINGS,
        st.booleans(),
    )
)
@example(_plain._replace(root=f"/a\rb/{FQRN}"))
@example(_plain._replace(root=f"/a\n/{FQRN}"))
@example(_plain._replace(root=f"/ 'a' \"b\" $c \\ #/{FQRN}"))
@example(_plain._replace(root=f"/\x85\u2028\udcff/{FQRN}"))
@budget(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_accepted_survives(wanted: Settings) -> None:
    """Whatever `check` lets through is read as it was written."""
    Path(settings_file(FQRN)).unlink(missing_ok=True)
    try:
        wanted.check()
    except PyparrotError:
        return
    with claimed(wanted) as claim:
        save(wanted, claim)
        os.rename(unfinished_file(wanted), wanted.file)
    assert load(FQRN) == wanted


@given(st.binary(max_size=200))
@budget(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_read_or_refused(garbage: bytes) -> None:
    for text in (garbage, os.fsencode(_plain.encode()) + garbage):
        write(text)
        said = ""
        try:
            loaded = load(FQRN)
            assert loaded.fqrn == FQRN
            assert os.path.isabs(loaded.root)
        except PyparrotError as error:
            said = str(error)
        assert said.isprintable()


def test_only_one_can_make_a_repository() -> None:
    with claimed(_plain) as claim:
        assert claim.read() == b""
        with pytest.raises(PyparrotError, match="another process makes"), claimed(_plain):
            pass
        save(_plain, claim)
        with pytest.raises(PyparrotError, match="no such repository"):
            load(FQRN)


def test_what_was_begun_can_be_told() -> None:
    with claimed(_plain) as claim:
        save(_plain._replace(root="/" + "long" * 100), claim)
    with claimed(_plain) as claim:
        assert b"longlong" in claim.read()
        save(_plain, claim)
        os.rename(unfinished_file(_plain), _plain.file)
    assert load(FQRN) == _plain


def test_what_official_tools_write() -> None:
    """A file of `cvmfs_server mkfs`, with much that means nothing here."""
    write(
        """
# Created by cvmfs_server.
CVMFS_CREATOR_VERSION=143
CVMFS_REPOSITORY_NAME=sw.example.org
CVMFS_REPOSITORY_TYPE=stratum0
CVMFS_USER=root
CVMFS_UNION_DIR=/cvmfs/sw.example.org
CVMFS_UPSTREAM_STORAGE=local,/srv/cvmfs/sw.example.org/data/txn,/srv/cvmfs/sw.example.org
CVMFS_HASH_ALGORITHM='rmd160'
CVMFS_COMPRESSION_ALGORITHM="none"
CVMFS_AUTO_TAG=true
CVMFS_GARBAGE_COLLECTION=no
CVMFS_AUTO_REPAIR_MOUNTPOINT=true
CVMFS_AUTOCATALOGS=false
CVMFS_INCLUDE_XATTRS=on
CVMFS_USE_FILE_CHUNKING=ON
   CVMFS_MIN_CHUNK_SIZE=1024
CVMFS_VOLATILE=1
"""
    )
    assert load(FQRN) == Settings(
        FQRN,
        "/srv/cvmfs/sw.example.org",
        algorithm=Algorithm.RMD160,
        compression=Compression.NONE,
        autocatalogs=False,
        chunk_minimum=1024,
        garbage_collection=False,
        auto_tag=True,
        volatile=True,
    )


@pytest.mark.parametrize("text", ["yes", "on", "1", "true", "TRUE", "Yes"])
def test_true(text: str) -> None:
    write(_plain._replace(auto_tag=False).encode() + f"CVMFS_AUTO_TAG={text}\n")
    assert load(FQRN).auto_tag


@pytest.mark.parametrize("text", ["no", "off", "0", "false", "FALSE", ""])
def test_false(text: str) -> None:
    write(_plain._replace(auto_tag=True).encode() + f"CVMFS_AUTO_TAG={text}\n")
    assert not load(FQRN).auto_tag


def test_a_size_that_is_empty_has_its_default() -> None:
    write(_plain._replace(ttl=17).encode() + "CVMFS_REPOSITORY_TTL=\n")
    assert load(FQRN).ttl == _plain.ttl


def test_a_bad_size_is_refused_with_its_line() -> None:
    lines = _plain.encode().count("\n")
    for text, why in (("-1", "less than 0"), ("4M", "not a whole number")):
        write(_plain.encode() + f"CVMFS_REPOSITORY_TTL={text}\n")
        with pytest.raises(PyparrotError) as error:
            load(FQRN)
        where = f"{settings_file(FQRN)}:{lines + 1}"
        assert str(error.value) == f"{where}: CVMFS_REPOSITORY_TTL={text}: {why}"


@pytest.mark.parametrize(
    "fqrn", ["a.b", "sw.example.org", "x-1.y_2.z3", "0.1", "a" * 60 + ".org", "atlas.cern.ch"]
)
def test_good_names(fqrn: str) -> None:
    check_fqrn(fqrn)


@given(st.text(max_size=40))
@example("..")
@example("a/b.c")
@example("a.b\n")
def test_names_are_safe_as_file_names(fqrn: str) -> None:
    said = ""
    try:
        check_fqrn(fqrn)
        assert re.fullmatch(r"[a-z0-9_.-]+", fqrn)
        assert fqrn not in (".", "..")
        assert not fqrn.startswith((".", "-"))
    except PyparrotError as error:
        said = str(error)
    assert said.isprintable()


def test_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty variable counts as none."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings_file(FQRN).startswith(f"{tmp_path}/.config/pyparrot/")

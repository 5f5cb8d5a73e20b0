"""Any bytes to the parsers that are written in Python: ``fuzz_python.py NAME [libFuzzer options]``.

Each may refuse with the exceptions that it promises and no other; what it accepts must come out
again as it went in. Needs atheris; `tools/fuzz` installs it and runs this.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from typing import Any, Callable

atheris: Any = importlib.import_module("atheris")  # has no types, and is nowhere but here

with atheris.instrument_imports():
    from pyparrot.config import shell
    from pyparrot.index import ROOT_HASH, BadCatalogError, Index, build
    from pyparrot.repository.cvmfs import xattrs
    from pyparrot.repository.cvmfs.catalog import Catalog
    from pyparrot.repository.cvmfs.hashes import Algorithm
    from pyparrot.repository.cvmfs.letter import Letter
    from pyparrot.repository.cvmfs.manifest import Manifest
    from pyparrot.repository.cvmfs.whitelist import Whitelist

_NAME = Algorithm.SHA1.of(b"catalog")
_MAGIC = b"SQLite format 3\0"
_ENTRIES = 2000
_COLUMNS = 16
_WORK = tempfile.mkdtemp(prefix="pyparrot-fuzz-", dir="/dev/shm")


def manifest(data: bytes) -> None:
    try:
        parsed = Manifest.parse(data)
    except ValueError:
        return
    assert Manifest.parse(parsed.encode()) == parsed


def whitelist(data: bytes) -> None:
    try:
        parsed = Whitelist.parse(data)
    except ValueError:
        return
    if parsed.issued.year >= 1000 and parsed.expires.year >= 1000:  # strftime does not fill up %Y
        assert Whitelist.parse(parsed.encode()) == parsed
    parsed.expired(parsed.issued)


def letter(data: bytes) -> None:
    try:
        parsed = Letter.parse(data)
    except ValueError:
        return
    assert Letter.parse(parsed.encode()) == parsed
    assert parsed.intact in (True, False)


def config(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    parsed = shell.parse(text, {"A": "1", "B": "x y", "CVMFS_X": ""}, "fuzz")
    for problem in parsed.problems:
        assert "\n" not in str(problem)


def attributes(data: bytes) -> None:
    try:
        parsed = xattrs.unpack(data)
    except ValueError:
        return
    if all(parsed):  # the format can say, but we don't write, a name of no bytes
        assert xattrs.unpack(xattrs.pack(parsed) or b"\1\0") == parsed


def catalog(data: bytes) -> None:
    """Any bytes as a catalog's file, but for the word that it starts with."""
    file = os.path.join(_WORK, "catalog")
    with open(file, "wb") as stream:
        stream.write(_MAGIC + data[len(_MAGIC) :])
    _build(file)


def rows(data: bytes) -> None:
    """A good catalog in which any values stand in any columns."""
    provider = atheris.FuzzedDataProvider(data)
    file = os.path.join(_WORK, "catalog")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)
    with closing(Catalog.create(file)) as made:
        made.set_property("revision", _text(provider))
        made.set_property("TTL", _text(provider))
    with closing(sqlite3.connect(file)) as database:
        for _ in range(provider.ConsumeIntInRange(1, 8)):
            values = [_plausible(provider, column) for column in range(_COLUMNS)]
            marks = ", ".join("?" * _COLUMNS)
            database.execute(f"INSERT OR REPLACE INTO catalog VALUES ({marks})", values)
        for table, columns in (("chunks", 5), ("nested_catalogs", 3), ("bind_mountpoints", 3)):
            if provider.ConsumeBool():
                marks = ", ".join("?" * columns)
                values = [_value(provider) for _ in range(columns)]
                database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)
        database.commit()
    _build(file)


def _text(provider: Any) -> bytes:
    taken: bytes = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 24))
    return taken


def _plausible(provider: Any, column: int) -> Any:
    """Mostly what belongs into the column, or nothing but the first check would be reached."""
    if provider.ConsumeIntInRange(0, 15) == 0:
        return _value(provider)
    if column < 4:
        return provider.ConsumeIntInRange(0, 3) if column % 2 == 0 else 0
    name = _text(provider).decode("latin-1")
    flags = provider.PickValueInList([1, 4, 8, 20, 3, 68, 0x4001, 0x8004])
    mode = provider.PickValueInList([0o040755, 0o100644, 0o120777, 0o010644])
    usual = (1, None, 5, mode, 1, None, flags, name, "target", 0, 0, None)
    return usual[column - 4]


def _value(provider: Any) -> Any:
    kind = provider.ConsumeIntInRange(0, 4)
    if kind == 0:
        return None
    if kind == 1:
        return provider.ConsumeIntInRange(-(1 << 63), (1 << 63) - 1)
    if kind == 2:
        return provider.ConsumeFloat()
    if kind == 3:
        return _text(provider).decode("latin-1")
    return _text(provider)


def _build(file: str) -> None:
    output = os.path.join(_WORK, "index")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(output)
    refused = ""
    try:
        with closing(Catalog.open(file)) as opened:
            build(opened, _NAME, b"", ROOT_HASH, output)
    except BadCatalogError as error:
        refused = str(error)
    except sqlite3.Error:
        return
    assert "\n" not in refused
    if not refused:
        _read(Index(output))


def _read(index: Index) -> None:
    from pyparrot._core import lib

    record = lib.pp_index_root(index.pointer)
    for _ in range(_ENTRIES):
        if not record:
            return
        node = index.node(record)
        if node.flags & lib.PP_CHUNKED == 0:
            list(index.children(record))
        record = lib.pp_index_next(index.pointer, record)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "manifest": manifest,
    "whitelist": whitelist,
    "letter": letter,
    "config": config,
    "xattrs": attributes,
    "catalog": catalog,
    "rows": rows,
}


def main() -> None:
    """Run the fuzzer that the first word names."""
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""What the fuzzers start from; ``python -m fuzz.corpus NAME DIRECTORY`` writes it to files.

Well-formed inputs of each kind, for without them a fuzzer would spend its time on finding out that
a file starts with a certain word; and what fuzzers have found, in ``seeds/NAME``.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
import tempfile
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from pyparrot.sources.cvmfs import catalog_rows as catalogs
from pyparrot.sources.cvmfs import xattrs
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry, Chunk, NestedCatalog
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.indexing import build_index
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.signed_text import SignedText
from pyparrot.sources.cvmfs.whitelist import Whitelist
from pyparrot.tree.index import ROOT_HASH

FOUND = Path(__file__).parent / "seeds"
NAME = Algorithm.SHA1.of(b"catalog")

_CONFIG = rb"""
# as in /etc/cvmfs/default.conf
CVMFS_QUOTA_LIMIT=4000
CVMFS_SERVER_URL="http://a.example.org/cvmfs/@fqrn@;http://b/cvmfs/@fqrn@"
if [ "x$CVMFS_USE_CDN" = "xyes" ] && [ -n "${CVMFS_X:-default}" ]; then
  export CVMFS_HTTP_PROXY='DIRECT' # quoted
elif ! [ $A -ge 3 ]; then readonly B=${C:=$D}
else :; return; fi
X=a\ b$(command)`other`; case x in *) ;; esac
"""


def catalog() -> bytes:
    """A small catalog with an entry of every kind."""
    with tempfile.TemporaryDirectory() as work:
        file = os.path.join(work, "catalog")
        with closing(Catalog.create(file)) as made:
            directory, regular, link = (
                CatalogEntry(b"", catalogs.DIRECTORY, 0o040755, 4096, 1, None, 0, 0),
                CatalogEntry(b"", catalogs.FILE, 0o100644, 3, 1, 2, 0, 0, digest=NAME.digest),
                CatalogEntry(b"", catalogs.SYMLINK, 0o120777, 0, 1, 2, 0, 0),
            )
            made.put(
                [
                    (b"", directory),
                    (b"/d", directory._replace(name=b"d")),
                    (b"/d/f", regular._replace(name=b"f", xattr=xattrs.pack({b"user.a": b"b"}))),
                    (b"/l", link._replace(name=b"l", symlink=b"d/$(X:-f)")),
                    (b"/c", regular._replace(name=b"c", flags=4 | catalogs.CHUNKED, digest=None)),
                    (b"/n", directory._replace(name=b"n", flags=3)),
                    (b"/h1", regular._replace(name=b"h1", hardlinks=1 << 32 | 2)),
                    (b"/h2", regular._replace(name=b"h2", hardlinks=1 << 32 | 2)),
                ]
            )
            made.put_chunks(b"/c", (Chunk(0, 2, NAME.digest), Chunk(2, 1, NAME.digest)))
            made.put_nested(NestedCatalog(b"/n", NAME, 1000))
            made.set_property("revision", 3)
            made.set_property("TTL", 240)
        with closing(sqlite3.connect(file)) as database:
            database.execute("VACUUM")
        with open(file, "rb") as stream:
            return stream.read()


def index() -> bytes:
    """The index of that catalog."""
    with tempfile.TemporaryDirectory() as work:
        file, output = os.path.join(work, "catalog"), os.path.join(work, "index")
        with open(file, "wb") as stream:
            stream.write(catalog())
        with closing(Catalog.open(file)) as opened:
            build_index(opened, NAME, b"", ROOT_HASH, output)
        with open(output, "rb") as stream:
            return stream.read()


def _row(key: int, parent: int, kind: int, text: int, name: int, target: int = 0) -> bytes:
    """A row as ``fuzz_build.c`` wants it."""
    return struct.pack(
        "16B", key, parent, kind, 1, text, 0, 0, 0, 0, kind & 1, name, target, 0, 0, 0, 0
    )


def _rows() -> bytes:
    rows = [_row(0, 31, 0, 0, 0), _row(1, 0, 0, 0, 1), _row(2, 1, 1, 1, 2), _row(3, 0, 2, 3, 1, 2)]
    return bytes([len(rows)]) + b"".join(rows) + b"abcdef/gh"


def _signed_text(text: bytes) -> bytes:
    return SignedText(text, Algorithm.SHA1.of(text), b"signature").encode()


def _manifest() -> bytes:
    everything = Manifest("sw.example.org", NAME, 1, 2, 240, 1_600_000_000, NAME, NAME, NAME, NAME)
    return everything.encode()


def _whitelist() -> bytes:
    issued = datetime(2024, 1, 1, tzinfo=timezone.utc)
    prints = (NAME, Algorithm.SHAKE128.of(b""))
    return Whitelist("sw.example.org", issued, issued.replace(year=2030), prints).encode()


def first_inputs(name: str) -> list[bytes]:
    """The first inputs of the fuzzer *name*."""
    return _well_formed(name) + [file.read_bytes() for file in sorted(FOUND.glob(f"{name}/*"))]


def _well_formed(name: str) -> list[bytes]:
    if name == "index":
        paths = (b"d/f", b"l", b"n/x", b"../x", b"d/../l/")
        return [bytes([2, len(path)]) + path + index() for path in paths]
    if name == "walk":
        links = b"a\nf\n../a/b\n/cvmfs/r/n/d\n/etc\n..\nl3/../l2\n$(UP)/l$(NO:-1)\n"
        ways = (b"l0/b/f", b"l2/../l1", b"a//b/./../l3/l4", b"a/b/l5/l6/", b"l3/f", b"a/l4/x", b"f")
        return [bytes([flags]) + links + path for path in ways for flags in (0, 1, 3, 25)]
    if name == "catalog":
        return [catalog()]
    one: dict[str, bytes] = {
        "build": _rows(),
        "manifest": _manifest(),
        "whitelist": _whitelist(),
        "signed_text": _signed_text(_manifest()),
        "config": _CONFIG,
        "xattrs": xattrs.pack({b"user.a": b"b", b"user.long": bytes(255)}) or b"",
        "rows": bytes(range(256)),
    }
    return [one[name]]


if __name__ == "__main__":
    directory = Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(first_inputs(sys.argv[1])):
        (directory / f"first-{number}").write_bytes(content)

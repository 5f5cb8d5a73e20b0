"""``publish init``: make a new repository."""

from __future__ import annotations

import argparse
import os

from pyparrot.cli._repository_options import add_fqrn
from pyparrot.cli.publish._options import days, number
from pyparrot.errors import PyparrotError, printable


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pyparrot publish init``."""
    add_fqrn(parser)
    parser.epilog = """\
The repository is put into DIR/FQRN. Its keys and settings go to ~/.config/pyparrot (see
pyparrot publish --help); the settings can be edited later.

example:
  pyparrot publish init sw.example.org --storage /srv/cvmfs --whitelist-days 365
"""
    add = parser.add_argument
    add("--storage", metavar="DIR", required=True, help="the directory of repositories")
    add("--hash", default="sha1", choices=("sha1", "rmd160", "shake128"), help="hash algorithm")
    add("--compression", default="zlib", choices=("zlib", "none"), help="of file bodies")
    add("--chunk-size", metavar="MIN:AVG:MAX", default="4:8:16", help="in MB (4:8:16)")
    add("--no-chunks", action="store_true", help="store large files whole")
    add("--no-autocatalogs", action="store_true", help="don't split large catalogs")
    add("--no-xattrs", action="store_true", help="leave extended attributes out")
    add("--no-gc", action="store_true", help="keep every revision for ever")
    add("--auto-tag", action="store_true", help="name every revision by its time")
    add("--volatile", action="store_true", help="have clients evict this content first")
    add("--ttl", metavar="S", type=number, default=240, help="seconds clients trust a revision")
    add("--whitelist-days", metavar="N", type=days, default=30, help="until resign (30)")
    add("--certificate-days", metavar="N", type=days, default=3650, help="(3650)")
    add("--master-key", metavar="FILE", help="use this master key instead of a new one")
    add("--metainfo", metavar="FILE", help="JSON text about the repository, for other sites")
    parser.set_defaults(action_run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run ``pyparrot publish init``."""
    from pyparrot.publish import create, keys
    from pyparrot.publish.settings import Settings, check_fqrn
    from pyparrot.sources.cvmfs.compression import Compression
    from pyparrot.sources.cvmfs.hashes import Algorithm

    fqrn = arguments.fqrn
    check_fqrn(fqrn)
    minimum, average, maximum = _chunk_sizes(arguments.chunk_size)
    wanted = Settings(
        fqrn=fqrn,
        root=os.path.join(os.path.abspath(arguments.storage), fqrn),
        algorithm=Algorithm.named(arguments.hash),
        compression=Compression.named(arguments.compression),
        chunking=not arguments.no_chunks,
        chunk_minimum=minimum,
        chunk_average=average,
        chunk_maximum=maximum,
        autocatalogs=not arguments.no_autocatalogs,
        xattrs=not arguments.no_xattrs,
        ttl=arguments.ttl,
        volatile=arguments.volatile,
        garbage_collection=not arguments.no_gc,
        auto_tag=arguments.auto_tag,
    )
    create.create(
        wanted,
        whitelist_days=arguments.whitelist_days,
        certificate_days=arguments.certificate_days,
        master_key=arguments.master_key,
        metainfo=_metainfo(arguments.metainfo),
    )
    print(f"made {fqrn} in {printable(wanted.root)}")
    print(f"settings: {printable(wanted.file)}")
    print(f"public key, for clients: {printable(keys.key_file(fqrn, 'pub'))}")
    return 0


def _chunk_sizes(text: str) -> list[int]:
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise PyparrotError("--chunk-size", f"not MIN:AVG:MAX in MB: {text}", "such as 4:8:16")
    return [int(part) << 20 for part in parts]


def _metainfo(file: str | None) -> bytes:
    import json

    if file is None:
        return b"{}\n"
    with open(file, "rb") as stream:
        text = stream.read()
    try:
        json.loads(text)
    except ValueError as error:
        raise PyparrotError(file, f"not JSON: {error}") from None
    return text

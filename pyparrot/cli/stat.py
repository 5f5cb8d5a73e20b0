"""``pyparrot stat``: show all that is known of a name."""

from __future__ import annotations

import argparse
import functools
import os
import stat
import time
from typing import TYPE_CHECKING, Any

from pyparrot.cli import _entry_facts, _output, _repositories, _repository_options
from pyparrot.cli._entry_facts import group_name, user_name
from pyparrot.errors import printable

if TYPE_CHECKING:
    from pyparrot.tree.base import Repository
    from pyparrot.tree.snapshot import Found

_EPILOG = f"""\
{_repository_options.OPTIONS_EPILOG}
examples:
  pyparrot stat /cvmfs/sw.example.org/releases/2.0/bin/tool
  pyparrot stat --json /cvmfs/sw.example.org/README | jq -r '.[0].hash'
"""

_TYPES = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFBLK: "block special file",
    stat.S_IFCHR: "character special file",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("-L", "--dereference", action="store_true", help="follow symlinks")
    parser.add_argument("--json", action="store_true", help="as JSON")
    _repository_options.add_paths(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    described: list[dict[str, Any]] = []
    with _repositories.Repositories(arguments) as repositories:
        for target in repositories.path_arguments():
            facts = repositories.attempt(
                target.shown, functools.partial(_facts, target, arguments.dereference)
            )
            if facts is None:
                continue
            if arguments.json:
                described.append(facts)
            else:
                _output.write(os.fsencode(_text(target.repository, facts)) + b"\n")
        if arguments.json:
            _output.write_json(described)
        return repositories.status


def _facts(target: _repositories.PathArgument, follow: bool) -> dict[str, Any]:
    from pyparrot.sources.cvmfs import xattrs

    shown, repository, path = target
    found = repository.lookup(path, follow_symlinks=follow)
    attributes = xattrs.unpack(found.node.xattrs) if found.node.xattrs else {}
    return {
        **_entry_facts.facts_of(repository, shown, found.node),
        "repository": repository.name,
        "revision": repository.lookup("/").catalog.revision,
        "catalog": str(found.catalog.catalog),
        **_nesting(repository, found),
        "xattrs_hex": {os.fsdecode(name): value.hex() for name, value in attributes.items()},
    }


def _nesting(repository: Repository, found: Found) -> dict[str, Any]:
    """Where the catalog that has the name is mounted, and which one is mounted at the name."""
    from pyparrot.core import lib
    from pyparrot.sources.cvmfs.hashes import ContentHash

    mountpoint = found.path.rpartition(b"/")[0]
    while mountpoint and not repository.lookup(mountpoint).node.flags & lib.PP_NESTED:
        mountpoint = mountpoint.rpartition(b"/")[0]
    facts: dict[str, Any] = {"catalog_path": os.fsdecode(mountpoint) or "/"}
    if found.node.flags & lib.PP_NESTED:
        facts["nested_catalog"] = str(ContentHash(found.node.digest, found.node.algorithm))
    return facts


def _text(repository: Repository, facts: dict[str, Any]) -> str:
    """The facts as GNU stat shows them, and then those that only repositories have."""
    mode = int(facts["mode"], 8) | _format_of(facts["type"])
    name = _shown(facts["path"])
    if "target" in facts:
        name += f" -> {_shown(facts['target'])}"
    blocks, device = 1 + facts["size"] // 512, repository.device
    kind = "regular empty file" if facts["type"] == "file" and not facts["size"] else _kind(mode)
    links = str(facts["nlink"])
    if "rdev" in facts:
        links = f"{links:<5} Device type: {facts['rdev'][0]},{facts['rdev'][1]}"
    uid, gid = facts["uid"], facts["gid"]
    when = _local_time(facts["mtime_ns"])
    lines = [
        f"  File: {name}",
        f"  Size: {facts['size']:<10}\tBlocks: {blocks:<10} IO Block: 4096   {kind}",
        f"Device: {os.major(device)},{os.minor(device)}\tInode: {facts['ino']:<11} Links: {links}",
        f"Access: ({facts['mode']}/{stat.filemode(mode)})"
        f"  Uid: {_owner(uid, user_name(uid))}   Gid: {_owner(gid, group_name(gid))}",
        f"Access: {when}",
        f"Modify: {when}",
        f"Change: {when}",
        " Birth: -",
        *_repository_lines(facts),
    ]
    return "\n".join(lines)


def _shown(name: str) -> str:
    return os.fsdecode(_output.shown_name(os.fsencode(name)))


def _repository_lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    if "chunks" in facts:
        external = "\texternal" if facts["external"] else ""
        stored = f"Chunks: {facts['chunks']}\tCompression: {facts['compression']}{external}"
        lines.append(f"  Hash: {facts.get('hash', '-')}\t{stored}")
        lines += [
            f" Chunk: {name}\tOffset: {offset}\tSize: {size}"
            for name, offset, size in facts.get("chunk_list", ())
        ]
    lines.append(f"Catalog: {facts['catalog']} at {_shown(facts['catalog_path'])}")
    if "nested_catalog" in facts:
        lines.append(f"Nested: {facts['nested_catalog']} is mounted here")
    for name, value in facts["xattrs_hex"].items():
        lines.append(f" Xattr: {printable(name)}={printable(bytes.fromhex(value))}")
    return lines


def _format_of(kind: str) -> int:
    return next((form for form, name in _entry_facts.TYPES.items() if name == kind), 0)


def _kind(mode: int) -> str:
    return _TYPES.get(stat.S_IFMT(mode), "weird file")


def _owner(number: int, name: str | None) -> str:
    return f"({number:5}/{name or 'UNKNOWN':>8})"


def _local_time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    local = time.localtime(seconds)
    return time.strftime("%Y-%m-%d %H:%M:%S", local) + f".{rest:09} " + time.strftime("%z", local)

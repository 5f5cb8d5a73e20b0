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
    from pyparrot.tree.base import Tree
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
    from pyparrot.tree.entries import unpack_attributes

    shown, repository, path = target
    found = repository.lookup(path, follow_symlinks=follow)
    attributes = unpack_attributes(found.node.attributes)
    return {
        **_entry_facts.facts_of(repository, shown, found.node),
        "repository": repository.name,
        "revision": repository.lookup("/").holder.revision,
        **_index_facts(repository, found),
        "xattrs_hex": {os.fsdecode(name): value.hex() for name, value in attributes.items()},
    }


def _index_facts(repository: Tree, found: Found) -> dict[str, Any]:
    """Which catalog has the name, where that is mounted, and which one is mounted at the name."""
    from pyparrot.sources.capabilities import Describes
    from pyparrot.tree.entries import NESTED

    if not isinstance(repository, Describes):
        return {}
    mountpoint = found.path.rpartition(b"/")[0]
    while mountpoint and not repository.lookup(mountpoint).node.flags & NESTED:
        mountpoint = mountpoint.rpartition(b"/")[0]
    facts: dict[str, Any] = {
        "catalog": repository.describe_index(found.holder),
        "catalog_path": os.fsdecode(mountpoint) or "/",
    }
    if found.node.flags & NESTED:
        facts["nested_catalog"] = repository.describe_nested(found.node)
    return facts


def _text(repository: Tree, facts: dict[str, Any]) -> str:
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
    if "catalog" in facts:
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

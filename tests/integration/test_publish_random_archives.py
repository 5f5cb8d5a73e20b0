"""Random tar files, published and compared with a model of what extracting them would give."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.random_trees import (
    AUTOMATIC_MARKER,
    CONTENTS,
    MARKER,
    MODES,
    NAMES,
    NANOSECONDS,
    OWNERS,
    PLACE,
    SECONDS,
    TAR_TYPES,
    TARGETS,
    XATTRS,
    Repository,
    Templates,
    bounded,
    laboratory,
)
from support.reader import Fact, differences


class Member(NamedTuple):
    """A member of a tar file; *seconds* and *nanoseconds* are its time of modification."""

    kind: str
    path: tuple[bytes, ...]
    mode: int
    uid: int
    gid: int
    seconds: int
    nanoseconds: int
    content: bytes
    target: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes]


MEMBER_NAMES = NAMES.filter(lambda name: name != AUTOMATIC_MARKER)
MEMBERS = st.lists(
    st.builds(
        Member,
        kind=st.sampled_from(
            [
                *("file",) * 5,
                *("directory",) * 2,
                *("link",) * 3,
                "symlink",
                "fifo",
                "char",
                "block",
            ]
        ),
        path=st.lists(MEMBER_NAMES, min_size=1, max_size=3).map(tuple),
        mode=MODES,
        uid=OWNERS,
        gid=OWNERS,
        seconds=SECONDS,
        nanoseconds=NANOSECONDS,
        content=CONTENTS,
        target=TARGETS,
        device=st.tuples(st.integers(0, 4095), st.integers(0, 2**20 - 1)),
        # Python's tarfile can't write attributes whose names are not UTF-8.
        xattrs=XATTRS.map(lambda found: {k: v for k, v in found.items() if k != b"user.\xff"}),
    ),
    min_size=1,
    max_size=25,
)


class Ingestion(NamedTuple):
    """One tar file; *into* and *delete* choose among what is there, as `PLACE` does."""

    members: list[Member]
    pax: bool
    dotted: bool
    compressed: bool
    into: int
    below: tuple[bytes, ...]
    delete: list[int]


INGESTIONS = st.lists(
    st.builds(
        Ingestion,
        members=MEMBERS,
        pax=st.booleans(),
        dotted=st.booleans(),
        compressed=st.booleans(),
        into=st.one_of(st.just(0), PLACE),
        below=st.lists(st.sampled_from([b"a", b"b", b"\xff"]), max_size=2).map(tuple),
        delete=st.lists(PLACE, max_size=2),
    ),
    min_size=1,
    max_size=4,
)


class Node:
    """An inode of the model. Paths that are hard links of each other share one."""

    def __init__(self, fact: Fact, implied: bool = False) -> None:
        self.fact = fact
        self.implied = implied
        """A directory that came about because something is in it: made now, by us."""


class Model:
    """What extracting tar files gives, in the simplest way."""

    def __init__(self, root: Fact) -> None:
        self.nodes = {b"": Node(root)}

    def is_directory(self, path: bytes) -> bool:
        node = self.nodes.get(path)
        return node is not None and node.fact.type == "directory"

    def directories(self) -> list[bytes]:
        return sorted(path for path in self.nodes if self.is_directory(path))

    def remove(self, path: bytes) -> None:
        for found in [p for p in self.nodes if p == path or p.startswith(path + b"/")]:
            del self.nodes[found]

    def accepts(self, path: bytes, directory: bool, made: set[bytes]) -> bool:
        """Whether *path* can be extracted without following a link or removing what is not empty.

        *made* is what this tar file has made already: tar files that say two things are refused.
        """
        above = path.rpartition(b"/")[0]
        while above and above not in self.nodes:
            above = above.rpartition(b"/")[0]
        if not self.is_directory(above):
            return False
        if self.is_directory(path):
            empty = not any(p.startswith(path + b"/") for p in self.nodes)
            return directory or (empty and path not in made)
        return not (directory and path in made)

    def imply(self, path: bytes) -> None:
        """Make the directories above *path* that are not there."""
        above = path.rpartition(b"/")[0]
        if above not in self.nodes:
            self.imply(above)
            self.nodes[above] = Node(
                _fact("directory", 0o755, os.geteuid(), os.getegid()), implied=True
            )

    def put(self, path: bytes, node: Node) -> None:
        self.imply(path)
        self.nodes[path] = node

    def facts(self, found: dict[bytes, Fact], since: float) -> dict[bytes, Fact]:
        """The tree; times of implied directories are taken from *found* if they can be true."""
        groups: defaultdict[tuple[bytes, int], set[bytes]] = defaultdict(set)
        links: defaultdict[bytes, int] = defaultdict(lambda: 2)
        for path, node in self.nodes.items():
            groups[path.rpartition(b"/")[0], id(node)].add(path)
            if path and node.fact.type == "directory":
                links[path.rpartition(b"/")[0]] += 1
        facts = {}
        for path, node in self.nodes.items():
            fact = node.fact
            group = frozenset(groups[path.rpartition(b"/")[0], id(node)])
            if fact.type == "directory":
                fact = fact._replace(nlink=links[path])
            elif len(group) > 1 and fact.type == "file":
                fact = fact._replace(nlink=len(group), links=group)
            seen = found.get(path)
            if node.implied and seen and int(since) <= seen.mtime <= time.time():
                fact = fact._replace(mtime=seen.mtime, mtime_ns=seen.mtime_ns)
            facts[path] = fact
        return facts


def _fact(  # noqa: PLR0917
    kind: str,
    mode: int,
    uid: int,
    gid: int,
    seconds: int = 0,
    nanoseconds: int = 0,
    content: bytes | None = None,
    target: bytes = b"",
    rdev: int = 0,
    xattrs: dict[bytes, bytes] | None = None,
) -> Fact:
    sha256 = "" if content is None else hashlib.sha256(content).hexdigest()
    size = len(target) if content is None else len(content)
    return Fact(
        type=kind,
        mode=0o777 if kind == "symlink" else mode,
        uid=uid,
        gid=gid,
        size=4096 if kind == "directory" else size,
        mtime=seconds,
        mtime_ns=nanoseconds,
        nlink=1,
        links=frozenset(),
        sha256=sha256,
        target=target,
        rdev=rdev,
        xattrs=xattrs or {},
    )


_FACT_TYPES = {"char": "character device", "block": "block device"}


def _extract(model: Model, ingestion: Ingestion, into: bytes, file: Path) -> None:
    """Write a tar file, and do to *model* what extracting it does."""
    made: set[bytes] = set()
    files: list[tuple[tuple[bytes, ...], bytes]] = []
    model.imply(into + b"/.")
    with tarfile.open(
        file,
        mode="w:gz" if ingestion.compressed else "w",
        format=tarfile.PAX_FORMAT if ingestion.pax else tarfile.GNU_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        for member in ingestion.members:
            path = into + b"".join(b"/" + name for name in member.path)
            if not model.accepts(path, member.kind == "directory", made):
                continue
            prefix = "./" if ingestion.dotted else ""
            info = tarfile.TarInfo(prefix + os.fsdecode(b"/".join(member.path)))
            if member.kind == "link":
                # Links to what this tar file has brought: see the tests below for others.
                linked = [f for f in files if f[1] in model.nodes and f[1] != path]
                if not linked:
                    continue
                names, target = linked[member.device[0] % len(linked)]
                info.type = tarfile.LNKTYPE
                info.linkname = prefix + os.fsdecode(b"/".join(names))
                archive.addfile(info)
                model.put(path, model.nodes[target])
            else:
                fact = _fill_in(info, member, ingestion.pax)
                archive.addfile(info, io.BytesIO(member.content))
                model.put(path, Node(fact))
            files = [f for f in files if f[1] != path]
            if member.kind in ("file", "link"):
                files.append((member.path, path))
            made.add(path)
            while path != into:
                path = path.rpartition(b"/")[0]
                made.add(path)


def _fill_in(info: tarfile.TarInfo, member: Member, pax: bool) -> Fact:
    info.type = TAR_TYPES[member.kind]
    info.mode = 0o777 if member.kind == "symlink" else member.mode
    info.uid, info.gid = member.uid, member.gid
    info.mtime = member.seconds
    device = member.kind in ("char", "block")
    if member.kind == "file":
        info.size = len(member.content)
    if member.kind == "symlink":
        info.linkname = os.fsdecode(member.target)
    if device:
        info.devmajor, info.devminor = member.device
    nanoseconds, xattrs = 0, {}
    if pax:
        nanoseconds, xattrs = member.nanoseconds, member.xattrs
        stamp = member.seconds * 10**9 + nanoseconds
        sign = "-" if stamp < 0 else ""
        info.pax_headers = {"mtime": f"{sign}{abs(stamp) // 10**9}.{abs(stamp) % 10**9:09}"}
        for key, value in xattrs.items():
            info.pax_headers["SCHILY.xattr." + os.fsdecode(key)] = value.decode(
                "utf-8", "surrogateescape"
            )
    return _fact(
        _FACT_TYPES.get(member.kind, member.kind),
        member.mode,
        member.uid,
        member.gid,
        member.seconds,
        nanoseconds,
        member.content if member.kind == "file" else None,
        member.target if member.kind == "symlink" else b"",
        os.makedev(*member.device) if device else 0,
        xattrs,
    )


def _ingest(repository: Repository, model: Model, ingestion: Ingestion, since: float) -> None:
    paths = sorted(model.nodes.keys() - {b""})
    doomed = [paths[place % len(paths)] for place in ingestion.delete] if paths else []
    words: list[str | bytes] = []
    for path in doomed:
        model.remove(path)
        words += ["--delete", path]
    directories = model.directories()
    into = directories[ingestion.into % len(directories)]
    for name in ingestion.below:
        if into + b"/" + name not in model.nodes or model.is_directory(into + b"/" + name):
            into += b"/" + name
    file = repository.base / "archive"
    _extract(model, ingestion, into, file)
    repository.publish("ingest", file, "--into", into or b"/", *words)
    published = repository.read()
    found = published.facts()
    wanted = model.facts(found, since)
    generated = {
        path
        for path in found.keys() - wanted.keys()
        if path.rpartition(b"/")[2] in (MARKER, AUTOMATIC_MARKER)
        and (found[path].type, found[path].size, found[path].mode) == ("file", 0, 0o644)
    }
    for path in generated:
        assert path.rpartition(b"/")[0] in published.catalogs, f"{path!r}: and no catalog"
    seen = {path: fact for path, fact in found.items() if path not in generated}
    assert not differences(seen, wanted)
    for path in model.directories():
        marker = model.nodes.get(path + b"/" + MARKER)
        if path and marker and marker.fact.type != "directory":
            assert path in published.catalogs, f"{path!r}: marked, and no catalog"


@pytest.mark.parametrize("automatic", ["true", "false"])
def test_tar_files_are_laid_over_what_is_there(templates: Templates, automatic: str) -> None:
    @bounded(15)
    @given(ingestions=INGESTIONS)
    def check(ingestions: list[Ingestion]) -> None:
        since = time.time()
        with laboratory(templates) as lab:
            repository = lab.repository(CVMFS_AUTOCATALOGS=automatic)
            model = Model(repository.read().facts()[b""])
            for ingestion in ingestions:
                _ingest(repository, model, ingestion, since)

    check()

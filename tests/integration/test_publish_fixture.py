"""A published copy of an official sample repository has the catalogs of the original.

The sample's tree is taken out of it by `support.reader`, made anew on disk and as a tar file,
published with ``sync`` and ``ingest``, and compared row by row. What is allowed to differ:

* The numbers of hard link groups; their members are compared instead.
* The root directory's mtimens: NULL in the sample, whose root was made before its server recorded
  nanoseconds; 0 says the same and is what pyparrot writes. All other times are compared, also those
  of what the official tools generated: the copy on disk is given them.
* A socket can't be in a tar file, so ``ingest`` is compared without it.
* Without root one can't give files away, make devices or read what nobody may read, so ``sync`` is
  compared without owners, devices and such files then.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from support import Publish
from support.reader import (
    COUNTERS,
    CatalogFile,
    ChunkRow,
    Fact,
    PublishedRepository,
    Row,
    differences,
)

FQRN = "test.cern.ch"

_IS_ROOT = os.geteuid() == 0
_TYPES = {
    "file": (stat.S_IFREG, tarfile.REGTYPE),
    "directory": (stat.S_IFDIR, tarfile.DIRTYPE),
    "symlink": (stat.S_IFLNK, tarfile.SYMTYPE),
    "fifo": (stat.S_IFIFO, tarfile.FIFOTYPE),
    "socket": (stat.S_IFSOCK, b""),
    "character device": (stat.S_IFCHR, tarfile.CHRTYPE),
    "block device": (stat.S_IFBLK, tarfile.BLKTYPE),
}

_Comparable = dict[bytes, tuple[Row, frozenset[bytes], tuple[ChunkRow, ...]]]


@pytest.fixture(scope="module")
def sample(fixtures_directory: Path) -> PublishedRepository:
    return PublishedRepository(fixtures_directory / FQRN)


@pytest.mark.parametrize("name", ["test.cern.ch", "ext.cern.ch", "feat.cern.ch"])
def test_the_reader_agrees_with_the_official_tools(fixtures_directory: Path, name: str) -> None:
    # A reader that found fault with these would be no judge of others.
    repository = PublishedRepository(fixtures_directory / name)
    repository.check_signatures(fixtures_directory / f"{name}.pub")
    if name != "feat.cern.ch":  # which has bind mountpoints and a hidden directory of another kind
        repository.check()


def test_synced_copy(sample: PublishedRepository, publish: Publish, tmp_path: Path) -> None:
    facts = sample.facts()
    if not _IS_ROOT:
        facts = {p: f for p, f in facts.items() if "device" not in f.type and f.mode & 0o400}
    tree = tmp_path / "tree"
    _make_on_disk(sample, facts, os.fsencode(tree))
    copy = _new_repository(publish, tmp_path)
    publish("sync", FQRN, tree, "-q")
    _compare(sample, copy, tmp_path, sample.facts().keys() - facts.keys(), owners=_IS_ROOT)


def test_ingested_copy(sample: PublishedRepository, publish: Publish, tmp_path: Path) -> None:
    facts = {p: fact for p, fact in sample.facts().items() if fact.type != "socket"}
    archive = tmp_path / "archive.tar"
    _make_tar(sample, facts, archive)
    copy = _new_repository(publish, tmp_path)
    publish("ingest", FQRN, archive, "-q")
    _compare(sample, copy, tmp_path, sample.facts().keys() - facts.keys(), owners=True)


def _new_repository(publish: Publish, tmp_path: Path) -> Path:
    # One compression and hash as the sample's; its catalogs were made by markers and rules only.
    publish("init", FQRN, "--storage", tmp_path, "--no-autocatalogs")
    return tmp_path / FQRN


def _make_on_disk(sample: PublishedRepository, facts: dict[bytes, Fact], directory: bytes) -> None:
    for path, fact in sorted(facts.items()):
        file = directory + path
        first = min(fact.links, default=path)
        if first != path:
            os.link(directory + first, file)
        elif fact.type == "directory":
            os.mkdir(file)
        elif fact.type == "symlink":
            os.symlink(fact.target, file)
        elif fact.type == "file":
            with open(file, "wb") as stream:
                stream.write(sample.content(path))
        else:
            os.mknod(file, _TYPES[fact.type][0] | 0o600, fact.rdev)
    # From below, so that what is made in a directory does not change its time again.
    for path, fact in sorted(facts.items(), reverse=True):
        file = directory + path
        if _IS_ROOT:
            os.lchown(file, fact.uid, fact.gid)
        if fact.type != "symlink":
            for key, value in fact.xattrs.items():
                os.setxattr(file, key, value)
            os.chmod(file, fact.mode)
        stamp = fact.mtime * 10**9 + fact.mtime_ns
        os.utime(file, ns=(stamp, stamp), follow_symlinks=False)


def _make_tar(sample: PublishedRepository, facts: dict[bytes, Fact], file: Path) -> None:
    with tarfile.open(
        file, "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for path, fact in sorted(facts.items()):
            info = tarfile.TarInfo("." + os.fsdecode(path))
            info.type = _TYPES[fact.type][1]
            info.mode, info.uid, info.gid = fact.mode, fact.uid, fact.gid
            info.mtime = fact.mtime
            stamp = abs(fact.mtime * 10**9 + fact.mtime_ns)
            sign = "-" if fact.mtime < 0 else ""
            info.pax_headers = {"mtime": f"{sign}{stamp // 10**9}.{stamp % 10**9:09}"}
            for key, value in fact.xattrs.items():
                text = value.decode("utf-8", "surrogateescape")
                info.pax_headers["SCHILY.xattr." + os.fsdecode(key)] = text
            content = b""
            first = min(fact.links, default=path)
            if first != path:
                info.type, info.linkname = tarfile.LNKTYPE, "." + os.fsdecode(first)
            elif fact.type == "file":
                content = sample.content(path)
                info.size = len(content)
            elif fact.type == "symlink":
                info.linkname = os.fsdecode(fact.target)
            info.devmajor, info.devminor = os.major(fact.rdev), os.minor(fact.rdev)
            archive.addfile(info, io.BytesIO(content))


def _compare(
    sample: PublishedRepository,
    directory: Path,
    tmp_path: Path,
    left_out: Iterable[bytes],
    owners: bool,
) -> None:
    copy = PublishedRepository(directory)
    copy.check()
    copy.check_signatures(tmp_path / "config-home" / "pyparrot" / "keys" / f"{FQRN}.pub")
    assert copy.catalogs.keys() == sample.catalogs.keys()
    missing = frozenset(left_out)
    for mountpoint, original in sample.catalogs.items():
        found = _comparable(copy.catalogs[mountpoint], frozenset(), owners)
        wanted = _comparable(original, missing, owners)
        assert found.keys() == wanted.keys(), f"catalog {mountpoint!r}"
        wrong = {p: (found[p], wanted[p]) for p in wanted if found[p] != wanted[p]}
        assert not wrong, f"rows of catalog {mountpoint!r} (found, wanted): {wrong}"
    assert _statistics(copy) == _statistics(sample, missing)
    wanted_facts = {p: f for p, f in sample.facts().items() if p not in missing}
    found_facts = copy.facts()
    if not owners:
        wanted_facts = {p: f._replace(uid=0, gid=0) for p, f in wanted_facts.items()}
        found_facts = {p: f._replace(uid=0, gid=0) for p, f in found_facts.items()}
    assert not differences(found_facts, wanted_facts)


def _comparable(catalog: CatalogFile, left_out: frozenset[bytes], owners: bool) -> _Comparable:
    result = {}
    for path, (row, links, chunks) in catalog.comparable().items():
        if path in left_out:
            continue
        compared = row
        if not path:
            compared = compared._replace(mtimens=compared.mtimens or 0)
        if not owners:
            compared = compared._replace(uid=0, gid=0)
        result[path] = (compared, links, chunks)
    return result


def _statistics(
    repository: PublishedRepository, left_out: frozenset[bytes] = frozenset()
) -> dict[bytes, dict[str, int]]:
    """The statistics as recorded, less what is in *left_out*: special and regular files.

    Only counters that pyparrot knows: a newer server may record more.
    """
    names = [f"{scope}_{name}" for scope in ("self", "subtree") for name in COUNTERS]
    recorded = {m: {n: c.statistics[n] for n in names} for m, c in repository.catalogs.items()}
    for path in left_out:
        owner = repository.catalog_of(path)
        row = owner.row(path)
        for mountpoint, counters in recorded.items():
            if mountpoint == owner.mountpoint:
                scope = "self"
            elif not mountpoint or owner.mountpoint.startswith(mountpoint + b"/"):
                scope = "subtree"
            else:
                continue
            counters[f"{scope}_regular"] -= row.is_regular
            counters[f"{scope}_special"] -= not row.is_regular
            counters[f"{scope}_file_size"] -= row.size if row.is_regular else 0
            counters[f"{scope}_xattr"] -= row.xattr is not None
    return recorded

"""Random trees and tar files, published again and again, and read back by another reader.

Trees are made on disk and changed between revisions; tar files are compared with a model of what
extracting them would give. `support.reader` knows nothing of pyparrot's own code.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import re
import shutil
import stat
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import run_publish, run_pyparrot
from support.reader import Fact, PublishedRepository, differences, facts_on_disk

from pyparrot.publish import repository as publisher
from pyparrot.sources.cvmfs.hashes import ContentHash

FQRN = "sw.example.org"
MARKER = b".cvmfscatalog"
AUTOMATIC_MARKER = b".cvmfsautocatalog"
EMPTY = hashlib.sha256(b"").hexdigest()

CHUNKS = (64, 128, 256)
"""Minimum, average and maximum: small, so that small files are cut."""

HEAVIEST, LIGHTEST = 12, 3
"""Weights of automatic catalogs: small, so that small trees are split."""

SMALL = {
    "CVMFS_MIN_CHUNK_SIZE": CHUNKS[0],
    "CVMFS_AVG_CHUNK_SIZE": CHUNKS[1],
    "CVMFS_MAX_CHUNK_SIZE": CHUNKS[2],
    "CVMFS_AUTOCATALOGS_MAX_WEIGHT": HEAVIEST,
    "CVMFS_AUTOCATALOGS_MIN_WEIGHT": LIGHTEST,
}


def bounded(examples: int) -> settings:
    """The same few examples in every run: what fails here fails again, everywhere.

    They are not made smaller, which takes minutes; to do that, take `phases` out.
    """
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


class Kind(NamedTuple):
    """What a repository is made with."""

    hash: str = "sha1"
    compression: str = "zlib"


USUAL = Kind()

Templates = Callable[[Kind], Path]


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Empty repositories to copy: making keys takes longer than all else in an example."""
    made: dict[Kind, Path] = {}

    def template(kind: Kind) -> Path:
        if kind not in made:
            made[kind] = directory = tmp_path_factory.mktemp("template")
            with _configured_in(directory):
                run_publish(
                    *("init", FQRN, "--storage", directory / "storage"),
                    *("--hash", kind.hash, "--compression", kind.compression),
                )
        return made[kind]

    return template


@contextlib.contextmanager
def _configured_in(directory: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
        yield


class Repository:
    """A repository in a directory of its own."""

    def __init__(self, template: Path, directory: Path, configured: dict[str, object]) -> None:
        self.base = directory
        self.directory = directory / "storage" / FQRN
        self.automatic = configured.get("CVMFS_AUTOCATALOGS", "true") == "true"
        shutil.copytree(template, directory)
        file = directory / "config" / "pyparrot" / "repositories.d" / FQRN / "server.conf"
        text = file.read_text().replace(str(template), str(directory))
        file.write_text(text + "".join(f"{n}={v}\n" for n, v in configured.items()))

    def publish(self, *words: str | bytes | os.PathLike[str]) -> str:
        with _configured_in(self.base):
            return run_publish(words[0], FQRN, *words[1:], "-q").out

    def read(self) -> PublishedRepository:
        """The repository as it is, every check passed."""
        published = PublishedRepository(self.directory)
        published.check()
        assert self.publish("check") == ""
        for catalog in published.catalogs.values():
            for pieces in catalog.chunks.values():
                assert all(CHUNKS[0] <= p.size <= CHUNKS[2] for p in pieces[:-1])
                assert pieces[-1].size <= CHUNKS[2]
        return published

    def manifest(self) -> bytes:
        return (self.directory / ".cvmfspublished").read_bytes()


class Laboratory:
    """Makes repositories for one example, below a directory that goes away with it."""

    def __init__(self, templates: Templates, directory: Path) -> None:
        self.directory = directory
        self._templates = templates
        self._count = 0

    def repository(self, kind: Kind = USUAL, **configured: object) -> Repository:
        self._count += 1
        directory = self.directory / f"repository{self._count}"
        return Repository(self._templates(kind), directory, {**SMALL, **configured})


@contextlib.contextmanager
def laboratory(templates: Templates) -> Iterator[Laboratory]:
    with tempfile.TemporaryDirectory() as directory:
        yield Laboratory(templates, Path(directory))


# What trees are made of


def _valid(name: bytes) -> bytes:
    name = name.replace(b"/", b"_").replace(b"\0", b"_")
    return b"_" if name in (b".", b"..") else name


NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"d", b"e"]),
    st.sampled_from([b"a", b"b", b"c", b"d", b"e"]),
    st.sampled_from(
        [
            *(b"-shake128C", b"\xff\xfe", b"n" * 255, b"\xf0" * 255, b" ", b"\n", b"*", b"[a]"),
            *(b"..a", b"$(X)", b"a\\b", b"%2f", b"\x01", "Å".encode(), b".cvmfs", b"--", b"a.b"),
            *(MARKER, AUTOMATIC_MARKER, b"data", b".cvmfspublished", "é".encode(), b"A"),
        ]
    ),
    st.binary(min_size=1, max_size=12).map(_valid),
)


def _noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


SIZES = (0, 1, 63, 64, 65, 127, 128, 129, 255, 256, 257, 319, 320, 321, 512, 513, 1500, 4097)
CONTENTS = st.one_of(
    st.binary(max_size=8),
    st.builds(_noise, st.sampled_from(SIZES), st.integers(0, 9)),
    st.builds(lambda size: b"x" * size, st.sampled_from(SIZES)),
)
TARGETS = st.one_of(
    st.sampled_from(
        [b"a", b"../b", b"/", b"$(X)", b"x/$(A:-b)/$(", b"\xff", b"t" * 1000, b".", b"/a/b"]
    ),
    st.binary(min_size=1, max_size=20).map(lambda target: target.replace(b"\0", b"_")),
)
MODES = st.one_of(
    st.sampled_from([0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o600, 0o7777]), st.integers(0, 0o7777)
)
# Far enough apart that adding a small number never makes two of them the same.
SECONDS = st.sampled_from([-2_000_000_000, -100_000, 0, 1_600_000_000, 2**31, 2**33])
NANOSECONDS = st.sampled_from([0, 1, 123_456_789, 999_999_999])
OWNERS = st.sampled_from([0, 1, 1000, 65534, 2**31 - 1, 2**31, 2**32 - 2])
RULES = st.lists(
    st.sampled_from(
        [
            *(b"/*", b"/a", b"/a/*", b"/*/*", b"b/?", b"/?/a/", b"  /c/* ", b"/*/*/*", b"/\xff*"),
            *(b"!/a", b"! /b/*", b"!*/c", b"# /d", b"", b"/d", "/Å".encode()),
        ]
    ),
    max_size=4,
).map(b"\n".join)
XATTRS = st.dictionaries(
    st.sampled_from([b"user.a", b"user.b", b"user.\xff", b"user." + b"l" * 250]),
    st.one_of(st.binary(max_size=6), st.just(b"v" * 255), st.just(b"")),
    max_size=3,
)

PLACE = st.integers(0, 40)
"""Which of the directories, files or paths that there are: taken modulo their number."""


class Step(NamedTuple):
    """One change of a tree: what to do, to which existing path, with what."""

    action: str
    place: int
    other: int = 0
    name: bytes = b""
    value: object = None


def _step(action: str, value: st.SearchStrategy[object]) -> st.SearchStrategy[Step]:
    return st.builds(Step, st.just(action), PLACE, PLACE, NAMES, value)


_NOTHING = st.none()
STEPS = st.one_of(
    _step("directory", _NOTHING),
    _step("directory", _NOTHING),
    _step("write", CONTENTS),
    _step("write", CONTENTS),
    _step("symlink", TARGETS),
    _step("special", st.sampled_from([stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])),
    _step("link", _NOTHING),
    _step("link", _NOTHING),
    _step("unlink", _NOTHING),
    _step("delete", _NOTHING),
    _step("rename", _NOTHING),
    _step("rewrite", st.integers(1, 255)),
    _step("chmod", MODES),
    _step("touch", st.tuples(SECONDS, NANOSECONDS)),
    _step("chown", st.tuples(OWNERS, OWNERS)),
    _step("xattrs", XATTRS),
    _step("mark", _NOTHING),
    _step("mark", _NOTHING),
    _step("rules", RULES),
    _step("fill", st.integers(1, 20)),
    _step("fill", st.integers(1, 20)),
    _step("swap type", _NOTHING),
    _step("swap type", _NOTHING),
)


class Tree:
    """A directory on disk that steps change.

    Every write gets a time of modification of its own: a file is taken as unchanged by its size,
    times, mode and owner, so two contents that agree in all of these would be one to pyparrot.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = os.fsencode(directory)
        self._serial = 0
        directory.mkdir()

    def apply(self, steps: Sequence[Step]) -> None:
        for step in steps:
            action: Callable[[Step], None] = getattr(self, "_" + step.action.replace(" ", "_"))
            action(step)

    def facts(self) -> dict[bytes, Fact]:
        return facts_on_disk(self.directory)

    def _all(self) -> tuple[list[bytes], list[bytes]]:
        """The files of all directories, and those of everything else, as found on disk."""
        directories = [self.directory]
        others: list[bytes] = []
        for base, names, files in os.walk(self.directory):
            for name in names:
                path = base + b"/" + name
                (others if os.path.islink(path) else directories).append(path)
            others += [base + b"/" + name for name in files]
        return sorted(directories), sorted(others)

    def _directory_at(self, place: int) -> bytes:
        directories, _ = self._all()
        return directories[place % len(directories)]

    def _regular_at(self, place: int) -> bytes | None:
        files = [f for f in self._all()[1] if stat.S_ISREG(os.lstat(f).st_mode)]
        return files[place % len(files)] if files else None

    def _any_at(self, place: int) -> bytes | None:
        directories, others = self._all()
        paths = sorted(directories[1:] + others)
        return paths[place % len(paths)] if paths else None

    def _new(self, step: Step) -> bytes | None:
        path = self._directory_at(step.place) + b"/" + step.name
        deep = len(path) > len(self.directory) + 800
        return None if deep or os.path.lexists(path) else path

    def _stamp(self, path: bytes, seconds: int = 1_700_000_000, nanoseconds: int = 5) -> None:
        self._serial += 1
        stamp = (seconds + self._serial) * 10**9 + nanoseconds
        os.utime(path, ns=(stamp, stamp), follow_symlinks=False)

    def _store(self, path: bytes, content: bytes) -> None:
        """Write, whatever the mode is, and leave the mode as it is."""
        mode = stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o644
        if os.path.exists(path):
            os.chmod(path, 0o600)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        self._stamp(path)

    # Steps

    def _directory(self, step: Step) -> None:
        path = self._new(step)
        if path:
            os.mkdir(path)

    def _write(self, step: Step) -> None:
        path = self._new(step)
        if path:
            assert isinstance(step.value, bytes)
            self._store(path, step.value)

    def _symlink(self, step: Step) -> None:
        path = self._new(step)
        if path:
            assert isinstance(step.value, bytes)
            os.symlink(step.value, path)

    def _special(self, step: Step) -> None:
        path = self._new(step)
        if path:
            assert isinstance(step.value, int)
            with contextlib.suppress(PermissionError):  # devices are for root
                os.mknod(path, step.value | 0o640, os.makedev(step.other, 300 + step.other))

    def _link(self, step: Step) -> None:
        file, path = self._regular_at(step.other), self._new(step)
        if file and path:
            os.link(file, path)

    def _unlink(self, step: Step) -> None:
        """Put a copy in the place of a hard link: nothing but the link changes."""
        linked = [f for f in self._all()[1] if os.lstat(f).st_nlink > 1]
        if linked:
            path = linked[step.place % len(linked)]
            with contextlib.suppress(PermissionError):  # to read it, without root
                shutil.copy2(path, self.directory + b".copy")
            if os.path.exists(self.directory + b".copy"):
                os.rename(self.directory + b".copy", path)

    def _delete(self, step: Step) -> None:
        path = self._any_at(step.place)
        if path:
            _remove(path)

    def _rename(self, step: Step) -> None:
        path = self._any_at(step.other)
        goal = self._directory_at(step.place) + b"/" + step.name
        if path and len(goal) < len(self.directory) + 800:
            with contextlib.suppress(OSError):  # into itself, or onto what is not empty
                os.rename(path, goal)

    def _rewrite(self, step: Step) -> None:
        """Other content of the same size."""
        path = self._regular_at(step.place)
        if path:
            assert isinstance(step.value, int)
            with open(path, "rb") as file:
                content = file.read()
            self._store(path, bytes(byte ^ step.value for byte in content))

    def _chmod(self, step: Step) -> None:
        path = self._any_at(step.place)
        if path and not os.path.islink(path):
            assert isinstance(step.value, int)
            # What can't be read can't be published, unless one is root.
            os.chmod(path, step.value | (0o700 if os.path.isdir(path) else 0o400))

    def _touch(self, step: Step) -> None:
        path = self._any_at(step.place)
        if path:
            assert isinstance(step.value, tuple)
            self._stamp(path, *step.value)

    def _chown(self, step: Step) -> None:
        path = self._any_at(step.place)
        if path and os.geteuid() == 0:
            assert isinstance(step.value, tuple)
            os.lchown(path, *step.value)

    def _xattrs(self, step: Step) -> None:
        path = self._any_at(step.place)
        if path and (os.path.isdir(path) or os.path.isfile(path)) and not os.path.islink(path):
            assert isinstance(step.value, dict)
            mode = stat.S_IMODE(os.stat(path).st_mode)
            os.chmod(path, 0o700)
            with contextlib.suppress(OSError):  # a file system without them
                for name in os.listxattr(path):
                    if name.startswith("user."):
                        os.removexattr(path, name)
                for key, value in step.value.items():
                    os.setxattr(path, key, value)
            os.chmod(path, mode)

    def _mark(self, step: Step) -> None:
        marker = self._directory_at(step.place) + b"/" + MARKER
        if os.path.lexists(marker):
            _remove(marker)
        else:
            self._store(marker, b"")

    def _rules(self, step: Step) -> None:
        path = self.directory + b"/.cvmfsdirtab"
        assert isinstance(step.value, bytes)
        if os.path.islink(path) or os.path.isdir(path) or not step.value:
            if os.path.lexists(path):
                _remove(path)
        elif not os.path.lexists(path) or os.path.isfile(path):
            self._store(path, step.value)

    def _fill(self, step: Step) -> None:
        directory = self._directory_at(step.place)
        assert isinstance(step.value, int)
        if len(self._all()[1]) < 100:
            for number in range(step.value):
                path = directory + b"/f%d" % number
                if not os.path.lexists(path):
                    self._store(path, b"%d" % (number % 3))

    def _swap_type(self, step: Step) -> None:
        """A directory in the place of what is none, or the other way round."""
        path = self._any_at(step.place)
        if path:
            was_directory = os.path.isdir(path) and not os.path.islink(path)
            _remove(path)
            if was_directory:
                self._store(path, b"was a directory")
            else:
                os.mkdir(path)
                self._store(path + b"/inside", b"was a file")


def _remove(path: bytes) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


# What must be true of a published tree


def verify(repository: Repository, tree: Tree) -> PublishedRepository:
    """The repository shows what is on disk, in catalogs laid out as they should be."""
    published = repository.read()
    wanted, found = tree.facts(), published.facts()
    generated = found.keys() - wanted.keys()
    for path in generated:
        _verify_generated(published, path, found)
    seen = {path: fact for path, fact in found.items() if path not in generated}
    assert not differences(seen, wanted)
    _verify_layout(repository, published, wanted, generated)
    return published


def _verify_generated(
    published: PublishedRepository, path: bytes, found: dict[bytes, Fact]
) -> None:
    directory, _, name = path.rpartition(b"/")
    assert name in (MARKER, AUTOMATIC_MARKER), f"{path!r} should not be there"
    assert directory in published.catalogs, f"{path!r}: a marker where there is no catalog"
    above = found[directory]
    wanted = above._replace(
        type="file", mode=0o644, size=0, nlink=1, links=frozenset(), sha256=EMPTY, xattrs={}
    )
    assert not differences({path: found[path]}, {path: wanted})


def _verify_layout(
    repository: Repository,
    published: PublishedRepository,
    wanted: dict[bytes, Fact],
    generated: set[bytes],
) -> None:
    mountpoints = published.catalogs.keys() - {b""}
    directories = {path for path, fact in wanted.items() if fact.type == "directory" and path}
    marked = {d for d in directories if d + b"/" + MARKER in wanted.keys() - directories}
    rules = wanted.get(b"/.cvmfsdirtab")
    text = published.content(b"/.cvmfsdirtab") if rules and rules.type == "file" else b""
    ruled = {d for d in directories if _ruled(text, d)}
    assert marked | ruled <= mountpoints, "directories without the catalog that they should have"
    automatic = mountpoints - marked - ruled
    if not repository.automatic:
        assert not automatic, "catalogs for no reason"
    weights: defaultdict[bytes, int] = defaultdict(int)
    for path in wanted.keys() - {b""}:
        weights[path.rpartition(b"/")[0]] += 1
    for directory in sorted(directories, reverse=True):
        if directory not in mountpoints:
            weights[directory.rpartition(b"/")[0]] += weights[directory]
    for path in automatic:
        assert path + b"/" + AUTOMATIC_MARKER in generated | wanted.keys(), path
        assert weights[path] >= LIGHTEST, f"{path!r}: a catalog of {weights[path]}"
    for path in published.catalogs if repository.automatic else ():
        if weights[path] > HEAVIEST:
            below = [d for d in directories - mountpoints if d.rpartition(b"/")[0] == path]
            heavy = [d for d in below if weights[d] >= LIGHTEST]
            assert not heavy, f"{path!r} holds {weights[path]}, {heavy} should be split off"


def _ruled(text: bytes, path: bytes) -> bool:
    """What a dirtab says of a directory."""
    lines = [line.strip(b" \t\r") for line in text.split(b"\n")]
    wanted = [line.strip(b"/") for line in lines if line and line[:1] not in (b"#", b"!")]
    unwanted = [line[1:].strip(b" \t\r") for line in lines if line[:1] == b"!"]
    return any(_glob(p, b"[^/]").fullmatch(path[1:]) for p in wanted) and not any(
        _glob(p, b".").fullmatch(path) for p in unwanted
    )


def _glob(pattern: bytes, anything: bytes) -> re.Pattern[bytes]:
    parts = re.split(rb"([*?])", pattern)
    special = {b"*": anything + b"*", b"?": anything}
    return re.compile(b"".join(special.get(p, re.escape(p)) for p in parts), re.DOTALL)


def _rows(published: PublishedRepository) -> object:
    return {mountpoint: c.comparable() for mountpoint, c in published.catalogs.items()}


# Directories

REVISIONS = st.lists(st.lists(STEPS, min_size=1, max_size=12), min_size=1, max_size=3)
FIRST = st.lists(STEPS, min_size=5, max_size=30)


def _publish_revisions(
    repository: Repository, tree: Tree, revisions: Sequence[Sequence[Step]]
) -> PublishedRepository:
    for steps in revisions:
        tree.apply(steps)
        repository.publish("sync", os.fsdecode(tree.directory))
        published = verify(repository, tree)
        before = repository.manifest()
        repository.publish("sync", os.fsdecode(tree.directory))
        assert repository.manifest() == before, "a new revision although nothing has changed"
    return published


@bounded(20)
@given(first=FIRST, more=REVISIONS)
def test_a_changing_tree_is_always_what_is_published(
    templates: Templates, first: list[Step], more: list[list[Step]]
) -> None:
    with laboratory(templates) as lab:
        tree = Tree(lab.directory / "tree")
        _publish_revisions(lab.repository(), tree, [first, *more])


@bounded(12)
@given(first=FIRST, more=REVISIONS)
def test_changes_give_the_same_catalogs_as_a_fresh_start(
    templates: Templates, first: list[Step], more: list[list[Step]]
) -> None:
    # Without automatic catalogs, which depend on what was there before.
    with laboratory(templates) as lab:
        tree = Tree(lab.directory / "tree")
        grown = _publish_revisions(lab.repository(CVMFS_AUTOCATALOGS="false"), tree, [first, *more])
        fresh = lab.repository(CVMFS_AUTOCATALOGS="false")
        fresh.publish("sync", os.fsdecode(tree.directory))
        assert _rows(grown) == _rows(verify(fresh, tree))


@pytest.mark.parametrize("compression", ["zlib", "none"])
@pytest.mark.parametrize("algorithm", ["sha1", "rmd160", "shake128"])
def test_every_hash_and_compression(templates: Templates, algorithm: str, compression: str) -> None:
    @bounded(2)
    @given(first=FIRST, second=st.lists(STEPS, min_size=1, max_size=12))
    def check(first: list[Step], second: list[Step]) -> None:
        with laboratory(templates) as lab:
            tree = Tree(lab.directory / "tree")
            repository = lab.repository(Kind(algorithm, compression))
            published = _publish_revisions(repository, tree, [first, second])
            key = repository.base / "config" / "pyparrot" / "keys" / f"{FQRN}.pub"
            published.check_signatures(key)
            stored = {
                (row.algorithm, row.is_zlib)
                for catalog in published.catalogs.values()
                for row in catalog.rows.values()
                if row.is_regular
            }
            suffix = "" if algorithm == "sha1" else "-" + algorithm
            assert stored <= {(suffix, compression == "zlib")}

    check()


# Tar files


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


_TAR_TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
}
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
    info.type = _TAR_TYPES[member.kind]
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


# Single cases: what random trees found, made small, and what they can't say


class Case(NamedTuple):
    """A member of a tar file in a few words: *what* is content, a link's target, or nothing."""

    name: str
    kind: str = "file"
    what: str = ""


def _archive(directory: Path, cases: Sequence[Case]) -> Path:
    file = directory / "archive"
    with tarfile.open(file, "w") as archive:
        for case in cases:
            info = tarfile.TarInfo(case.name)
            info.mtime = 1_600_000_000
            info.mode = 0o755
            info.type = tarfile.LNKTYPE if case.kind == "link" else _TAR_TYPES[case.kind]
            content = b""
            if case.kind == "file":
                content = case.what.encode()
                info.size = len(content)
            info.linkname = case.what if case.kind in ("link", "symlink") else ""
            archive.addfile(info, io.BytesIO(content))
    return file


@pytest.fixture
def repository(templates: Templates, tmp_path: Path) -> Repository:
    return Laboratory(templates, tmp_path).repository()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


def _ingest_cases(repository: Repository, cases: Sequence[Case], *words: str) -> None:
    repository.publish("ingest", _archive(repository.base, cases), *words)


def _write(tree: Tree, path: bytes, content: bytes = b"") -> None:
    file = tree.directory + path
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as stream:
        stream.write(content)


def test_an_ingested_marker_moves_what_is_there_to_the_new_catalog(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/old", what="1"), Case("a/d/old"), Case("a/e/.cvmfscatalog")])
    _ingest_cases(repository, [Case("a/.cvmfscatalog")])
    published = repository.read()
    assert published.catalogs.keys() == {b"", b"/a", b"/a/e"}
    assert {b"/a/old", b"/a/d/old", b"/a/e/.cvmfscatalog"} <= published.facts().keys()


def test_deleting_a_marker_moves_its_catalog_to_the_one_above(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/old"), Case("a/d/old"), Case("a/.cvmfscatalog")])
    _ingest_cases(repository, [Case("b")], "--delete", "/a/.cvmfscatalog")
    published = repository.read()
    assert published.catalogs.keys() == {b""}
    assert {b"/a/old", b"/a/d/old"} <= published.facts().keys()


def test_ingesting_more_splits_off_what_is_there_too(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/old"), Case("a/d/old")])
    _ingest_cases(repository, [Case(f"a/new{number}") for number in range(20)])
    published = repository.read()
    assert published.catalogs.keys() == {b"", b"/a"}
    assert {b"/a/old", b"/a/d/old"} <= published.facts().keys()


def test_an_ingested_dirtab_rules_what_is_there(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/old")])
    _ingest_cases(repository, [Case(".cvmfsdirtab", what="/a\n")])
    published = repository.read()
    assert published.catalogs.keys() == {b"", b"/a"}
    assert b"/a/old" in published.facts()


def test_catalogs_that_an_ingestion_does_not_touch_are_not_even_read(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = [Case(f"{number}/{name}") for number in range(9) for name in (".cvmfscatalog", "old")]
    _ingest_cases(repository, [*marked, Case("1/below/.cvmfscatalog")])
    before = repository.read()
    wanted = {before.catalogs[path].hash for path in (b"", b"/1")}
    read = set()
    unpack = publisher.StoredRepository.unpack_catalog

    def unpack_noting(self: publisher.StoredRepository, name: ContentHash) -> str:
        read.add(str(name))
        return unpack(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(publisher.StoredRepository, "unpack_catalog", unpack_noting)
        _ingest_cases(repository, [Case("1/new")])
    assert read == wanted
    assert b"/1/new" in repository.read().facts()


def test_what_is_deleted_does_not_come_back_with_its_directories(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a/b/old"), Case("a/b/c/old"), Case("a/d/old")])
    _ingest_cases(repository, [Case("a/b/c/new")], "--delete", "/a")
    assert repository.read().facts().keys() == {b"", b"/a", b"/a/b", b"/a/b/c", b"/a/b/c/new"}


def test_what_is_deleted_is_not_in_the_way_of_what_comes(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a"), Case("b")])
    _ingest_cases(repository, [Case("a/new")], "--delete", "/a")
    assert repository.read().facts().keys() == {b"", b"/a", b"/a/new", b"/b"}
    file = _archive(repository.base, [Case("c", "link", "b")])
    with _configured_in(repository.base):
        result = run_pyparrot(["publish", "ingest", FQRN, str(file), "--delete", "/b"])
    assert "a hard link to /b, which is not there" in result.err


def test_link_groups_of_a_tar_file_stay_apart(repository: Repository) -> None:
    # The first group is overwritten: its number must not be given to a group that is still there.
    _ingest_cases(
        repository,
        [
            *(Case("a", what="1"), Case("b", "link", "a")),
            *(Case("c", what="2"), Case("d", "link", "c")),
            *(Case("a", what="3"), Case("b", what="4")),
            *(Case("e", what="5"), Case("f", "link", "e")),
        ],
    )
    facts = repository.read().facts()
    assert facts[b"/c"].links == facts[b"/d"].links == {b"/c", b"/d"}
    assert facts[b"/e"].links == facts[b"/f"].links == {b"/e", b"/f"}


def test_links_to_another_directory_are_links_of_each_other(repository: Repository) -> None:
    # As sync has it: the format has no links across directories, but these two share one.
    _ingest_cases(repository, [Case("p/x"), Case("q/a", "link", "p/x"), Case("q/b", "link", "p/x")])
    facts = repository.read().facts()
    assert facts[b"/p/x"].links == frozenset()
    assert facts[b"/q/a"].links == facts[b"/q/b"].links == {b"/q/a", b"/q/b"}


def test_a_tar_file_can_link_to_what_is_published(repository: Repository) -> None:
    _ingest_cases(repository, [Case("a", what="1"), Case("b", "link", "a")])
    _ingest_cases(repository, [Case("c", "link", "a")])
    assert repository.read().facts()[b"/a"].links == {b"/a", b"/b", b"/c"}


@pytest.mark.parametrize("kind", ["symlink", "fifo"])
def test_hard_links_to_other_than_files(repository: Repository, kind: str) -> None:
    # GNU tar writes them; the format has no groups of such, so they become two of a kind.
    _ingest_cases(repository, [Case("a", kind, "target"), Case("b", "link", "a")])
    facts = repository.read().facts()
    assert facts[b"/a"] == facts[b"/b"]
    assert facts[b"/b"].type == kind


@pytest.mark.parametrize("many", [0, 100])
@pytest.mark.parametrize("earlier", [False, True])
def test_nothing_is_lost_behind_a_symlink(repository: Repository, earlier: bool, many: int) -> None:
    # Extracting it follows the link. Refusing it would do, too; but not losing it, nor the link.
    # With many files in between, the link's entry is sure to be stored before what is behind it.
    link = [Case("d/old"), Case("l", "symlink", "d")]
    behind = [*(Case(f"f{number}") for number in range(many)), Case("l/x", what="1")]
    if earlier:
        _ingest_cases(repository, link)
    file = _archive(repository.base, behind if earlier else link + behind)
    with _configured_in(repository.base):
        result = run_pyparrot(["publish", "ingest", FQRN, str(file), "-q"])
    facts = repository.read().facts()
    if result.status == 0:
        assert facts[b"/l"].type == "symlink"
        assert b"/d/x" in facts
    else:
        assert result.err.count("\n") == 1


@pytest.mark.parametrize("many", [0, 100])
def test_nothing_is_lost_behind_a_file(repository: Repository, many: int) -> None:
    # Extracting it fails: a file can't be a directory.
    cases = [Case("l"), *(Case(f"f{number}") for number in range(many)), Case("l/x", what="1")]
    file = _archive(repository.base, cases)
    with _configured_in(repository.base):
        result = run_pyparrot(["publish", "ingest", FQRN, str(file), "-q"])
    assert result.status != 0
    assert repository.read().facts().keys() == {b""}


@pytest.mark.parametrize("name", ["voilà", "Åland", "\x1cx", "a\x0bb"])
def test_rules_for_names_beyond_ascii(repository: Repository, tree: Tree, name: str) -> None:
    # In UTF-8 these end with the byte of a no-break space and begin with that of a line end.
    _write(tree, b"/" + name.encode() + b"/file")
    _write(tree, b"/.cvmfsdirtab", b"/" + name.encode() + b"\n")
    _publish_revisions(repository, tree, [[]])


def test_a_file_named_as_the_automatic_marker_is_published_as_it_is(
    repository: Repository, tree: Tree
) -> None:
    _write(tree, b"/a/.cvmfsautocatalog", b"the user's own")
    for number in range(20):
        _write(tree, b"/a/%d" % number)
    _publish_revisions(repository, tree, [[]])


def test_an_automatic_marker_at_the_root_means_nothing(repository: Repository, tree: Tree) -> None:
    _write(tree, b"/.cvmfsautocatalog")
    for number in range(5):
        _write(tree, b"/%d" % number)
    _publish_revisions(repository, tree, [[]])


@pytest.mark.parametrize("rules", [b"", b"/a"])
def test_a_directory_named_as_the_marker_is_published_as_it_is(
    repository: Repository, tree: Tree, rules: bytes
) -> None:
    os.makedirs(tree.directory + b"/a/.cvmfscatalog")
    for number in range(1 if rules else 20):
        _write(tree, b"/a/%d" % number)
    if rules:
        _write(tree, b"/.cvmfsdirtab", rules)
    _publish_revisions(repository, tree, [[]])


def test_attributes_too_long_for_the_format_are_left_out(
    repository: Repository, tree: Tree
) -> None:
    _write(tree, b"/a")
    try:
        os.setxattr(tree.directory + b"/a", "user.long", b"v" * 256)
        os.setxattr(tree.directory + b"/a", "user.short", b"v" * 255)
    except OSError:
        pytest.skip("this file system has no extended attributes")
    with _configured_in(repository.base):
        result = run_publish("sync", FQRN, tree.directory)
    assert "user.long" in result.err
    assert repository.read().facts()[b"/a"].xattrs == {b"user.short": b"v" * 255}

"""Random trees on disk that change between revisions, and what must be true when one is published.

The fixture ``templates`` is there for all tests. `support.reader` knows nothing of pyparrot's own
code.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import shutil
import stat
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from support import run_publish
from support.reader import Fact, PublishedRepository, differences, facts_on_disk

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
            with configured_in(directory):
                run_publish(
                    *("init", FQRN, "--storage", directory / "storage"),
                    *("--hash", kind.hash, "--compression", kind.compression),
                )
        return made[kind]

    return template


@contextlib.contextmanager
def configured_in(directory: Path) -> Iterator[None]:
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
        with configured_in(self.base):
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


def rows_of(published: PublishedRepository) -> object:
    return {mountpoint: c.comparable() for mountpoint, c in published.catalogs.items()}


def publish_revisions(
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


TAR_TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
}

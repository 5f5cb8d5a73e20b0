"""The path walk does what Linux does.

Random trees are made on a disk, and as catalogs that are seen at the same path; then the kernel
and `Snapshot.walk` resolve the same random paths. Their answers have to be the same: the errno, or
the real path. Where the walk says that a path leads out, the kernel goes on from the path that the
walk gives, and must arrive where it arrives on its own.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple, Union

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyparrot.core import ffi, lib
from pyparrot.sources.cvmfs import catalog_rows as catalogs
from pyparrot.sources.cvmfs.catalog import Catalog
from pyparrot.sources.cvmfs.catalog_rows import CatalogEntry, NestedCatalog
from pyparrot.sources.cvmfs.handles import catalog_name
from pyparrot.sources.cvmfs.hashes import Algorithm
from pyparrot.sources.cvmfs.indexing import build_index
from pyparrot.tree.index import ROOT_HASH, Index
from pyparrot.tree.snapshot import Found, Missing, NeedIndex, Outside, Snapshot, WalkResult

BOUNDED = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# A tree: what lies at each path. None is a directory, b"" a file, anything else a link's target.
Tree = Mapping[bytes, Union[bytes, None]]

HERE = b"@HERE@"
"""Stands in targets for the directory where the tree is seen."""

NAMES = [b"a", b"b", b"c", b"dd", b"...", b".a", b"..a", b"\xff", b"n" * 255]
PATH_LIMIT = 4096
LINK_LIMIT = 40


def directories(tree: Tree) -> list[bytes]:
    return [b"", *(path for path, what in tree.items() if what is None)]


# Making trees


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    tree: dict[bytes, bytes | None] = {}
    for _ in range(draw(st.integers(2, 14))):
        parent = draw(st.sampled_from([path for path in directories(tree) if len(path) < 1000]))
        path = parent + b"/" + draw(st.sampled_from(NAMES))
        if path not in tree:
            tree[path] = draw(st.one_of(st.none(), st.just(b""), targets()))
    return tree


def targets() -> st.SearchStrategy[bytes]:
    inside = paths(6).map(lambda path: path.strip(b"\0")[:1500] or b".")
    return st.one_of(
        inside,
        inside.map(lambda path: HERE + b"/" + path),
        st.sampled_from([b".", b"..", b"../..", b"/", b"//", HERE, HERE + b"/", HERE + b"x"]),
        st.sampled_from([b"/etc/passwd", b"/proc/self/..", b"/no/such", b"/etc/passwd/", b"a/./"]),
        st.sampled_from([HERE + b"/..", HERE + b"/../beside", b"/." + HERE, b"/" + HERE + b"/a"]),
    )


def paths(most: int = 10) -> st.SearchStrategy[bytes]:
    usual = st.sampled_from([*NAMES[:6], b"a", b"b", b"c", b".", b"..", b""])
    rare = st.sampled_from([*NAMES[6:], b"n" * 256, b"missing", b".." + b"n" * 300])
    part = st.one_of(usual, usual, usual, usual, rare)
    return st.lists(part, max_size=most).map(b"/".join)


def padded(path: bytes, length: int) -> bytes:
    """*path* with as many slashes and dots before it that it has *length* bytes."""
    missing = length - len(path)
    return b"./" * (missing // 2) + b"/" * (missing % 2) + path if missing > 0 else path


class World(NamedTuple):
    """A tree on the disk at *here*, and the same in catalogs."""

    here: bytes
    descriptor: int
    snapshot: Snapshot
    indexes: dict[bytes, Index]

    def kernel(self, path: bytes, follow: bool) -> tuple[int, bytes]:
        """The errno, and the real path, of what the kernel finds."""
        flags = os.O_PATH | (0 if follow else os.O_NOFOLLOW)
        # Relative, so that the length of *here* does not count; "" would name nothing.
        return opened(path.lstrip(b"/") or b".", flags, self.descriptor)


def opened(path: bytes, flags: int, directory: int | None = None) -> tuple[int, bytes]:
    try:
        descriptor = os.open(path, flags, dir_fd=directory)
    except OSError as error:
        return error.errno or 0, b""
    try:
        return 0, os.readlink(b"/proc/self/fd/%d" % descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def world(tree: Tree, nested: frozenset[bytes] = frozenset()) -> Iterator[World]:
    """*nested* are directories whose content stands in catalogs of their own."""
    with tempfile.TemporaryDirectory(prefix="pyparrot-walk-") as work:
        here = os.path.join(os.fsencode(os.path.realpath(work)), b"repository")
        os.mkdir(here)
        os.symlink(b"repository", here + b"-beside")
        with open(os.path.join(os.path.dirname(here), b"beside"), "wb"):
            pass
        real = {path: what and what.replace(HERE, here) for path, what in tree.items()}
        make_on_disk(here, real)
        indexes = make_indexes(work, real, nested)
        descriptor = os.open(here, os.O_PATH)
        try:
            yield World(here, descriptor, Snapshot(indexes[b""], here, {}), indexes)
        finally:
            os.close(descriptor)


def make_on_disk(here: bytes, tree: Tree) -> None:
    for path, what in tree.items():
        # The whole path may be longer than the kernel takes at once; the parts are not.
        parent, _, name = path.rpartition(b"/")
        directory = os.open(here, os.O_PATH)
        for part in parent.split(b"/")[1:]:
            below = os.open(part, os.O_PATH, dir_fd=directory)
            os.close(directory)
            directory = below
        if what is None:
            os.mkdir(name, dir_fd=directory)
        elif what:
            os.symlink(what, name, dir_fd=directory)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory))
        os.close(directory)


def make_indexes(work: str, tree: Tree, nested: frozenset[bytes]) -> dict[bytes, Index]:
    hashes = path_hashes(tree, nested)
    indexes = {}
    for number, root in enumerate([b"", *sorted(nested)]):
        file = os.path.join(work, f"catalog-{number}")
        with closing(Catalog.create(file)) as made:
            flags = catalogs.DIRECTORY | (catalogs.NESTED_ROOT if root else 0)
            made.put([(root, entry_of(root, None)._replace(flags=flags))])
            made.set_property("root_prefix", root)
            for path, what in tree.items():
                if catalog_of(path, nested) != root:
                    continue
                entry = entry_of(path, what)
                if path in nested:
                    entry = entry._replace(flags=entry.flags | catalogs.NESTED_MOUNTPOINT)
                    made.put_nested(NestedCatalog(path, Algorithm.SHA1.of(path), 1))
                made.put([(path, entry)])
        with closing(Catalog.open(file)) as readable:
            name = Algorithm.SHA1.of(root)
            build_index(readable, name, root, hashes[root], file + ".index")
        indexes[root] = Index(file + ".index")
    return indexes


def catalog_of(path: bytes, nested: frozenset[bytes]) -> bytes:
    """The root of the catalog that has *path*: the longest one that is above it."""
    parent = path.rpartition(b"/")[0]
    while parent and parent not in nested:
        parent = parent.rpartition(b"/")[0]
    return parent


def path_hashes(tree: Tree, wanted: frozenset[bytes]) -> dict[bytes, int]:
    """The hashes of the *wanted* directories' paths, from an index that has all directories."""
    if not wanted:
        return {b"": ROOT_HASH}
    with tempfile.TemporaryDirectory() as work:
        file = os.path.join(work, "catalog")
        with closing(Catalog.create(file)) as made:
            made.put([(path, entry_of(path, None)) for path in directories(tree)])
            # A child's record has its parent's hash.
            made.put([(path + b"/?", entry_of(path + b"/?", b"")) for path in wanted])
        with closing(Catalog.open(file)) as readable:
            build_index(readable, Algorithm.SHA1.of(b""), b"", ROOT_HASH, file + ".index")
        snapshot = Snapshot(Index(file + ".index"), b"/nowhere", {})
        hashes = {b"": ROOT_HASH}
        for path in wanted:
            child = snapshot.walk(path + b"/?")
            assert isinstance(child, Found)
            hashes[path] = child.record.parent_hash
        return hashes


def entry_of(path: bytes, what: bytes | None) -> CatalogEntry:
    name = path.rpartition(b"/")[2]
    common = (0, None, 0, 0)
    if what is None:
        return CatalogEntry(name, catalogs.DIRECTORY, stat.S_IFDIR | 0o755, 0, *common)
    if what:
        mode = stat.S_IFLNK | 0o777
        return CatalogEntry(name, catalogs.SYMLINK, mode, 0, *common, symlink=what)
    return CatalogEntry(name, catalogs.FILE, stat.S_IFREG | 0o644, 0, *common)


# Comparing


def answer(snapshot: Snapshot, path: bytes, follow: bool) -> tuple[object, ...]:
    """What the walk says to who does not want the real path, as a look-up in a hurry does not."""
    walk = ffi.new("struct pp_walk *")
    walk.snapshot = snapshot._pointer
    walk.flags = 0 if follow else lib.PP_NOFOLLOW
    outcome = lib.pp_walk(walk, path, len(path))
    if outcome == lib.PP_FOUND:
        return Found, walk.record
    if outcome == lib.PP_ERROR:
        return Missing, walk.error
    assert outcome == lib.PP_OUTSIDE
    return Outside, bytes(ffi.buffer(walk.path, walk.path_length)), walk.links


def compare(world: World, path: bytes, follow: bool, outcome: WalkResult) -> None:
    error, real = world.kernel(path, follow)
    in_a_hurry = answer(world.snapshot, path, follow)
    if isinstance(outcome, Found):
        assert in_a_hurry == (Found, outcome.record), path
    else:
        assert in_a_hurry == (type(outcome), *outcome), path
    if isinstance(outcome, Missing):
        assert errno.errorcode[outcome.error] == errno.errorcode.get(error, real), path
    elif isinstance(outcome, Found):
        assert (error, real) == (0, world.here + outcome.path), path
    else:
        assert isinstance(outcome, Outside), outcome
        # Slashes at the end of the path are still there, so that the kernel can go on.
        flags = os.O_PATH | (0 if follow else os.O_NOFOLLOW)
        went_on = opened(outcome.path, flags)
        # Links that the walk has followed count, but the kernel starts at 0 here.
        if error != errno.ELOOP or outcome.links == 0:
            assert went_on == (error, real), (path, outcome)


def resolve(world: World, path: bytes, follow: bool) -> WalkResult:
    """Walk, with nested catalogs put at hand on demand."""
    for _ in range(100):
        outcome = world.snapshot.walk(path, follow=follow)
        if not isinstance(outcome, NeedIndex):
            return outcome
        index = world.indexes[outcome.mountpoint]
        found = catalog_name(outcome.handle), outcome.root_hash
        assert found == (catalog_name(index.handle), index.root_hash)
        world.snapshot.mount(index)
    raise AssertionError("asks for catalogs for ever")


@BOUNDED
@given(tree=trees(), asked=st.lists(paths(), min_size=15, max_size=30), data=st.data())
def test_random_paths_in_random_trees(tree: Tree, asked: list[bytes], data: st.DataObject) -> None:
    nested = frozenset(data.draw(st.sets(st.sampled_from(directories(tree)), max_size=3))) - {b""}
    known = [path + end for path in tree for end in (b"", b"/", b"/.", b"/..", b"//b")]
    with world(tree) as plain, world(tree, nested) as divided:
        for path in [*asked, *known]:
            for follow in (True, False):
                whole = plain.snapshot.walk(path, follow=follow)
                compare(plain, path, follow, whole)
                part = resolve(divided, path, follow)
                compare(divided, path, follow, part)
                assert type(part) is type(whole), path
                if isinstance(part, Found) and isinstance(whole, Found):
                    assert (part.path, part.node.inode) == (whole.path, whole.node.inode)


@BOUNDED
@given(tree=trees(), path=paths(20), length=st.sampled_from([4094, 4095, 4096, 4097, 9000]))
def test_long_paths(tree: Tree, path: bytes, length: int) -> None:
    with world(tree) as made:
        long = padded(path.lstrip(b"/"), length)
        if long.startswith(b"/"):
            long = b"." + long[1:] if len(long) < 2 else b"./" + long[2:]
        for follow in (True, False):
            compare(made, long, follow, made.snapshot.walk(long, follow=follow))


@pytest.mark.parametrize("length", [1, 39, 40, 41, 45])
@pytest.mark.parametrize("end", [b"", b"/", b"/.", b"/f"])
def test_chains_of_links(length: int, end: bytes) -> None:
    links = {b"/l%d" % n: b"l%d" % (n - 1) for n in range(1, length)}
    for last in (b"d", b"file", b"missing", b"l%d" % (length - 1), HERE + b"/d", b"../beside"):
        tree: Tree = {b"/d": None, b"/d/f": b"", b"/file": b"", b"/l0": last, **links}
        with world(tree) as made:
            path = b"l%d" % (length - 1) + end
            for follow in (True, False):
                compare(made, path, follow, made.snapshot.walk(path, follow=follow))


@pytest.mark.parametrize("depth", [1, 8, 20, 39, 40, 41])
def test_links_on_the_way_are_counted_together(depth: int) -> None:
    tree: Tree = {b"/d": None, b"/d/f": b"", b"/d/l": b".", b"/d/up": b"../d"}
    with world(tree) as made:
        for link in (b"l/", b"up/"):
            path = b"d/" + link * depth + b"f"
            compare(made, path, True, made.snapshot.walk(path))


@pytest.mark.parametrize("links", [0, 1, 39, 40])
def test_links_that_were_followed_before_count(links: int) -> None:
    with world({b"/f": b"", b"/l": b"f"}) as made:
        outcome = made.snapshot.walk(b"l", links=links)
        assert isinstance(outcome, Found if links < LINK_LIMIT else Missing)
        assert isinstance(made.snapshot.walk(b"f", links=links), Found)


@pytest.mark.parametrize(
    "path",
    [
        *(b"", b"/", b"//", b".", b"./", b"..", b"../", b"/..", b"//..//", b"a/../.."),
        *(b"../repository/a", b"../beside", b"../beside/", b"../beside/x", b"../repositoryx"),
        *(b"f/", b"f/.", b"f/..", b"f/x", b"a/f/", b"missing/", b"missing/.."),
        *(b"l", b"l/", b"l/.", b"l/..", b"tof", b"tof/", b"tof/.", b"dangling", b"dangling/"),
        *(b"n" * 255, b"n" * 256, b"a/" + b"n" * 256, b"f/" + b"n" * 256, b"missing/" + b"n" * 256),
        *(b"abs", b"abs/f", b"abs/../f", b"abs//..//..", b"dotted", b"self/self/self/f", b"loop"),
        *(b"loop/", b"loop/x", b"up/repository/f", b"toproc", b"out", b"out/..", b"out/../passwd"),
    ],
)
def test_paths_of_note(path: bytes) -> None:
    tree: Tree = {
        b"/a": None,
        b"/a/f": b"",
        b"/f": b"",
        b"/l": b"a",
        b"/tof": b"f",
        b"/dangling": b"nothing",
        b"/abs": HERE + b"/a",
        b"/dotted": HERE + b"/./a/",
        b"/self": b".",
        b"/loop": b"loop",
        b"/up": b"..",
        b"/out": b"/etc",
        b"/toproc": b"/proc/self",
    }
    for nested in (frozenset[bytes](), frozenset([b"/a"])):
        with world(tree, nested) as made:
            for start in (b"", b"/", b"//"):
                for follow in (True, False):
                    outcome = resolve(made, start + path, follow)
                    if path != b"toproc" or not follow:  # each look finds another process's
                        compare(made, path, follow, outcome)


def test_long_targets_one_after_the_other() -> None:
    """The kernel has no limit on what is still to be walked, only on each string."""
    long = padded(b"d", 4095)
    tree: Tree = {b"/d": None, b"/d/d": None, b"/d/d/f": b"", b"/l": long, b"/d/l": long}
    with world(tree) as made:
        for path in (b"l", b"l/d", b"l/l", b"l/l/f", padded(b"l/l/f", 4095)):
            compare(made, path, True, made.snapshot.walk(path))


def test_directories_deeper_than_a_path_may_be() -> None:
    """A relative link leads deeper; its real path is longer than any that a program can name."""
    parts = [b"%d" % n + b"n" * 240 for n in range(20)]
    below = list(itertools.accumulate(parts, lambda path, part: path + b"/" + part, initial=b""))
    tree = dict.fromkeys(below[1:])
    half = b"/".join(parts[:10])
    link: Tree = {b"/l": half, below[10] + b"/m": b"/".join(parts[10:]), **tree}
    ordered = dict(sorted(link.items(), key=lambda item: len(item[0])))
    with world(ordered) as made:
        outcome = made.snapshot.walk(b"l/m")
        # The kernel gets there, but can't tell where it is either: readlink() of /proc, and
        # getcwd(), say ENAMETOOLONG. That is an honest answer.
        assert stat.S_ISDIR(os.stat(b"l/m", dir_fd=made.descriptor).st_mode)
        assert isinstance(outcome, (Found, Missing))
        assert isinstance(outcome, Found) or outcome.error == errno.ENAMETOOLONG


def test_a_nul_is_refused_as_everywhere_in_python() -> None:
    with world({}) as made, pytest.raises(ValueError, match="null byte"):
        made.snapshot.walk(b"a\0b")


def test_entering_a_nested_catalog() -> None:
    """At its mountpoint a directory is still its parent's entry; `enter` goes to what it holds."""
    tree: Tree = {b"/n": None, b"/n/f": b"", b"/n/m": None, b"/n/m/g": b""}
    nested = frozenset([b"/n", b"/n/m"])
    with world(tree, nested) as made:
        for path, names in ((b"/n", [b"f", b"m"]), (b"/n/m", [b"g"])):
            found = resolve(made, path, True)
            assert isinstance(found, Found)
            need = made.snapshot.enter(found)
            assert isinstance(need, NeedIndex)
            assert need.mountpoint == path
            made.snapshot.mount(made.indexes[path])
            entered = made.snapshot.enter(found)
            assert isinstance(entered, Found)
            assert entered.path == path
            assert [node.name for node in entered.holder.children(entered.record)] == names


def test_many_nested_catalogs() -> None:
    tree: Tree = {
        path: what
        for number in range(300)
        for path, what in ((b"/n%d" % number, None), (b"/n%d/f" % number, b""))
    }
    with world(tree, frozenset(directories(tree)[1:])) as made:
        for number in range(300):
            outcome = resolve(made, b"/n%d/f" % number, True)
            assert isinstance(outcome, Found)
            assert isinstance(resolve(made, b"/n%d/g" % number, True), Missing)
        # What was at hand stays so, however much was added.
        for number in range(300):
            assert isinstance(made.snapshot.walk(b"/n%d/f" % number), Found)


# Variant symlinks


def expanded(target: bytes, environment: Mapping[bytes, bytes]) -> bytes:
    """The rule of CernVM-FS ``catalog_sql.cc``."""

    def value(match: re.Match[bytes]) -> bytes:
        name, default = match[1], match[2] or b""
        return environment.get(name, default)

    # The first ")" ends it, the first ":-" the name; nothing nests, and unclosed it stays.
    return re.sub(rb"\$\(((?:(?!:-)[^)])*)(?::-([^)]*))?\)", value, target)


VARIABLES = {b"A": b"a", b"EMPTY": b"", b"UP": b"..", b"LONG_NAME": b"a/b", b"A:B": b"colon"}


def variants() -> st.SearchStrategy[bytes]:
    pieces = [b"$", b"(", b")", b"$(", b":-", b":", b"-", b"A", b"EMPTY", b"UP", b"NO", b"/", b"x"]
    loose = st.lists(st.sampled_from(pieces), min_size=1, max_size=14).map(b"".join)
    name = st.sampled_from([*VARIABLES, b"NO", b"", b"A=", b"a"])
    default = st.sampled_from([b"", b":-", b":-b", b":-$(A", b":-:-", b":x", b":-a/b"])
    reference = st.tuples(name, default).map(lambda pair: b"$(%s%s)" % pair)
    whole = st.lists(st.one_of(reference, st.sampled_from([b"/", b"x", b"$", b".."])), min_size=1)
    return st.one_of(loose, whole.map(b"".join))


@settings(BOUNDED, max_examples=150)
@given(targets=st.lists(variants(), min_size=1, max_size=20, unique=True))
@example(targets=[b"$(CVMFS_TEST", b"$HOME", b"$", b"$()", b"$(A)$(B:-c)", b"$(EMPTY:-x)"])
def test_variant_links_are_expanded_by_the_rule(targets: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as work:
        tree: Tree = {b"/%d" % number: target for number, target in enumerate(targets)}
        index = make_indexes(work, tree, frozenset())[b""]
    snapshot = Snapshot(index, b"/r", VARIABLES)
    for path, target in tree.items():
        found = snapshot.walk(path, follow=False)
        assert isinstance(found, Found)
        assert found.node.target == target
        assert bool(found.node.flags & lib.PP_VARIANT) == (b"$(" in (target or b""))
        assert snapshot.expand(found.node) == expanded(target or b"", VARIABLES), target


@settings(BOUNDED, max_examples=100)
@given(target=variants(), path=st.sampled_from([b"/v", b"/v/", b"/v/b", b"/d/../v", b"/d/w/x"]))
def test_a_variant_link_leads_where_its_expansion_would(target: bytes, path: bytes) -> None:
    def at(link: bytes) -> Tree:
        tree: dict[bytes, bytes | None] = {b"/a": None, b"/a/b": b"", b"/d": None, b"/b": b""}
        return {**tree, b"/v": link, b"/d/w": link}

    plain = expanded(target, VARIABLES)
    with tempfile.TemporaryDirectory() as work:
        os.mkdir(work + "/v")
        variant = Snapshot(
            make_indexes(work + "/v", at(target), frozenset())[b""], b"/r", VARIABLES
        )
        outcome = variant.walk(path)
        if not plain:  # an empty target names nothing, but a catalog can't hold one
            assert outcome == Missing(errno.ENOENT)
            return
        if b"$(" in plain:  # would be a variant link itself
            return
        os.mkdir(work + "/p")
        fixed = Snapshot(make_indexes(work + "/p", at(plain), frozenset())[b""], b"/r", {})
        expected = fixed.walk(path)
    if isinstance(outcome, Found) and isinstance(expected, Found):
        assert outcome.path == expected.path
    else:
        assert outcome == expected

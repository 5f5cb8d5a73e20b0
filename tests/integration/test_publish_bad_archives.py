"""Tar files that are no complete or no proper ones: one clear line, and nothing is published."""

from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path

import pytest
from support.publishing import (
    FAILURE,
    FQRN,
    Site,
    assert_one_line,
    flip,
    member,
    tar,
)

# What Python prints of errors in finalizers would be more than one line.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")


LINK, SYMLINK, DIRECTORY = tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE

BAD_ARCHIVES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a complete tar file"),
    "text": (b"hello world\n" * 1000, "not a complete tar file"),
    "random": (os.urandom(5000), "not a complete tar file"),
    "gzip of text": (__import__("gzip").compress(b"hello" * 1000), "not a complete tar file"),
    "parent": (tar(member("../x")), r"\.\./x: not a path inside"),
    "hidden parent": (tar(member("a/b/../../../x")), "not a path inside"),
    "parent directory": (tar(member("..", DIRECTORY)), "not a path inside"),
    "zero byte": (tar(member("a", pax_headers={"path": "a\0b"})), "."),
    "root is a file": (tar(member(".")), "only a directory can be the root"),
    "root is a link": (tar(member("/", SYMLINK, linkname="x")), "only a directory can be the root"),
    "link to nothing": (
        tar(member("a", LINK, linkname="gone")),
        r"/a: a hard link to a file that is not there \(gone\)|/a: .*gone",
    ),
    "link to later": (tar(member("a", LINK, linkname="b"), member("b")), "/a: a hard link"),
    "link to itself": (tar(member("a", LINK, linkname="a")), "/a: a hard link"),
    "link outside": (tar(member("a", LINK, linkname="../../etc/passwd")), "not a path inside"),
    "link to directory": (
        tar(member("d", DIRECTORY), member("a", LINK, linkname="d")),
        "/a: a hard link",
    ),
    "file as directory": (tar(member("a"), member("a/b")), "/a"),
    "link as directory": (tar(member("a", SYMLINK, linkname="/x"), member("a/b")), "/a"),
    "pipe as directory": (tar(member("a", tarfile.FIFOTYPE), member("a/b")), "/a"),
    "published file as directory": (tar(member("small/b")), "/small"),
    "control characters": (tar(member("../\n\x1b[31m")), "not a path inside"),
    "not UTF-8": (tar(member(b"../\xff")), "not a path inside"),
    "name too long": (tar(member("n" * 256)), "n{20}"),
    "user out of range": (tar(member("a", pax_headers={"uid": "9" * 30})), "."),
    "size out of range": (tar(member("a", pax_headers={"size": "9" * 30})), "."),
    "time out of range": (tar(member("a", pax_headers={"mtime": "9" * 30})), "."),
    "time is no number": (tar(member("a", pax_headers={"mtime": "nan"})), "."),
    "device out of range": (
        tar(member("a", tarfile.CHRTYPE)).replace(b"0000000\x000000000\0", b"\xff" * 16, 1),
        ".",
    ),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_bad_archives(site: Site, name: str) -> None:
    content, why = BAD_ARCHIVES[name]
    archive = site.base / "a.tar"
    archive.write_bytes(content)
    with site.unharmed():
        site.bad("ingest", FQRN, archive, why=why)


def test_archive_is_cut_off_anywhere(site: Site) -> None:
    """At any place before its end mark, so also between two members."""
    whole = tar(member("a"), member("b"), member("c", SYMLINK, linkname="a"), content=b"c" * 700)
    end = whole.rindex(b"ustar") // 512 * 512 + 512
    archive = site.base / "a.tar"
    wrong = []
    with site.unharmed():
        before = site.manifest
        for length in sorted({*range(0, end, 512), *range(0, end, 300), end}):
            archive.write_bytes(whole[:length])
            result = site.call("ingest", FQRN, archive, "--into", "/cut")
            if result.status != FAILURE or "a.tar: not a complete tar file" not in result.err:
                wrong.append(length)
            (site.root / ".cvmfspublished").write_bytes(before)
        assert wrong == []
    archive.write_bytes(whole)
    site.good("ingest", FQRN, archive)


@pytest.mark.parametrize("compress", ["gzip", "bz2", "lzma"])
def test_compressed_archive_is_damaged(site: Site, compress: str) -> None:
    import importlib

    pack = importlib.import_module(compress).compress
    whole = pack(tar(member("a"), member("b"), content=os.urandom(5000)))
    archive = site.base / "a.tar"
    with site.unharmed():
        for damaged in (
            whole[:20],
            whole[: len(whole) // 2],
            flip(whole, len(whole) * 4),
            whole[: len(whole) // 2] + bytes(len(whole) // 2),
        ):
            archive.write_bytes(damaged)
            site.bad("ingest", FQRN, archive, why="a.tar: not a complete tar file")
    archive.write_bytes(whole)
    site.good("ingest", FQRN, archive)
    site.check()


def test_archive_with_a_damaged_header(site: Site) -> None:
    """A member whose checksum is wrong must not be taken for the end."""
    whole = tar(member("a"), member("b"), member("c"), content=b"c" * 700)
    archive = site.base / "a.tar"
    archive.write_bytes(flip(whole, whole.index(b"b\0\0\0") * 8))
    with site.unharmed():
        site.bad("ingest", FQRN, archive, why="a.tar: not a complete tar file")


def test_archive_with_absolute_names(site: Site) -> None:
    archive = site.base / "a.tar"
    archive.write_bytes(tar(member("/etc//./passwd"), content=b"x"))
    site.good("ingest", FQRN, archive)
    with site.catalog() as catalog:
        assert catalog.lookup(b"/etc/passwd")
    site.check()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("no-such.tar",), "no-such.tar: No such file"),
        (("/",), "/: Is a directory"),
        (("a.tar", "--delete", "/gone"), "/gone: there is nothing to delete"),
        (("a.tar", "--delete", "/small/gone"), "/small/gone: there is nothing to delete"),
        (("a.tar", "--delete", "/"), "/: there is nothing to delete"),
        (("a.tar", "--delete", ""), "/: there is nothing to delete"),
        (("a.tar", "--delete", "/nested/../small"), "not a path inside"),
        (("a.tar", "--into", "/../x"), "not a path inside"),
        (("a.tar", "--into", "x/.."), "not a path inside"),
        (("a.tar", "--into", "/small"), "/small"),
        (("a.tar", "--into", "/link"), "/link"),
        (("a.tar", "--into", "/small/deeper"), "/small"),
        (("a.tar", "--into", "n" * 256), "n{20}"),
    ],
    ids=ascii,
)
def test_bad_requests_to_ingest(
    site: Site, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], why: str
) -> None:
    monkeypatch.chdir(site.base)
    Path("a.tar").write_bytes(tar(member("x"), content=b"x"))
    with site.unharmed():
        site.bad("ingest", FQRN, *words, why=why)


def test_archive_from_standard_input(site: Site) -> None:
    content = site.base / "a.tar"
    content.write_bytes(tar(member("x"), content=b"x"))
    with open(content, "rb") as stream:
        assert site.run("ingest", FQRN, "-", stdin=stream).status == 0
    site.check()
    with site.unharmed():
        result = site.run("ingest", FQRN, "-")
        assert_one_line(result, "standard input: not a complete tar file")
        with open("/proc/self/mem", "rb") as unreadable:
            result = site.run("ingest", FQRN, "-", stdin=unreadable)
        assert_one_line(result, "standard input: ")


def test_warnings_are_one_line(site: Site) -> None:
    archive = site.base / "a.tar"
    name = "bell\x07 and\nnew line"
    archive.write_bytes(
        tar(
            member(name, b"Z"),
            member(name + "2", pax_headers={"SCHILY.xattr.user.\nlong": "v" * 256}),
        )
    )
    result = site.call("ingest", FQRN, archive)
    assert result.status == 0
    lines = result.err.splitlines()
    assert len(lines) == 2, lines
    for line in lines:
        assert re.match(r"pyparrot: warning: bell\\x07 and\\nnew line", line)
        assert line.isprintable()

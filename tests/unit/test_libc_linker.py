"""Images of the shim for dynamic linkers: what is in them, and for which linkers there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.libraries import CALLS, SHIM, assembled

from pyparrot.cache.store import ObjectStore
from pyparrot.core import ffi, lib
from pyparrot.libc.arch.x86_64 import COOKIE, LINKER_STUB_SIZE
from pyparrot.libc.elf import EXECUTE
from pyparrot.libc.image import Image
from pyparrot.libc.linker import make_image
from pyparrot.libc.linker_image import open_image
from pyparrot.libc.linkers import Linkers

PAGE = 4096
PADDED = CALLS + "\n.text\n.balign 4096, 0x90\n.globl end\nend: .skip {0}, 0x90\n"
"""A library that ends so many bytes behind the beginning of a page."""


def linker() -> Path:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/ld-linux" in line:
            return Path(line.split(None, 5)[5])
    pytest.skip("no glibc")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    target = tmp_path_factory.mktemp("image") / "image"
    if not make_image(str(linker()), str(SHIM), str(target)):
        pytest.skip("the host's dynamic linker has no room")
    return target.read_bytes()


def test_sites_are_look_ups_with_a_stub_each(content: bytes) -> None:
    image = open_image(content)
    loaded = Image(linker().read_bytes())
    assert image.sites_count
    stubs = set()
    for number in range(image.sites_count):
        site = image.sites[number]
        assert loaded.read(site.address, 2) == b"\x0f\x05"
        assert site.behind == site.address + 2
        size = site.length - 2
        assert bytes(site.original)[:size] == loaded.read(site.behind, size)
        # jmp to the bootstrap
        assert site.detour[0] == 0xE9
        displacement = int.from_bytes(bytes(site.detour)[1:5], "little", signed=True)
        assert site.behind + 5 + displacement == image.bootstrap
        assert bytes(site.bootstrap)[COOKIE : COOKIE + 8] == bytes(8)
        assert image.pages <= site.address < image.pages + image.pages_size
        assert content[site.stub : site.stub + LINKER_STUB_SIZE].strip(b"\xcc")
        stubs.add(site.stub)
    assert len(stubs) == image.sites_count


def test_the_bootstrap_overwrites_nothing(content: bytes) -> None:
    image = open_image(content)
    loaded = Image(linker().read_bytes())
    (code,) = (load for load in loaded.loads if load.flags & EXECUTE)
    assert image.bootstrap == code.address + code.file_size
    assert (image.bootstrap + image.room) % PAGE == 0
    offset = code.offset + code.file_size
    assert not loaded.data[offset : offset + image.room].strip(b"\0")
    assert image.room >= lib.PP_LINKER_BOOTSTRAP_MAX


def test_pages_are_the_linkers(content: bytes) -> None:
    image = open_image(content)
    data = linker().read_bytes()
    first = content[image.pages_copy : image.pages_copy + PAGE]
    assert first == data[:PAGE]
    rest = content[image.pages_copy + PAGE :][: image.pages_size]
    assert rest == Image(data).read(image.pages, image.pages_size)


@pytest.mark.parametrize("unused", [0, 1, lib.PP_LINKER_BOOTSTRAP_MAX - 1])
def test_no_room(tmp_path: Path, unused: int) -> None:
    library = assembled(tmp_path, PADDED.format(PAGE - unused), "-Wl,--build-id=sha1")
    assert not make_image(str(library), str(SHIM), str(tmp_path / "image"))
    assert not (tmp_path / "image").exists()


def test_room(tmp_path: Path) -> None:
    library = assembled(tmp_path, PADDED.format(64), "-Wl,--build-id=sha1")
    assert make_image(str(library), str(SHIM), str(tmp_path / "image"))
    assert open_image((tmp_path / "image").read_bytes()).sites_count == 4


def test_no_build_id(tmp_path: Path) -> None:
    library = assembled(tmp_path, PADDED.format(64), "-Wl,--build-id=none")
    assert not make_image(str(library), str(SHIM), str(tmp_path / "image"))


def test_no_library(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with pytest.raises(ValueError, match="no ELF file"):
        make_image(str(tmp_path / "text"), str(SHIM), str(tmp_path / "image"))
    with pytest.raises(FileNotFoundError):
        make_image(str(tmp_path / "absent"), str(SHIM), str(tmp_path / "image"))


def test_damaged_images(content: bytes) -> None:
    head = ffi.sizeof("struct pp_linker_image")
    image = open_image(content)
    end = image.pages_copy + PAGE + image.pages_size
    for damaged in (b"", content[: head - 1], content[: end - 1], b"x" + content[1:]):
        with pytest.raises(ValueError, match="no image"):
            open_image(damaged)
    many = bytearray(content)
    offset = ffi.offsetof("struct pp_linker_image", "sites_count")
    many[offset : offset + 4] = (lib.PP_LINKER_SITES_MAX + 1).to_bytes(4, "little")
    with pytest.raises(ValueError, match="no image"):
        open_image(bytes(many))


def test_an_existing_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "image").write_text("mine")
    with pytest.raises(FileExistsError):
        make_image(str(linker()), str(SHIM), str(tmp_path / "image"))
    assert os.path.getsize(tmp_path / "image") == 4


class Session:
    """The linkers of a session, and what its engine is told of them."""

    def __init__(self, store: ObjectStore) -> None:
        self.substitution = ffi.new("struct pp_substitution *")
        self.linkers = Linkers(store, str(SHIM), self.substitution)

    def add(self, file: Path) -> list[Path]:
        """The images that the engine knows then."""
        with open(file, "rb") as opened:
            self.linkers.add(opened.fileno())
        known = range(self.substitution.linkers_count)
        files = [ffi.string(self.substitution.linkers[number].file) for number in known]
        return [Path(os.fsdecode(file)) for file in files]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return assembled(tmp_path, PADDED.format(64), "-Wl,--build-id=sha1")


def test_an_image_is_made_once(tmp_path: Path, library: Path) -> None:
    with ObjectStore(str(tmp_path / "cache")) as store:
        first = Session(store)
        (image,) = first.add(library)
        before = image.stat()
        assert first.add(library) == [image]
        assert Session(store).add(library) == [image]
        assert image.stat() == before


@pytest.mark.parametrize("damage", ["bit", "short", "empty"])
def test_a_damaged_image_is_made_anew(tmp_path: Path, library: Path, damage: str) -> None:
    with ObjectStore(str(tmp_path / "cache")) as store:
        (image,) = Session(store).add(library)
        whole = image.read_bytes()
        bad = bytearray(whole)
        bad[len(bad) // 2] ^= 1
        image.chmod(0o600)
        image.write_bytes({"bit": bytes(bad), "short": whole[:5000], "empty": b""}[damage])
        assert Session(store).add(library) == [image]
        assert image.read_bytes() == whole


def test_there_is_an_end_to_linkers(tmp_path: Path) -> None:
    with ObjectStore(str(tmp_path / "cache")) as store:
        session = Session(store)
        for number in range(lib.PP_LINKERS_MAX + 2):
            (tmp_path / f"{number}").mkdir()
            text = PADDED.format(64 + number)
            known = session.add(assembled(tmp_path / f"{number}", text, "-Wl,--build-id=sha1"))
        assert len(known) == lib.PP_LINKERS_MAX

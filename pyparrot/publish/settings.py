"""What is configured for a repository that is published from here.

Shape and names are CernVM-FS's own (``/etc/cvmfs``), below ``$XDG_CONFIG_HOME/pyparrot``:
``repositories.d/<fqrn>/server.conf`` holds ``NAME=value`` lines, ``keys/`` the keys.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
from collections.abc import Iterator
from typing import IO, NamedTuple

from pyparrot.config import shell
from pyparrot.config.fqrn import check_fqrn, config_directory
from pyparrot.errors import PyparrotError, naming
from pyparrot.sources.cvmfs.compression import Compression
from pyparrot.sources.cvmfs.hashes import Algorithm

__all__ = [
    "Settings",
    "check_fqrn",
    "claimed",
    "config_directory",
    "load",
    "save",
    "settings_file",
    "unfinished_file",
]


class Settings(NamedTuple):
    """How a repository is published.

    *root* is the directory that web servers show; sizes are in bytes, times in seconds, weights in
    entries of a catalog.
    """

    fqrn: str
    root: str
    algorithm: Algorithm = Algorithm.SHA1
    compression: Compression = Compression.ZLIB
    chunking: bool = True
    chunk_minimum: int = 4 << 20
    chunk_average: int = 8 << 20
    chunk_maximum: int = 16 << 20
    autocatalogs: bool = True
    autocatalogs_maximum: int = 200_000
    autocatalogs_minimum: int = 1_000
    xattrs: bool = True
    ttl: int = 240
    volatile: bool = False
    garbage_collection: bool = True
    auto_tag: bool = False

    @property
    def file(self) -> str:
        """Where these settings are kept."""
        return settings_file(self.fqrn)

    def encode(self) -> str:
        """The text of ``server.conf``."""
        temporary = os.path.join(self.root, "data", "txn")
        values = {
            "CVMFS_REPOSITORY_NAME": self.fqrn,
            "CVMFS_UPSTREAM_STORAGE": f"local,{temporary},{self.root}",
            "CVMFS_HASH_ALGORITHM": self.algorithm.name.lower(),
            "CVMFS_COMPRESSION_ALGORITHM": "none" if self.compression else "default",
            "CVMFS_USE_FILE_CHUNKING": _boolean(self.chunking),
            "CVMFS_MIN_CHUNK_SIZE": self.chunk_minimum,
            "CVMFS_AVG_CHUNK_SIZE": self.chunk_average,
            "CVMFS_MAX_CHUNK_SIZE": self.chunk_maximum,
            "CVMFS_AUTOCATALOGS": _boolean(self.autocatalogs),
            "CVMFS_AUTOCATALOGS_MAX_WEIGHT": self.autocatalogs_maximum,
            "CVMFS_AUTOCATALOGS_MIN_WEIGHT": self.autocatalogs_minimum,
            "CVMFS_INCLUDE_XATTRS": _boolean(self.xattrs),
            "CVMFS_REPOSITORY_TTL": self.ttl,
            "CVMFS_VOLATILE": _boolean(self.volatile),
            "CVMFS_GARBAGE_COLLECTION": _boolean(self.garbage_collection),
            "CVMFS_AUTO_TAG": _boolean(self.auto_tag),
        }
        return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())

    def check(self) -> Settings:
        """Raise if the values don't go together; else give them back."""
        if not 0 < self.chunk_minimum <= self.chunk_average <= self.chunk_maximum < 1 << 31:
            raise PyparrotError(
                self.fqrn, "chunk sizes must grow from minimum over average to maximum, below 2 GB"
            )
        if not 0 < self.autocatalogs_minimum < self.autocatalogs_maximum:
            raise PyparrotError(
                self.fqrn, "automatic catalogs need a maximum weight above their minimum"
            )
        if any(character in self.root for character in ",\n\r"):
            raise PyparrotError(self.root, "a storage path can't hold commas or line ends")
        return self


def settings_file(fqrn: str) -> str:
    """Where a repository's settings are kept."""
    return os.path.join(config_directory(), "repositories.d", fqrn, "server.conf")


def load(fqrn: str) -> Settings:
    """The settings of a repository that was made here; `PyparrotError` if there is none."""
    check_fqrn(fqrn)
    file = settings_file(fqrn)
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            values = _assignments(file, lines.read(shell.MAX_TEXT + 1))
    except FileNotFoundError:
        raise PyparrotError(
            fqrn, "no such repository here", f"pyparrot publish init {fqrn} --storage DIR"
        ) from None
    reader = _Reader(file, values)
    storage = reader.text("CVMFS_UPSTREAM_STORAGE").split(",")
    if len(storage) != 3 or storage[0] != "local" or not os.path.isabs(storage[2]):
        raise PyparrotError(file, "CVMFS_UPSTREAM_STORAGE must be local,TEMPORARY,DIRECTORY")
    if reader.text("CVMFS_REPOSITORY_NAME") != fqrn:
        raise PyparrotError(file, f"the settings of another repository, not of {fqrn}")
    default = Settings(fqrn, storage[2])
    return Settings(
        fqrn=fqrn,
        root=storage[2],
        algorithm=Algorithm.named(reader.text("CVMFS_HASH_ALGORITHM", "sha1")),
        compression=Compression.named(reader.text("CVMFS_COMPRESSION_ALGORITHM", "default")),
        chunking=reader.boolean("CVMFS_USE_FILE_CHUNKING", default.chunking),
        chunk_minimum=reader.number("CVMFS_MIN_CHUNK_SIZE", default.chunk_minimum),
        chunk_average=reader.number("CVMFS_AVG_CHUNK_SIZE", default.chunk_average),
        chunk_maximum=reader.number("CVMFS_MAX_CHUNK_SIZE", default.chunk_maximum),
        autocatalogs=reader.boolean("CVMFS_AUTOCATALOGS", default.autocatalogs),
        autocatalogs_maximum=reader.number(
            "CVMFS_AUTOCATALOGS_MAX_WEIGHT", default.autocatalogs_maximum
        ),
        autocatalogs_minimum=reader.number(
            "CVMFS_AUTOCATALOGS_MIN_WEIGHT", default.autocatalogs_minimum
        ),
        xattrs=reader.boolean("CVMFS_INCLUDE_XATTRS", default.xattrs),
        ttl=reader.number("CVMFS_REPOSITORY_TTL", default.ttl),
        volatile=reader.boolean("CVMFS_VOLATILE", default.volatile),
        garbage_collection=reader.boolean("CVMFS_GARBAGE_COLLECTION", default.garbage_collection),
        auto_tag=reader.boolean("CVMFS_AUTO_TAG", default.auto_tag),
    ).check()


@contextlib.contextmanager
def claimed(settings: Settings) -> Iterator[IO[bytes]]:
    """Be the only one who makes this repository, or raise.

    Gives the file where its settings are until it is made; it is not empty if this was begun
    before by a process that was killed.
    """
    file = unfinished_file(settings)
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    with open(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(claim.fileno()), os.stat(file)):
                raise FileNotFoundError
        except (BlockingIOError, FileNotFoundError):
            raise PyparrotError(
                settings.fqrn, "another process makes this repository", "wait until it has ended"
            ) from None
        yield claim


def unfinished_file(settings: Settings) -> str:
    """Where the settings of a repository are kept until it is made."""
    return settings.file + ".unfinished"


def save(settings: Settings, claim: IO[bytes]) -> None:
    """Write new settings to the file that `claimed` gives."""
    with naming(unfinished_file(settings)):
        claim.seek(0)
        claim.truncate()
        claim.write(os.fsencode(settings.encode()))
        claim.flush()
        os.fsync(claim.fileno())


class _Reader:
    """Typed access to the assignments of one file."""

    def __init__(self, file: str, values: dict[str, str]) -> None:
        self._file = file
        self._values = values

    def text(self, name: str, default: str = "") -> str:
        return self._values.get(name, default)

    def number(self, name: str, default: int) -> int:
        text = self.text(name, str(default))
        if not text.isdecimal() or len(text) > 18:
            raise PyparrotError(self._file, f"{name}={text}: not a number")
        return int(text)

    def boolean(self, name: str, default: bool) -> bool:
        text = self.text(name, _boolean(default)).lower()
        if text in ("yes", "on", "1", "true"):
            return True
        if text in ("no", "off", "0", "false", ""):
            return False
        raise PyparrotError(self._file, f"{name}={text}: neither yes nor no")


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _assignments(file: str, text: str) -> dict[str, str]:
    parsed = shell.parse(text, {}, file)
    for _, line, culprit, why in parsed.problems:
        raise PyparrotError(file, f"not understood: {culprit}", f"line {line}: {why}")
    return {name: value for name, value, _ in parsed.assignments}

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
from pyparrot.config.directories import config_directory
from pyparrot.config.fqrn import check_fqrn
from pyparrot.config.parameters import Parameters, Value
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
            server = _read(file, lines.read(shell.MAX_TEXT + 1))
    except FileNotFoundError:
        raise PyparrotError(
            fqrn, "no such repository here", f"pyparrot publish init {fqrn} --storage DIR"
        ) from None
    storage = (server.get("CVMFS_UPSTREAM_STORAGE") or "").split(",")
    if len(storage) != 3 or storage[0] != "local" or not os.path.isabs(storage[2]):
        raise PyparrotError(file, "CVMFS_UPSTREAM_STORAGE must be local,TEMPORARY,DIRECTORY")
    if server.get("CVMFS_REPOSITORY_NAME") != fqrn:
        raise PyparrotError(file, f"the settings of another repository, not of {fqrn}")
    default, weight = Settings(fqrn, storage[2]), "CVMFS_AUTOCATALOGS"
    return Settings(
        fqrn=fqrn,
        root=storage[2],
        algorithm=Algorithm.named(server.get("CVMFS_HASH_ALGORITHM") or "sha1"),
        compression=Compression.named(server.get("CVMFS_COMPRESSION_ALGORITHM") or "default"),
        chunking=server.boolean("CVMFS_USE_FILE_CHUNKING", default.chunking),
        chunk_minimum=_size(server, "CVMFS_MIN_CHUNK_SIZE", default.chunk_minimum),
        chunk_average=_size(server, "CVMFS_AVG_CHUNK_SIZE", default.chunk_average),
        chunk_maximum=_size(server, "CVMFS_MAX_CHUNK_SIZE", default.chunk_maximum),
        autocatalogs=server.boolean("CVMFS_AUTOCATALOGS", default.autocatalogs),
        autocatalogs_maximum=_size(server, f"{weight}_MAX_WEIGHT", default.autocatalogs_maximum),
        autocatalogs_minimum=_size(server, f"{weight}_MIN_WEIGHT", default.autocatalogs_minimum),
        xattrs=server.boolean("CVMFS_INCLUDE_XATTRS", default.xattrs),
        ttl=_size(server, "CVMFS_REPOSITORY_TTL", default.ttl),
        volatile=server.boolean("CVMFS_VOLATILE", default.volatile),
        garbage_collection=server.boolean("CVMFS_GARBAGE_COLLECTION", default.garbage_collection),
        auto_tag=server.boolean("CVMFS_AUTO_TAG", default.auto_tag),
    ).check()


@contextlib.contextmanager
def claimed(settings: Settings) -> Iterator[IO[bytes]]:
    """Be the only process that makes this repository, or raise.

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


def _size(server: Parameters, name: str, default: int) -> int:
    return server.number(name, default, minimum=0)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _read(file: str, text: str) -> Parameters:
    """The parameters that *text*, the content of *file*, sets; raises if some of it is unclear."""
    parsed = shell.parse(text, {}, file)
    for _, line, culprit, why in parsed.problems:
        raise PyparrotError(file, f"not understood: {culprit}", f"line {line}: {why}")
    return Parameters(
        {name: Value(value, f"{file}:{line}") for name, value, line in parsed.assignments}
    )

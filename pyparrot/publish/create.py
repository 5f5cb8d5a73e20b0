"""Makes a new repository: keys, whitelist, and a first revision that is empty."""

from __future__ import annotations

import os
import time
from typing import IO

from pyparrot.errors import PyparrotError
from pyparrot.publish import keys, settings, signed_files
from pyparrot.publish.catalogs import CatalogWriters, Revision
from pyparrot.publish.content import BodyStore
from pyparrot.publish.input import DIRECTORY_SIZE
from pyparrot.publish.repository import Publication, Root, StoredRepository
from pyparrot.publish.settings import Settings
from pyparrot.sources.cvmfs import manifest, reflog, whitelist
from pyparrot.sources.cvmfs.catalog_rows import DIRECTORY, CatalogEntry
from pyparrot.sources.cvmfs.hashes import Kind
from pyparrot.sources.cvmfs.manifest import Manifest
from pyparrot.sources.cvmfs.signature import Certificate

REPLICA_MARKER = ".cvmfs_master_replica"
_REPLICA_TEXT = b"Servers may make replicas (stratum 1) of this repository.\n"


def create(
    wanted: Settings,
    *,
    whitelist_days: int,
    certificate_days: int,
    master_key: str | None,
    metainfo: bytes,
) -> Manifest:
    """Make the repository that *wanted* describes; nothing that exists is overwritten.

    *master_key* is the file of a master key to use instead of a new one, *metainfo* the JSON text
    that tells about the repository.
    """
    settings.check_fqrn(wanted.fqrn)
    wanted.check()
    _check_absent(wanted)
    master = keys.load_master_key(master_key) if master_key else None
    files = keys.create(wanted.fqrn, certificate_days, master)
    with settings.claimed(wanted) as claim:
        try:
            _make(wanted, claim, files, whitelist_days, metainfo)
        except BaseException:
            os.unlink(settings.unfinished_file(wanted))
            raise
    return StoredRepository(wanted).manifest


def _check_absent(wanted: Settings) -> None:
    if os.path.lexists(wanted.file):
        raise PyparrotError(wanted.fqrn, "this repository exists already", wanted.file)


def _make(
    wanted: Settings,
    claim: IO[bytes],
    files: list[keys.KeyFile],
    whitelist_days: int,
    metainfo: bytes,
) -> None:
    """Keys, storage and a first manifest; with its settings in place the repository is made."""
    _check_absent(wanted)
    begun = claim.read()
    made = os.path.lexists(os.path.join(wanted.root, manifest.FILE_NAME))
    if not (made and begun == os.fsencode(wanted.encode())):
        if begun:
            # A process was killed here; the keys are its own, and signed nothing that is used.
            keys.remove(files)
        if made:
            raise PyparrotError(
                wanted.root, "there is a repository already", "choose other storage"
            )
        keys.check_absent(files)
        settings.save(wanted, claim)
        keys.save(files)
        try:
            _fill(wanted, whitelist_days, metainfo)
        except BaseException:
            keys.remove(files)
            raise
    os.rename(settings.unfinished_file(wanted), wanted.file)


def resign(fqrn: str, whitelist_days: int, new_certificate_days: int | None) -> None:
    """Sign the whitelist anew; with *new_certificate_days* also make a new certificate."""
    repository = StoredRepository.open(fqrn)
    signing = keys.load_signing_keys(fqrn)
    master = keys.load_master_pair(fqrn)
    algorithm = repository.settings.algorithm
    storage = repository.storage
    with storage.lock():
        current = repository.manifest
        if new_certificate_days is not None:
            signing = keys.renewed(signing, fqrn, new_certificate_days)

        def allow(*others: Certificate) -> None:
            signed = signed_files.sign_whitelist(
                fqrn, signing, master, whitelist_days, algorithm, *others
            )
            storage.replace_file(whitelist.FILE_NAME, signed)

        if current.certificate != repository.object_name(signing.pem):
            # Whatever a client gets while this goes on, the manifest's certificate is on the list.
            allow(signed_files.certificate_of(storage, current))
            if new_certificate_days is not None:
                keys.replace_certificate(fqrn, signing)
            Publication(repository, current, signing).commit()
        allow()


def _fill(wanted: Settings, whitelist_days: int, metainfo: bytes) -> None:
    repository = StoredRepository(wanted)
    storage = repository.storage
    storage.create()
    signing = keys.load_signing_keys(wanted.fqrn)
    master = keys.load_master_key(keys.key_file(wanted.fqrn, "masterkey"))
    with storage.lock():
        now = int(time.time())
        root = _empty_root(repository, now)
        file = storage.temporary_file()
        reflog.write(file, wanted.fqrn, [])
        os.replace(file, os.path.join(wanted.root, reflog.FILE_NAME))
        storage.replace_file(REPLICA_MARKER, _REPLICA_TEXT)
        storage.replace_file(
            whitelist.FILE_NAME,
            signed_files.sign_whitelist(
                wanted.fqrn, signing, master, whitelist_days, wanted.algorithm
            ),
        )
        first = Manifest(
            fqrn=wanted.fqrn,
            catalog=root.catalog,
            catalog_size=root.size,
            revision=root.revision,
            ttl=wanted.ttl,
            published=now,
            metainfo=repository.put(metainfo, Kind.METAINFO),
        )
        Publication(repository, first, signing).commit(tags=[])


def _empty_root(repository: StoredRepository, now: int) -> Root:
    """Store the catalog of a revision 1 that has nothing but its root directory."""
    entry = CatalogEntry(
        name=b"",
        flags=DIRECTORY,
        mode=0o040755,
        size=DIRECTORY_SIZE,
        mtime=now,
        mtime_ns=0,
        uid=os.geteuid(),
        gid=os.getegid(),
        hardlinks=2,
    )
    storage, wanted, first = repository.storage, repository.settings, Revision(1, now)
    with BodyStore(storage, wanted) as bodies:
        writers = CatalogWriters(storage, bodies, wanted, first, old=None)
        writer = writers.open(b"", None, known=False)
        writer.put(b"", entry)
        writer.release()
        bodies.finish()
    assert writers.root is not None
    return Root(writers.root.hash, writers.root.size, first.number)

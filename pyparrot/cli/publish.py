"""``pyparrot publish``: make repositories and keep them up to date."""

from __future__ import annotations

import argparse
import os
import sys
from typing import IO, TYPE_CHECKING, Callable

from pyparrot.cli import sentence
from pyparrot.errors import PyparrotError, printable

if TYPE_CHECKING:
    from pyparrot.publish.source import Owner
    from pyparrot.publish.sync import Options, Outcome

_EPILOG = """\
examples:
  pyparrot publish init sw.example.org --storage /srv/cvmfs
  pyparrot publish sync sw.example.org ./software --tag v1
  pyparrot publish ingest sw.example.org release.tar.gz --into /releases/2.0
  pyparrot publish check sw.example.org

files (below $XDG_CONFIG_HOME/pyparrot, by default ~/.config/pyparrot):
  repositories.d/FQRN/server.conf   how the repository is published
  keys/FQRN.masterkey               signs the whitelist; keep it safe, off the server if you can
  keys/FQRN.pub                     its public half: what clients need
  keys/FQRN.key, keys/FQRN.crt      sign every revision
"""


_LONGEST_DAYS = 36500
"""A hundred years: certificates can't name much later dates."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, summary, fill, run in _ACTIONS:
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        if name != "tag":
            action.add_argument("fqrn", metavar="FQRN", help="the repository's full name")
        fill(action)
        action.set_defaults(run=run)


# init


def _configure_init(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
The repository is put into DIR/FQRN. Its keys and settings go to ~/.config/pyparrot (see
pyparrot publish --help); the settings can be edited later.

example:
  pyparrot publish init sw.example.org --storage /srv/cvmfs --whitelist-days 365
"""
    add = parser.add_argument
    add("--storage", metavar="DIR", required=True, help="the directory of repositories")
    add("--hash", default="sha1", choices=("sha1", "rmd160", "shake128"), help="hash algorithm")
    add("--compression", default="zlib", choices=("zlib", "none"), help="of file bodies")
    add("--chunk-size", metavar="MIN:AVG:MAX", default="4:8:16", help="in MB (4:8:16)")
    add("--no-chunks", action="store_true", help="store large files whole")
    add("--no-autocatalogs", action="store_true", help="don't split large catalogs")
    add("--no-xattrs", action="store_true", help="leave extended attributes out")
    add("--no-gc", action="store_true", help="keep every revision for ever")
    add("--auto-tag", action="store_true", help="name every revision by its time")
    add("--volatile", action="store_true", help="clients shall evict this content first")
    add("--ttl", metavar="S", type=_number, default=240, help="seconds clients trust a revision")
    add("--whitelist-days", metavar="N", type=_days, default=30, help="until resign (30)")
    add("--certificate-days", metavar="N", type=_days, default=3650, help="(3650)")
    add("--master-key", metavar="FILE", help="use this master key instead of a new one")
    add("--metainfo", metavar="FILE", help="JSON text about the repository, for other sites")


def _init(arguments: argparse.Namespace) -> int:
    from pyparrot.publish import create, keys
    from pyparrot.publish.settings import Settings, check_fqrn
    from pyparrot.repository.cvmfs.compression import Compression
    from pyparrot.repository.cvmfs.hashes import Algorithm

    fqrn = arguments.fqrn
    check_fqrn(fqrn)
    minimum, average, maximum = _chunk_sizes(arguments.chunk_size)
    wanted = Settings(
        fqrn=fqrn,
        root=os.path.join(os.path.abspath(arguments.storage), fqrn),
        algorithm=Algorithm.named(arguments.hash),
        compression=Compression.named(arguments.compression),
        chunking=not arguments.no_chunks,
        chunk_minimum=minimum,
        chunk_average=average,
        chunk_maximum=maximum,
        autocatalogs=not arguments.no_autocatalogs,
        xattrs=not arguments.no_xattrs,
        ttl=arguments.ttl,
        volatile=arguments.volatile,
        garbage_collection=not arguments.no_gc,
        auto_tag=arguments.auto_tag,
    )
    create.create(
        wanted,
        whitelist_days=arguments.whitelist_days,
        certificate_days=arguments.certificate_days,
        master_key=arguments.master_key,
        metainfo=_metainfo(arguments.metainfo),
    )
    print(f"made {fqrn} in {printable(wanted.root)}")
    print(f"settings: {printable(wanted.file)}")
    print(f"public key, for clients: {printable(keys.key_file(fqrn, 'pub'))}")
    return 0


def _chunk_sizes(text: str) -> list[int]:
    parts = text.split(":")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise PyparrotError("--chunk-size", f"not MIN:AVG:MAX in MB: {text}", "such as 4:8:16")
    return [int(part) << 20 for part in parts]


def _metainfo(file: str | None) -> bytes:
    import json

    if file is None:
        return b"{}\n"
    with open(file, "rb") as stream:
        text = stream.read()
    try:
        json.loads(text)
    except ValueError as error:
        raise PyparrotError(file, f"not JSON: {error}") from None
    return text


# sync and ingest


def _configure_publication(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--owner", metavar="UID[:GID]", help="whom everything shall belong to (number or name)")
    add("--tag", metavar="NAME", help="name the new revision")
    add("-m", "--message", metavar="TEXT", default="", help="the tag's description")
    add("-q", "--quiet", action="store_true", help="no progress and no summary")


def _configure_sync(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
A file whose size, times, mode and owner are as published is taken to be unchanged, and not read.
A directory with a file .cvmfscatalog gets a catalog of its own, and so do those that match a rule
in .cvmfsdirtab at the top; large trees are split by themselves.

examples:
  pyparrot publish sync sw.example.org ./software
  pyparrot publish sync sw.example.org ./software --dry-run
  pyparrot publish sync sw.example.org ./software --owner 0:0 --tag v1 -m "first release"
"""
    parser.add_argument("source", metavar="SOURCE_DIR", help="the directory to publish")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would change")
    parser.add_argument("--checksum", action="store_true", help="read every file")
    _configure_publication(parser)


def _sync(arguments: argparse.Namespace) -> int:
    from pyparrot.progress import Progress
    from pyparrot.publish.sync import sync

    with Progress("publishing", "names", arguments.quiet) as progress:
        options = _options(arguments)._replace(
            distrust=arguments.checksum, dry_run=arguments.dry_run
        )
        outcome = sync(arguments.fqrn, os.fsencode(arguments.source), options, progress)
    if not arguments.quiet:
        _summarize(arguments.fqrn, outcome, arguments.dry_run)
    return 0


def _configure_ingest(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
The tar file (also .gz, .bz2 or .xz) is laid over what is published, as extracting it there would.

examples:
  pyparrot publish ingest sw.example.org release.tar.gz --into /releases/2.0
  docker export c1 | pyparrot publish ingest sw.example.org - --into /images/c1 --delete /images/c1
"""
    add = parser.add_argument
    add("archive", metavar="TARFILE", help="the tar file, - for standard input")
    add("--into", metavar="PATH", default="/", help="where in the repository (/)")
    add(
        "--delete",
        metavar="PATH",
        action="append",
        default=[],
        help="remove this from the repository before; may be repeated",
    )
    _configure_publication(parser)


def _ingest(arguments: argparse.Namespace) -> int:
    from pyparrot.progress import Progress
    from pyparrot.publish.sync import ingest

    name = arguments.archive
    with _archive(name) as stream, Progress("publishing", "names", arguments.quiet) as progress:
        outcome = ingest(
            arguments.fqrn,
            stream,
            "standard input" if name == "-" else name,
            os.fsencode(arguments.into),
            [os.fsencode(path) for path in arguments.delete],
            _options(arguments),
            progress,
        )
    if not arguments.quiet:
        _summarize(arguments.fqrn, outcome, False)
    return 0


def _archive(name: str) -> IO[bytes]:
    if name != "-":
        return open(name, "rb")
    if sys.stdin is None:
        raise PyparrotError("standard input", "it is closed")
    return sys.stdin.buffer


def _options(arguments: argparse.Namespace) -> Options:
    from pyparrot.publish.sync import Options

    return Options(owner=_owner(arguments.owner), tag=arguments.tag, message=arguments.message)


def _owner(text: str | None) -> Owner:
    from pyparrot.publish.source import Owner

    if text is None:
        return Owner()
    user, colon, group = text.partition(":")
    uid = _identity(user, "user") if user else None
    gid = _identity(group, "group") if colon and group else None
    return Owner(uid, gid)


def _identity(text: str, kind: str) -> int:
    import grp
    import pwd

    if text.isdecimal() and int(text) < 1 << 32:
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid if kind == "user" else grp.getgrnam(text).gr_gid
    except KeyError:
        raise PyparrotError("--owner", f"no such {kind}: {text}") from None


def _summarize(fqrn: str, outcome: Outcome, dry_run: bool) -> None:
    changes = outcome.changes
    counts = f"{changes.added} added, {changes.changed} changed, {changes.removed} removed"
    if dry_run:
        print(f"{fqrn}: would be {counts}")
    elif not outcome.published:
        print(f"{fqrn}: nothing has changed, revision {outcome.manifest.revision} stays")
    else:
        print(
            f"{fqrn}: revision {outcome.manifest.revision}: {counts};"
            f" {outcome.new_objects} new objects, {_size(outcome.new_bytes)}"
        )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.{0 if unit == 'bytes' else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"not a number: {text}")
    return int(text)


def _days(text: str) -> int:
    days = _number(text)
    if days > _LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f"more than {_LONGEST_DAYS} days")
    return days


# tags and revisions


def _configure_tag(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
examples:
  pyparrot publish tag add sw.example.org v1 -m "first release"
  pyparrot publish tag list sw.example.org
  pyparrot publish tag remove sw.example.org v1
"""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    adding = actions.add_parser("add", help="name a revision")
    adding.add_argument("fqrn", metavar="FQRN", help="the repository's full name")
    adding.add_argument("name", metavar="NAME", help="the tag's name")
    adding.add_argument("-m", "--message", metavar="TEXT", default="", help="its description")
    adding.add_argument(
        "--revision", metavar="N", type=_number, help="name this revision, not the current one"
    )
    adding.set_defaults(tag_run=_tag_add)
    listing = actions.add_parser("list", help="show the tags, newest first")
    listing.add_argument("fqrn", metavar="FQRN", help="the repository's full name")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(tag_run=_tag_list)
    removing = actions.add_parser("remove", help="remove tags")
    removing.add_argument("fqrn", metavar="FQRN", help="the repository's full name")
    removing.add_argument("names", metavar="NAME", nargs="+", help="the tags to remove")
    removing.set_defaults(tag_run=_tag_remove)


def _tag(arguments: argparse.Namespace) -> int:
    status: int = arguments.tag_run(arguments)
    return status


def _tag_add(arguments: argparse.Namespace) -> int:
    from pyparrot.publish import tags

    tag = tags.add(arguments.fqrn, arguments.name, arguments.message, arguments.revision)
    print(f"{arguments.fqrn}: {tag.name} is revision {tag.revision}")
    return 0


def _tag_list(arguments: argparse.Namespace) -> int:
    import json
    import time

    from pyparrot.publish.repository import Repository

    repository = Repository.open(arguments.fqrn)
    tags = repository.tags(repository.manifest)[::-1]
    if arguments.json:
        print(json.dumps([{**tag._asdict(), "catalog": str(tag.catalog)} for tag in tags]))
        return 0
    for tag in tags:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(tag.timestamp))
        line = f"{tag.revision:6}  {when}  {tag.name:20}  {printable(tag.description)}"
        print(line.rstrip())
    return 0


def _tag_remove(arguments: argparse.Namespace) -> int:
    from pyparrot.publish import tags

    tags.remove(arguments.fqrn, arguments.names)
    return 0


def _configure_rollback(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
The content of the tagged revision becomes a new revision. Tags of revisions after the tagged one
are removed, as CernVM-FS does it.

examples:
  pyparrot publish rollback sw.example.org          undo the last publication
  pyparrot publish rollback sw.example.org v1
"""
    parser.add_argument(
        "tag", metavar="TAG", nargs="?", default="trunk-previous", help="(trunk-previous)"
    )


def _rollback(arguments: argparse.Namespace) -> int:
    from pyparrot.publish import tags

    manifest, target, removed = tags.rollback(arguments.fqrn, arguments.tag)
    print(f"{arguments.fqrn}: revision {manifest.revision} is what revision {target.revision} was")
    if removed:
        print("removed tags: " + ", ".join(tag.name for tag in removed))
    return 0


def _configure_resign(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
examples:
  pyparrot publish resign sw.example.org --days 90
  pyparrot publish resign sw.example.org --new-certificate
"""
    add = parser.add_argument
    add("--days", metavar="N", type=_days, default=30, help="how long it is valid (30)")
    add("--new-certificate", action="store_true", help="make a new certificate for the same key")
    add("--certificate-days", metavar="N", type=_days, default=3650, help="(3650)")


def _resign(arguments: argparse.Namespace) -> int:
    from pyparrot.publish import create

    days = arguments.certificate_days if arguments.new_certificate else None
    create.resign(arguments.fqrn, arguments.days, days)
    print(f"{arguments.fqrn}: the whitelist is valid for {arguments.days} days")
    return 0


# looking after


def _configure_check(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
Exit status: 0 if all is well, 1 if something is wrong (a line for each fault on standard output).

example:
  pyparrot publish check sw.example.org
"""
    parser.add_argument("-q", "--quiet", action="store_true", help="only faults, no progress")
    parser.add_argument(
        "--current", action="store_true", help="only the current revision, not the tagged ones"
    )


def _check(arguments: argparse.Namespace) -> int:
    from pyparrot.progress import Progress
    from pyparrot.publish.check import check

    with Progress("checking", "objects", arguments.quiet) as progress:
        report = check(arguments.fqrn, arguments.current, progress)
    for fault in report.faults:
        print(printable(fault))
    if not arguments.quiet:
        print(
            f"{arguments.fqrn}: {report.revisions} revisions, {report.catalogs} catalogs,"
            f" {report.objects} objects, {_size(report.bytes)}: {len(report.faults)} faults"
        )
    return 1 if report.faults else 0


def _configure_gc(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
Kept are the current revision, the tagged ones (trunk-previous is a tag, too), and recent ones.

examples:
  pyparrot publish gc sw.example.org                    keep what is younger than three days
  pyparrot publish gc sw.example.org --keep-days 0      keep no untagged revision but the current
  pyparrot publish gc sw.example.org --dry-run
"""
    add = parser.add_argument
    add("--keep-days", metavar="N", type=_number, default=3, help="how young is recent (3)")
    add("--keep-revisions", metavar="N", type=_number, default=0, help="and the newest N")
    add("-n", "--dry-run", action="store_true", help="only say what would be removed")
    add("-q", "--quiet", action="store_true", help="no progress and no summary")


def _gc(arguments: argparse.Namespace) -> int:
    from pyparrot.progress import Progress
    from pyparrot.publish.gc import collect

    with Progress("collecting garbage", "objects", arguments.quiet) as progress:
        outcome = collect(
            arguments.fqrn,
            keep_days=arguments.keep_days,
            keep_revisions=arguments.keep_revisions,
            dry_run=arguments.dry_run,
            progress=progress,
        )
    if not arguments.quiet:
        done = "would remove" if arguments.dry_run else "removed"
        print(
            f"{arguments.fqrn}: kept {outcome.revisions} revisions and {outcome.kept} objects,"
            f" {done} {outcome.removed} objects, {_size(outcome.removed_bytes)}"
        )
    return 0


def _configure_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def _info(arguments: argparse.Namespace) -> int:
    import json

    from pyparrot.publish.info import describe

    facts = describe(arguments.fqrn)
    if arguments.json:
        print(json.dumps(facts))
        return 0
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):{width}}{printable(str(value))}")
    return 0


_Configure = Callable[[argparse.ArgumentParser], None]
_Run = Callable[[argparse.Namespace], int]

_ACTIONS: tuple[tuple[str, str, _Configure, _Run], ...] = (
    ("init", "make a new repository", _configure_init, _init),
    ("sync", "make the repository equal to a directory", _configure_sync, _sync),
    ("ingest", "add the content of a tar file", _configure_ingest, _ingest),
    ("tag", "name revisions", _configure_tag, _tag),
    ("rollback", "go back to an earlier revision", _configure_rollback, _rollback),
    ("resign", "sign the whitelist anew", _configure_resign, _resign),
    ("check", "verify all catalogs, objects and counters", _configure_check, _check),
    ("gc", "remove what no revision needs any more", _configure_gc, _gc),
    ("info", "show the repository's state", _configure_info, _info),
)

"""``pyparrot cache``: look after what is in the local cache."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Callable

from pyparrot.cli import _entry_facts, _output, _repositories, _repository_options, sentence
from pyparrot.cli._output import size_text
from pyparrot.errors import PyparrotError, printable

if TYPE_CHECKING:
    from pyparrot.cache.ledger import Record
    from pyparrot.cache.names import ObjectName
    from pyparrot.cache.store import ObjectStore
    from pyparrot.config import Configuration
    from pyparrot.progress import Progress
    from pyparrot.sources.cvmfs.prefetch import FetchSummary

_EPILOG = """\
The cache is ~/.cache/pyparrot ($XDG_CACHE_HOME/pyparrot), unless CVMFS_CACHE_DIR or --cache name
another directory. It may be used by any number of processes while it is looked after.

examples:
  pyparrot cache fetch /cvmfs/sw.example.org/releases/2.0
  pyparrot cache pin /cvmfs/sw.example.org/releases/2.0
  pyparrot cache clear
"""

_SHOWN_FAILURES = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    for name, summary, fill, run in _ACTIONS:
        action = actions.add_parser(name, help=summary, description=sentence(summary))
        fill(action)
        action.set_defaults(run=run)


def _open(arguments: argparse.Namespace) -> ObjectStore:
    """The cache that all repositories share, as it is configured."""
    from pyparrot.cache.directory import configured_quota
    from pyparrot.cache.store import ObjectStore

    configuration, directory = _configured(arguments)
    return ObjectStore(directory, configured_quota(configuration))


def _configured(arguments: argparse.Namespace) -> tuple[Configuration, str]:
    """What is configured for all repositories, and which directory is the cache."""
    from pyparrot.cache.directory import choose_directory
    from pyparrot.config import load, parse_options

    # What is configured for any repository, by a name that is none's.
    configuration = load("any.invalid", parse_options(arguments.options))
    return configuration, choose_directory(arguments.cache, configuration.get("CVMFS_CACHE_DIR"))


def _know_all_kinds() -> None:
    """Import all modules that put objects into a cache: they register what kinds there are."""
    import pyparrot.libc.copies
    import pyparrot.libc.linkers
    import pyparrot.sources.cvmfs.recheck
    import pyparrot.sources.directory  # noqa: F401


def _configure_store(parser: argparse.ArgumentParser) -> None:
    _repository_options.add_cache_option(parser)
    _repository_options.add_parameters(parser)


# info and list


def _configure_info(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
examples:
  pyparrot cache info
  pyparrot cache info --json --cache /scratch/cache | jq .bytes
"""
    parser.add_argument("--json", action="store_true", help="as JSON")
    _configure_store(parser)


def _info(arguments: argparse.Namespace) -> int:
    with _open(arguments) as store:
        records, pinned, other = store.records(), store.pins.all(), store.count_other()
    _know_all_kinds()
    counts = Counter(_kind_of(record.name) for record in records)
    sizes = {
        "bytes": sum(record.size for record in records),
        "other_bytes": other,
        "quota": store.quota,
        "pinned_bytes": sum(record.size for record in records if record.pinned),
    }
    held = [
        {
            **_entry_facts.named(os.fsencode(f"/cvmfs/{pin.repository}{pin.path}")),
            "revision": pin.revision,
            "objects": len(pin.objects),
        }
        for pin in pinned
    ]
    facts = {
        "directory": store.directory,
        "objects": len(records),
        "kinds": dict(sorted(counts.items())),
    }
    if arguments.json:
        _output.write_json({**facts, **sizes, "pins": held})
        return 0
    shown = {name: size_text(count) for name, count in sizes.items()}
    if not store.quota:
        shown["quota"] = "none"
    facts["kinds"] = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    _output.write_facts({**facts, **shown})
    for pin in held:
        print(f"pin: {printable(str(pin['path']))}, revision {pin['revision']}")
    return 0


def _kind_of(name: ObjectName) -> str:
    return "other" if name.kind is None else name.kind.plural


def _configure_list(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
Least recently used first: this is the order in which objects go when the cache is full.

examples:
  pyparrot cache list
  pyparrot cache list --json | jq 'map(.size) | add'
"""
    parser.add_argument("--json", action="store_true", help="as JSON")
    _configure_store(parser)


def _list(arguments: argparse.Namespace) -> int:
    with _open(arguments) as store:
        records = store.records()
    if arguments.json:
        _know_all_kinds()
        _output.write_json([{**r._asdict(), "kind": _kind_of(r.name)} for r in records])
        return 0
    width = max((len(str(record.size)) for record in records), default=0)
    for record in records:
        print(_line(record, width))
    return 0


def _line(record: Record, width: int) -> str:
    mark = "pinned" if record.pinned else "-"
    used = _output.time_text(record.used)
    return f"{record.size:{width}}  {used}  {mark:6}  {record.name}"


# verify and clear


def _configure_verify(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
Every object is hashed again; what does not have the content that its name says is removed, and
fetched again when it is next needed. So are views that programs have open: those that are not
links to objects have a checksum. What only a catalog can tell (index files, files that were put
together from chunks) goes, too, if its catalog is not in the cache. Copies of local files and of C
libraries have a checksum in their names.

Exit status: 0 if nothing was corrupt, 1 if something was (a line for each on standard output).

examples:
  pyparrot cache verify
  pyparrot cache verify --quiet || echo "something was corrupt"
"""
    parser.add_argument("-q", "--quiet", action="store_true", help="only faults, no progress")
    _configure_store(parser)


def _verify(arguments: argparse.Namespace) -> int:
    from pyparrot.cache.verify import verify
    from pyparrot.progress import Progress

    _know_all_kinds()
    with _open(arguments) as store, Progress("verifying", "objects", arguments.quiet) as progress:
        found = verify(store, progress)
        store.pins.settle()
    dropped = f", {len(found.doubtful)} dropped as nothing vouches for them"
    summary = (
        f"{store.directory}: {found.objects} objects, {size_text(found.bytes)}:"
        f" {len(found.faults)} corrupt{dropped if found.doubtful else ''}"
    )
    faults = [f"{fault.path}: {fault.why}, removed" for fault in found.faults]
    return _output.report_faults(faults, None if arguments.quiet else summary)


def _configure_clear(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
Files that programs have open stay readable for them.

examples:
  pyparrot cache clear
  pyparrot cache clear --all
"""
    parser.add_argument(
        "--all",
        action="store_true",
        help="pinned objects and pins, too, and caches that others could write to",
    )
    _configure_store(parser)


def _clear(arguments: argparse.Namespace) -> int:
    if arguments.all:
        from pyparrot.cache.directory import empty_if_exposed

        _, directory = _configured(arguments)
        if empty_if_exposed(directory):
            print(f"{directory}: removed everything, since others could write to it")
    with _open(arguments) as store:
        if arguments.all:
            store.pins.release_all()
        else:
            store.pins.settle()
        count, size = store.clear(arguments.all)
    print(f"{store.directory}: removed {count} objects, {size_text(size)}")
    return 0


# fetch, pin and unpin


def _configure_fetch(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"""\
{_repository_options.OPTIONS_EPILOG}
example:
  pyparrot cache fetch /cvmfs/sw.example.org/releases/2.0 /cvmfs/sw.example.org/setup.sh
"""
    parser.add_argument("-q", "--quiet", action="store_true", help="only failures, no progress")
    _repository_options.add_paths(parser)


def _fetch(arguments: argparse.Namespace) -> int:
    from pyparrot.sources.cvmfs.prefetch import prefetch

    return _get(
        arguments, lambda target, progress: prefetch(target.repository, [target.path], progress)
    )


def _configure_pin(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"""\
A pin fetches the files, and holds them as they are in this revision, with the catalogs on the way
there: they can be read without a network. Pin again to hold a newer revision instead.

{_repository_options.OPTIONS_EPILOG}
example:
  pyparrot cache pin /cvmfs/sw.example.org/releases/2.0
"""
    parser.add_argument("-q", "--quiet", action="store_true", help="only failures, no progress")
    _repository_options.add_paths(parser)


def _pin(arguments: argparse.Namespace) -> int:
    from pyparrot.sources.cvmfs.pins import pin

    return _get(arguments, lambda target, progress: pin(target.repository, target.path, progress))


def _get(
    arguments: argparse.Namespace,
    get: Callable[[_repositories.PathArgument, Progress], FetchSummary],
) -> int:
    from pyparrot.progress import Progress

    with _repositories.Repositories(arguments) as repositories:
        for target in repositories.path_arguments():
            begin = time.monotonic()
            with Progress("fetching", "files", arguments.quiet) as progress:
                outcome = get(target, progress)
            _report_failures(target, outcome)
            if outcome.failures:
                repositories.status = _repositories.EXIT_SOME_FAILED
            if outcome.fetched + outcome.there > target.repository.store.quota > 0:
                _output.warn(
                    f"{printable(target.shown)}: more than the cache's quota, which is"
                    f" {size_text(target.repository.store.quota)} (CVMFS_QUOTA_LIMIT)"
                )
            if not arguments.quiet and (outcome.files or not outcome.failures):
                print(_summary(target, outcome, time.monotonic() - begin))
        return repositories.status


def _summary(target: _repositories.PathArgument, outcome: FetchSummary, seconds: float) -> str:
    size = size_text
    return (
        f"{printable(target.shown)}: {outcome.files} files:"
        f" {size(outcome.fetched)} fetched, {size(outcome.there)} were there, {seconds:.1f} s"
    )


def _report_failures(target: _repositories.PathArgument, outcome: FetchSummary) -> None:
    mountpoint = b"/cvmfs/" + os.fsencode(target.repository.name)
    for path, error in outcome.failures[:_SHOWN_FAILURES]:
        print(f"pyparrot: {_repositories.describe(mountpoint + path, error)}", file=sys.stderr)
    more = len(outcome.failures) - _SHOWN_FAILURES
    if more > 0:
        print(f"pyparrot: {printable(target.shown)}: {more} more failures", file=sys.stderr)


def _configure_unpin(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
The files stay in the cache until there is need for their space. No network is needed.

example:
  pyparrot cache unpin /cvmfs/sw.example.org/releases/2.0
"""
    parser.add_argument("paths", metavar="PATH", nargs="+", help="as it was pinned")
    _configure_store(parser)


def _unpin(arguments: argparse.Namespace) -> int:
    from pyparrot.sources.cvmfs.pins import pinned_path

    status = 0
    with _open(arguments) as store:
        for path in arguments.paths:
            repository, inside = _repositories.split(os.fsencode(path))
            if not store.pins.release(repository, pinned_path(inside)):
                failure = PyparrotError(path, "not pinned", "pyparrot cache info lists the pins")
                print(f"pyparrot: {failure}", file=sys.stderr)
                status = _repositories.EXIT_SOME_FAILED
    return status


_Configure = Callable[[argparse.ArgumentParser], None]
_Run = Callable[[argparse.Namespace], int]

_ACTIONS: tuple[tuple[str, str, _Configure, _Run], ...] = (
    ("info", "show where the cache is, and what it holds", _configure_info, _info),
    ("list", "list all objects", _configure_list, _list),
    ("verify", "check that all objects are what they should be", _configure_verify, _verify),
    ("clear", "remove everything but what is pinned", _configure_clear, _clear),
    ("fetch", "fetch files and directories before they are needed", _configure_fetch, _fetch),
    ("pin", "fetch files and directories, and keep them", _configure_pin, _pin),
    ("unpin", "keep something no longer", _configure_unpin, _unpin),
)

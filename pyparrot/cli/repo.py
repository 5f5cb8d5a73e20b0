"""``pyparrot repo``: show and check a repository, from its servers."""

from __future__ import annotations

import argparse
from contextlib import closing

from pyparrot.cli import _output, _repositories, _repository_options, sentence
from pyparrot.cli._output import size_text
from pyparrot.errors import printable

_EPILOG = """\
examples:
  pyparrot repo info sw.example.org
  pyparrot repo info --server http://127.0.0.1:8000/cvmfs/@fqrn@ --key sw.pub sw.example.org
  pyparrot repo check sw.example.org
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    summary = "show a repository's revision, tags, sizes, servers and proxy"
    info = actions.add_parser("info", help=summary, description=sentence(summary))
    info.epilog = """\
The servers are asked, even if the TTL of the revision that the cache knows has not passed. Sizes
are those of the whole revision.

examples:
  pyparrot repo info sw.example.org
  pyparrot repo info --json sw.example.org | jq -r '.tags[].name'
"""
    _repository_options.add_fqrn(info)
    info.add_argument("--json", action="store_true", help="as JSON")
    _repository_options.add_options(info)
    info.set_defaults(run=_info, refresh=True)
    summary = "fetch and verify all catalogs and objects of a revision"
    check = actions.add_parser("check", help=summary, description=sentence(summary))
    check.epilog = """\
Everything comes from the server: signatures, catalogs, objects. The cache is neither asked nor
filled; catalogs are unpacked in the directory for temporary files ($TMPDIR).

Exit status: 0 if all is well, 1 if something is wrong (a line for each fault on standard output),
125 if the repository can't be opened.

examples:
  pyparrot repo check sw.example.org
  pyparrot repo check --catalogs-only --tag v1 sw.example.org
"""
    _repository_options.add_fqrn(check)
    check.add_argument("-q", "--quiet", action="store_true", help="only faults, no progress")
    check.add_argument("--catalogs-only", action="store_true", help="no objects of files")
    _repository_options.add_options(check)
    check.set_defaults(run=_check, refresh=True)


def _info(arguments: argparse.Namespace) -> int:
    with closing(_repositories.open_one(arguments, arguments.fqrn)) as repository:
        told = len(repository.warnings)
        facts = repository.describe()
        tags = [{**tag._asdict(), "catalog": str(tag.catalog)} for tag in repository.tags()]
        for warning in repository.warnings[told:]:
            _output.warn(warning)
    if arguments.json:
        _output.write_json({**facts, "tags": tags})
        return 0
    for name in facts:
        if name.startswith(("size", "root_size")):
            facts[name] = size_text(facts[name])
        elif isinstance(facts[name], list):
            facts[name] = " ".join(facts[name])
    facts["published"] = _output.time_text(facts["published"]) if facts["published"] else "?"
    facts["ttl"] = f"{facts['ttl']} s"
    _output.write_facts(facts)
    for tag in reversed(tags):
        when = _output.time_text(tag["timestamp"])
        text = printable(f"{tag['name']:20}  {tag['description']}")
        print(f"tag: {tag['revision']:6}  {when}  {text}".rstrip())
    return 0


def _check(arguments: argparse.Namespace) -> int:
    import tempfile

    from pyparrot.progress import Progress
    from pyparrot.sources.cvmfs.verify import verify

    # With a cache of its own, and empty, everything has to come from the server.
    with (
        tempfile.TemporaryDirectory(prefix="pyparrot-check-") as cache,
        closing(_repositories.open_one(arguments, arguments.fqrn, cache)) as repository,
    ):
        with Progress("checking", "objects", arguments.quiet) as progress:
            report = verify(repository, arguments.catalogs_only, progress)
        revision = repository.lookup("/").holder.revision
    if report.unchecked:
        _output.warn(
            f"{arguments.fqrn}: {report.unchecked} external files not checked:"
            " no CVMFS_EXTERNAL_URL is configured"
        )
    summary = (
        f"{arguments.fqrn}: revision {revision}: {report.catalogs} catalogs,"
        f" {report.objects} objects, {size_text(report.bytes)}: {len(report.faults)} faults"
    )
    return _output.report_faults(report.faults, None if arguments.quiet else summary)

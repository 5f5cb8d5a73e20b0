"""What publishing commands share: numbers, the options of a publication, and its summary."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyparrot.cli._output import size_text
from pyparrot.errors import PyparrotError

if TYPE_CHECKING:
    from pyparrot.publish.input import Owner
    from pyparrot.publish.sync import PublicationOptions, Published

_LONGEST_DAYS = 36500
"""A hundred years: certificates can't name much later dates."""


def number(text: str) -> int:
    """A whole number, not negative."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"not a number: {text}")
    return int(text)


def days(text: str) -> int:
    """For how many days something is to be valid."""
    count = number(text)
    if count > _LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f"more than {_LONGEST_DAYS} days")
    return count


def add_publication(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``sync`` and ``ingest`` share."""
    add = parser.add_argument
    add("--owner", metavar="UID[:GID]", help="the owner of everything (number or name)")
    add("--tag", metavar="NAME", help="name the new revision")
    add("-m", "--message", metavar="TEXT", default="", help="the tag's description")
    add("-q", "--quiet", action="store_true", help="no progress and no summary")


def publication_options(arguments: argparse.Namespace) -> PublicationOptions:
    """How to publish, as the options of `add_publication` say it."""
    from pyparrot.publish.sync import PublicationOptions

    return PublicationOptions(
        owner=_owner(arguments.owner), tag=arguments.tag, message=arguments.message
    )


def _owner(text: str | None) -> Owner:
    from pyparrot.publish.input import Owner

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


def print_summary(fqrn: str, outcome: Published, dry_run: bool) -> None:
    """Print what was published, or would be."""
    changes = outcome.changes
    counts = f"{changes.added} added, {changes.changed} changed, {changes.removed} removed"
    if dry_run:
        print(f"{fqrn}: would be {counts}")
    elif not outcome.published:
        print(f"{fqrn}: nothing has changed, revision {outcome.manifest.revision} stays")
    else:
        print(
            f"{fqrn}: revision {outcome.manifest.revision}: {counts};"
            f" {outcome.new_objects} new objects, {size_text(outcome.new_bytes)}"
        )

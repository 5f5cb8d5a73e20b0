"""Numbers, as publishing commands read them."""

from __future__ import annotations

import argparse

_LONGEST_DAYS = 36500
"""A hundred years: certificates can't name much later dates."""


def number(text: str) -> int:
    """A whole number, not negative."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"not a number: {text}")
    return int(text)


def days(text: str) -> int:
    """How many days something shall be valid."""
    count = number(text)
    if count > _LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f"more than {_LONGEST_DAYS} days")
    return count

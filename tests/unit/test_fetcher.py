"""What programs are told of a failure to get what their call needs."""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn

import pytest

from pyparrot.core import lib
from pyparrot.run.fetcher import Fetcher

NOTHING: Any = None
FILE = "/cache/objects/aa/bb"


def fetch(error: Exception) -> tuple[int | None, list[str]]:
    """The errno that a program gets for *error*, and the lines that the user gets."""
    lines: list[str] = []
    fetcher = Fetcher(NOTHING, NOTHING, NOTHING, lines.append, NOTHING)

    def fail(call: object) -> NoReturn:
        raise error

    fetcher._needs = {lib.PP_NEEDS_VIEW: fail}
    try:
        fetcher.fetch(NOTHING, lib.PP_NEEDS_VIEW)
    except OSError as raised:
        return raised.errno, lines
    pytest.fail("nothing is raised")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE])
def test_what_concerns_a_file_system_is_told(code: int) -> None:
    assert fetch(OSError(code, os.strerror(code), FILE)) == (
        code,
        [f"{FILE}: {os.strerror(code)}"],
    )


@pytest.mark.parametrize(
    "code", [errno.ENOENT, errno.ENOTDIR, errno.EMFILE, errno.ENOMEM, errno.EFBIG, errno.EINTR]
)
def test_what_a_program_would_take_for_its_own_is_not(code: int) -> None:
    """For readdir ENOENT even means that there is nothing more to be listed."""
    assert fetch(OSError(code, os.strerror(code), os.fsencode(FILE))) == (
        errno.EIO,
        [f"{FILE}: {os.strerror(code)}"],
    )


def test_other_failures_are_errors_of_input_and_output() -> None:
    assert fetch(MemoryError())[0] == errno.EIO
    assert fetch(KeyError("x")) == (errno.EIO, ["internal error: KeyError: 'x'"])

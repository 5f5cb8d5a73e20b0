"""What is imported late, because start-up has to be short."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

pytestmark = pytest.mark.cost

# Each takes longer to import than a warm run takes to start its command.
SLOW = (
    "capstone",
    "cryptography",
    "diskcache",
    "http.client",
    "requests",
    "sqlite3",
    "ssl",
    "urllib3",
)


def imported_by(code: str, *arguments: str, slow: tuple[str, ...] = SLOW) -> list[str]:
    """Those of *slow* that are loaded when *code* has run."""
    show = f"\nprint([name for name in {slow!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + code + show, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
        text=True,
    )
    names: list[str] = ast.literal_eval(done.stderr)
    return names


def test_a_transport_that_fetches_nothing_does_not_import_requests() -> None:
    code = "from pyparrot.transport import *\nTransport(['http://a'], ProxyGroups.direct()).close()"
    assert imported_by(code) == []


@pytest.mark.parametrize("words", [["--version"], ["run", "--help"], ["publish", "--help"]])
def test_help_imports_nothing_slow(words: list[str]) -> None:
    code = f"from pyparrot.cli import main\nassert main({words!r}) == 0"
    assert imported_by(code) == []


def test_what_is_used_is_seen() -> None:
    """That the other tests can fail."""
    assert imported_by("import sqlite3, ssl") == ["sqlite3", "ssl"]


def test_options_are_read_without_looking_at_the_terminal() -> None:
    """`argparse` imports `shutil` for the terminal's width, and with it all packers."""
    code = "from pyparrot.cli import new_parser\nnew_parser(['run']).parse_args(['run', 'true'])"
    # An interpreter of another place may have loaded some of them by itself.
    before = imported_by("", slow=("shutil", "bz2", "lzma"))
    assert imported_by(code, slow=("shutil", "bz2", "lzma")) == before

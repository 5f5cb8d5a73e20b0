"""The options that say where to read from, as parameters."""

from __future__ import annotations

import os

import pytest

from pyparrot.cli import new_parser
from pyparrot.cli._repository_options import given_parameters
from pyparrot.errors import PyparrotError


def parameters(*words: str) -> dict[str, str]:
    arguments = new_parser(["ls"]).parse_args(["ls", *words, "/cvmfs/sw.example.org"])
    return given_parameters(arguments)


def test_nothing_is_set_by_nothing() -> None:
    assert parameters() == {}


def test_each_option_sets_its_parameter() -> None:
    assert parameters("--server", "http://a", "--proxy", "DIRECT", "-o", "CVMFS_TIMEOUT=2") == {
        "CVMFS_SERVER_URL": "http://a",
        "CVMFS_HTTP_PROXY": "DIRECT",
        "CVMFS_TIMEOUT": "2",
    }


def test_a_named_option_overrides_a_parameter() -> None:
    words = ("--server", "http://a", "-o", "CVMFS_SERVER_URL=http://b")
    assert parameters(*words) == {"CVMFS_SERVER_URL": "http://a"}


def test_keys_stay_the_same_in_another_directory() -> None:
    here = os.getcwd()
    assert parameters("--key", "a.pub:/b.pub:") == {"CVMFS_PUBLIC_KEY": f"{here}/a.pub:/b.pub"}


def test_what_is_no_parameter_is_refused() -> None:
    with pytest.raises(PyparrotError, match="not NAME=VALUE"):
        parameters("-o", "CVMFS_TIMEOUT")

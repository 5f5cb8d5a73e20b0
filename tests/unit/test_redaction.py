"""Passwords and tokens in URLs are shown nowhere: of URLs, only what tells servers apart."""

from __future__ import annotations

import pytest

from pyparrot.errors import PyparrotError, printable, redacted, redacted_list

URLS = {
    "http://user:secret@host/path": "http://host/path",
    "http://secret@host:80/": "http://host:80/",
    "https://user:sec%72et@[::1]:8000/x": "https://[::1]:8000/x",
    "http://user:se@secret@host/x": "http://host/x",
    "http://user:secret/slash@host/x": "http://host/x",
    "http://user:secret?mark@host/x": "http://host/x",
    "http://user:secret#mark@host": "http://host",
    "http://host/x?token=secret": "http://host/x?...",
    "http://host/x?a=b&token=secret#secret": "http://host/x?...",
    "http://host/x#secret": "http://host/x#...",
    "htp://user:secret@host": "htp://host",
    "cvmfs+http://user:secret@host/cvmfs/sw": "cvmfs+http://host/cvmfs/sw",
    "http://host/cvmfs/@fqrn@": "http://host/cvmfs/@fqrn@",
    "http://host:8000/cvmfs/@fqrn@": "http://host:8000/cvmfs/@fqrn@",
    "http://[::1]:8000/cvmfs/@fqrn@": "http://[::1]:8000/cvmfs/@fqrn@",
    "http://user:secret@host/cvmfs/@fqrn@": "http://host/cvmfs/@fqrn@",
    "http://u:secret@a/x;http://u:secret@b/y|http://c": "http://a/x;http://b/y|http://c",
    "proxy http://u:secret@p:1: refused": "proxy http://p:1: refused",
    "Failed to parse: 'http://u:secret@'": "Failed to parse: 'http://'",
    "nothing at all": "nothing at all",
    "name@example.org": "name@example.org",
}


@pytest.mark.parametrize("text", URLS)
def test_urls(text: str) -> None:
    assert redacted(text) == URLS[text]
    assert printable(text) == printable(text.encode()) == URLS[text]
    assert "secret" not in str(PyparrotError(text, text, text))


LISTS = {
    "user:secret@proxy:3128": "proxy:3128",
    "secret@proxy:3128|u:secret@[::1]:1;DIRECT": "proxy:3128|[::1]:1;DIRECT",
    "http://u:secret@p:1|q:2": "http://p:1|q:2",
    " u:secret@a ; u:secret@b": " a ; b",
    "u:secret/slash@a": "a",
    "/a/path@host": "/a/path@host",
    "http://host/@fqrn@;http://b/@fqrn@": "http://host/@fqrn@;http://b/@fqrn@",
}


@pytest.mark.parametrize("text", LISTS)
def test_lists(text: str) -> None:
    assert redacted_list(text) == LISTS[text]

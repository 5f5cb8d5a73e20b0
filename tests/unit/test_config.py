"""Configuration: the order of its sources, typed values, master keys, and what is built in."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support import run_pyparrot

from pyparrot.config import Configuration, defaults, load, parse_options
from pyparrot.errors import PyparrotError

FQRN = "sw.example.org"
DOMAINS = ("cern.ch", "egi.eu", "opensciencegrid.org")


class Site:
    """A machine's and a user's directory, and an environment."""

    def __init__(self, root: Path) -> None:
        self.etc = root / "etc"
        self.user = root / "config-home" / "pyparrot"
        self.environ = {"XDG_CONFIG_HOME": str(root / "config-home")}

    def write(self, path: str, text: str = "") -> str:
        """Write ``etc/...`` or ``user/...``."""
        directory, _, name = path.partition("/")
        file = (self.etc if directory == "etc" else self.user) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, errors="surrogateescape")
        return str(file)

    def load(self, fqrn: str = FQRN, **options: str) -> Configuration:
        return load(fqrn, options, self.environ, str(self.etc))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_later_sources_win(site: Site) -> None:
    files = [
        f"{directory}/{name}"
        for directory in ("etc", "user")
        for name in (
            "default.conf",
            "default.d/10-a.conf",
            "default.d/20-b.conf",
            "default.local",
            "domain.d/example.org.conf",
            "domain.d/example.org.local",
            "config.d/sw.example.org.conf",
            "config.d/sw.example.org.local",
        )
    ]
    for name in files:
        written = site.write(name, f"\nCVMFS_TIMEOUT='{name}'\nCVMFS_SEEN=$CVMFS_SEEN:{name}\n")
        assert site.load().get("CVMFS_TIMEOUT") == name
        assert site.load().origin("CVMFS_TIMEOUT") == f"{written}:2"
    assert site.load().list("CVMFS_SEEN", ":") == tuple(files)
    site.environ["CVMFS_TIMEOUT"] = "environment"
    assert site.load().origin("CVMFS_TIMEOUT") == "environment"
    assert site.load(CVMFS_TIMEOUT="7").origin("CVMFS_TIMEOUT") == "option"
    assert site.load(CVMFS_TIMEOUT="7").number("CVMFS_TIMEOUT", 0) == 7


def test_files_of_others_do_not_count(site: Site) -> None:
    for name in (
        "default.d/a.conf.rpmsave",
        "default.d/.hidden.conf",
        "domain.d/org.conf",
        "domain.d/sw.example.org.conf",
        "config.d/other.example.org.conf",
        "config.d/example.org.local",
    ):
        site.write(f"etc/{name}", "CVMFS_X=1")
    assert site.load().get("CVMFS_X") is None


def test_names_are_put_in_everywhere(site: Site) -> None:
    site.environ["CVMFS_A"] = "@fqrn@"
    site.write("etc/default.local", "CVMFS_B=x/@fqrn@/@org@ CVMFS_C=@other@")
    configuration = site.load(CVMFS_D="@org@@org@")
    assert [configuration.get(f"CVMFS_{name}") for name in "ABCD"] == [
        "sw.example.org",
        "x/sw.example.org/sw",
        "@other@",
        "swsw",
    ]


def test_files_refer_to_files_then_environment_then_defaults(site: Site) -> None:
    site.environ.update(SITE="T2", CVMFS_TIMEOUT="9", UNRELATED="x")
    site.write("etc/default.conf", "CVMFS_MINE=a")
    site.write("etc/default.local", "CVMFS_ALL=$CVMFS_MINE,$SITE,$CVMFS_TIMEOUT,$CVMFS_BACKOFF_MAX")
    configuration = site.load()
    assert configuration.get("CVMFS_ALL") == "a,T2,9,10"
    assert configuration.get("UNRELATED") is None


def test_the_shape_of_the_packaged_files_is_understood(site: Site) -> None:
    site.write(
        "etc/default.conf",
        """\
CVMFS_KEYS_DIR=/etc/cvmfs/keys
if [ "x$CVMFS_BASE_ENV" = "x" ]; then
  readonly CVMFS_USER=cvmfs
  readonly CVMFS_BASE_ENV=1
fi
""",
    )
    site.write("etc/default.d/50-cern.conf", "CVMFS_CONFIG_REPO_DEFAULT_ENV=\n")
    site.write(
        "etc/domain.d/cern.ch.conf",
        """\
if [ "$CVMFS_CONFIG_REPO_DEFAULT_ENV" != "" ]; then
  return
fi
if [ "$CVMFS_USE_CDN" = "yes" ]; then
  CVMFS_SERVER_URL="http://cdn/@fqrn@"
else
  CVMFS_SERVER_URL="http://one/@fqrn@;http://two/@fqrn@"
fi
CVMFS_KEYS_DIR=/etc/cvmfs/keys/cern.ch
""",
    )
    site.write("etc/config.d/sft.cern.ch.conf", "export CMS_LOCAL_SITE=${CMS_LOCAL_SITE:-T3}\n")
    configuration = site.load("sft.cern.ch")
    assert configuration.problems == ()
    assert configuration.list("CVMFS_SERVER_URL", ";") == (
        "http://one/sft.cern.ch",
        "http://two/sft.cern.ch",
    )
    assert configuration.get("CVMFS_USER") == "cvmfs"
    assert configuration.get("CMS_LOCAL_SITE") == "T3"
    site.environ["CVMFS_USE_CDN"] = "yes"
    assert site.load("sft.cern.ch").get("CVMFS_SERVER_URL") == "http://cdn/sft.cern.ch"


def test_problems_do_not_stop_the_reading(site: Site) -> None:
    good = site.write("etc/default.conf", "CVMFS_A=1\nCVMFS_B=$(date)\nCVMFS_C=3\n")
    (site.etc / "default.local").mkdir()
    site.write("user/default.local", "CVMFS_D=\udcff\n")
    site.write("user/default.conf", "#" * ((1 << 20) + 1))
    configuration = site.load()
    assert [configuration.get(f"CVMFS_{name}") for name in "ABCD"] == ["1", None, "3", "\udcff"]
    assert [str(problem) for problem in configuration.problems] == [
        f"{good}:2: not understood: CVMFS_B=$(date) (the output of a command)",
        f"{site.etc}/default.local: Is a directory",
        f"{site.user}/default.conf: not read: larger than 1 MiB",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_are_problems(site: Site) -> None:
    os.chmod(site.write("etc/default.local", "CVMFS_A=1"), 0)
    os.mkdir(site.etc / "default.d", 0)
    assert {str(problem) for problem in site.load().problems} == {
        f"{site.etc}/default.local: Permission denied",
        f"{site.etc}/default.d: Permission denied",
    }


def test_a_pipe_does_not_stop_us(site: Site) -> None:
    site.etc.mkdir()
    os.mkfifo(site.etc / "default.local")
    assert site.load().problems == ()
    assert stat.S_ISFIFO(os.stat(site.etc / "default.local").st_mode)


@pytest.mark.parametrize(
    "fqrn", ["", "example", "Sw.example.org", "../etc.passwd", "a..b", "a/b.c"]
)
def test_names_are_checked(fqrn: str) -> None:
    with pytest.raises(PyparrotError, match="not a repository name"):
        load(fqrn)


# Typed values


@pytest.mark.parametrize("text", ["yes", "on", "1", "true", "YES", "True"])
def test_true(site: Site, text: str) -> None:
    assert site.load(X=text).boolean("X", False)


@pytest.mark.parametrize("text", ["no", "off", "0", "false", "NO", ""])
def test_false(site: Site, text: str) -> None:
    assert not site.load(X=text).boolean("X", True)


def test_what_is_empty_has_its_default(site: Site) -> None:
    configuration = site.load(X="")
    assert configuration.boolean("NOT_SET", True)
    assert configuration.number("X", 5) == 5
    assert configuration.number("NOT_SET", 5) == 5
    assert configuration.get("X", "default") == ""
    assert configuration.get("NOT_SET", "default") == "default"
    assert configuration.list("X", ";") == ()
    assert configuration.origin("NOT_SET") == ""


def test_bad_values_are_one_line_that_names_the_origin(site: Site) -> None:
    file = site.write("etc/default.local", "X=maybe\nY=1.5\nZ=-1\n")
    configuration = site.load()
    assert configuration.number("Z", 0) == -1
    with pytest.raises(PyparrotError) as error:
        configuration.boolean("X", False)
    assert str(error.value) == f"{file}:1: X=maybe: neither yes nor no"
    with pytest.raises(PyparrotError) as error:
        configuration.number("Y", 0)
    assert str(error.value) == f"{file}:2: Y=1.5: not a whole number"
    with pytest.raises(PyparrotError, match=r":3: Z=-1: less than 0$"):
        configuration.number("Z", 0, minimum=0)
    with pytest.raises(PyparrotError, match=r"^option: W=9: more than 8$"):
        site.load(W="9").number("W", 0, maximum=8)
    for text in ("\u0663", "1e3", " 1", "--1", "9" * 19):
        with pytest.raises(PyparrotError, match="not a whole number"):
            site.load(W=text).number("W", 0)


def test_lists(site: Site) -> None:
    assert site.load(X=" a ;; b;").list("X", ";") == ("a", "b")


def test_options_are_checked() -> None:
    assert parse_options(["A=1", "B=", "A=x=y"]) == {"A": "x=y", "B": ""}
    for word in ("A", "=1", "A-B=1", "\u00e9=1", ""):
        with pytest.raises(PyparrotError, match="not NAME=VALUE"):
            parse_options([word])


# Master keys


def test_public_key_wins(site: Site) -> None:
    site.write(f"user/keys/{FQRN}.pub")
    site.environ["CVMFS_KEYS_DIR"] = str(site.user / "keys")
    assert site.load(CVMFS_PUBLIC_KEY="/a.pub:/b.pub").key_files() == ("/a.pub", "/b.pub")


def test_a_repositorys_own_key_is_the_only_one(site: Site) -> None:
    site.write("etc/default.conf", f"CVMFS_KEYS_DIR={site.etc}/keys")
    site.write("etc/domain.d/example.org.conf", f"CVMFS_KEYS_DIR={site.etc}/keys/example.org")
    site.write("user/keys/other.example.org.pub")
    domain = site.write("etc/keys/example.org/domain.pub")
    assert site.load().key_files() == (domain,)
    machine = site.write(f"etc/keys/{FQRN}.pub")
    assert site.load().key_files() == (machine,)
    user = site.write(f"user/keys/{FQRN}.pub")
    assert site.load().key_files() == (user,)
    assert site.load(CVMFS_KEYS_DIR=str(site.etc / "keys" / "example.org")).key_files() == (domain,)
    assert site.load(CVMFS_KEYS_DIR=str(site.etc / "none")).key_files() == ()


def test_the_usual_places(site: Site) -> None:
    found = [
        site.write(f"{place}/{name}.pub")
        for place in ("etc/keys/cern.ch", "etc/keys", "user/keys/cern.ch", "user/keys")
        for name in ("a", "b")
    ]
    site.write("etc/keys/a.crt")
    site.write("etc/keys/egi.eu/c.pub")
    assert site.load("sft.cern.ch").key_files() == (*found, *defaults.keys("cern.ch"))
    site.write("etc/default.conf", f"CVMFS_KEYS_DIR={site.etc}/keys")
    assert site.load("sft.cern.ch").key_files() == (*found, *defaults.keys("cern.ch"))
    site.write("etc/default.conf", "CVMFS_KEYS_DIR=/not/mounted")
    assert site.load("sft.cern.ch").key_files() == (*found, *defaults.keys("cern.ch"))


# What is built in


@pytest.mark.parametrize("domain", DOMAINS)
def test_built_in_domains_need_no_files(site: Site, domain: str) -> None:
    configuration = site.load(f"repo.{domain}")
    servers = configuration.list("CVMFS_SERVER_URL", ";")
    assert len(set(servers)) == len(servers) >= 4
    assert all(
        url.startswith("http://") and url.endswith(f"/cvmfs/repo.{domain}") for url in servers
    )
    assert configuration.key_files() == tuple(defaults.keys(domain))
    assert configuration.boolean("CVMFS_USE_GEOAPI", False)
    assert configuration.get("CVMFS_HTTP_PROXY") == "DIRECT"
    assert {configuration.origin(name) for name, _ in configuration.items()} == {"built-in"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_built_in_keys_are_rsa_keys(domain: str) -> None:
    from pyparrot.sources.cvmfs.signature import load_public_key

    keys = [load_public_key(Path(file).read_bytes()) for file in defaults.keys(domain)]
    assert keys
    assert all(key.key_size == 2048 for key in keys)


def test_built_in_keys_are_for_their_own_domain(site: Site) -> None:
    assert site.load("repo.example.org").key_files() == ()
    assert site.load("repo.sub.cern.ch").key_files() == ()
    assert site.load("repo.example.org").get("CVMFS_SERVER_URL") is None


def test_the_content_network_replaces_only_what_is_built_in(site: Site) -> None:
    url = site.load("sft.cern.ch", CVMFS_USE_CDN="yes").get("CVMFS_SERVER_URL")
    assert url is not None
    assert "openhtc.io" in url
    site.write("user/default.local", "CVMFS_SERVER_URL=http://mine/@fqrn@")
    mine = site.load("sft.cern.ch", CVMFS_USE_CDN="yes").get("CVMFS_SERVER_URL")
    assert mine == "http://mine/sft.cern.ch"


@pytest.mark.cost
def test_importing_is_cheap() -> None:
    code = "import sys, pyparrot.config; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"requests", "cryptography", "sqlite3", "urllib3"} & set(loaded)


# The command


def test_show(config_home: Path) -> None:
    file = config_home / "pyparrot" / "default.local"
    file.parent.mkdir()
    file.write_text("CVMFS_TIMEOUT=3\nCVMFS_X='a\tb'\nif grep x y; then\nA=1\nfi\n")
    status, out, err = run_pyparrot(["config", "show", "sft.cern.ch", "-o", "CVMFS_NEW=@org@"])
    assert status == 0
    lines = out.splitlines()
    assert f"CVMFS_TIMEOUT=3    # from {file}:1" in lines
    assert "CVMFS_MAX_RETRIES=1    # from built-in" in lines
    assert "CVMFS_NEW=sft    # from option" in lines
    assert f"CVMFS_X=a\\tb    # from {file}:2" in lines
    keys = [f"# master key: {key}" for key in defaults.keys("cern.ch")]
    assert [line for line in lines if line.startswith("#")] == keys
    names = [line.partition("=")[0] for line in lines if not line.startswith("#")]
    assert names == sorted(names)
    assert err == (
        f"pyparrot: warning: {file}:3: not understood: if grep x y; then"
        " (its condition: a command)\n"
    )


def test_show_for_programs(config_home: Path) -> None:
    file = config_home / "pyparrot" / "default.local"
    file.parent.mkdir()
    file.write_text("CVMFS_TIMEOUT=$(x)\n")
    shown = json.loads(run_pyparrot(["config", "show", "sft.cern.ch", "--json"]).out)
    assert shown["fqrn"] == "sft.cern.ch"
    assert shown["values"]["CVMFS_TIMEOUT"] == {"value": "5", "origin": "built-in"}
    assert shown["keys"] == list(load("sft.cern.ch").key_files())
    assert shown["problems"][0]["file"] == str(file)
    assert shown["problems"][0]["line"] == 1


def test_show_says_where_a_key_would_belong(config_home: Path) -> None:
    err = run_pyparrot(["config", "show", FQRN]).err
    assert err.endswith(f"(put it into {config_home}/pyparrot/keys/{FQRN}.pub)\n")


@pytest.mark.parametrize("words", [["Bad"], [FQRN, "-o", "x"]])
def test_show_fails_in_one_line(words: list[str]) -> None:
    status, out, err = run_pyparrot(["config", "show", *words])
    assert (status, out, err.count("\n")) == (125, "", 1)

"""How access to a repository is configured, in CernVM-FS's own parameters and files.

`load` reads, in this order: what is built in (`defaults`), ``/etc/cvmfs``, the user's own directory
of the same shape, the environment, and options. Later values win.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from pyparrot.config import defaults, shell
from pyparrot.config.directories import ETC, config_directory
from pyparrot.config.fqrn import check_fqrn, split_fqrn
from pyparrot.config.parameters import Parameters, Value, is_true
from pyparrot.config.shell import Problem
from pyparrot.errors import PyparrotError

__all__ = [
    "ETC",
    "Configuration",
    "Problem",
    "Value",
    "check_fqrn",
    "config_directory",
    "load",
    "parse_options",
]

_BUILT_IN = "built-in"
_ENVIRONMENT = "environment"
_OPTION = "option"


class Configuration(Parameters):
    """All that is configured for the repository *fqrn*.

    *problems* is what could not be read; *directories* are the machine's and the user's.
    """

    def __init__(
        self,
        fqrn: str,
        values: Mapping[str, Value],
        problems: tuple[Problem, ...],
        directories: tuple[str, str],
    ) -> None:
        super().__init__(values)
        self.fqrn = fqrn
        self.problems = problems
        self.directories = directories

    def key_files(self) -> tuple[str, ...]:
        """The files of the master keys that may sign for this repository.

        ``CVMFS_PUBLIC_KEY`` names files, ``CVMFS_KEYS_DIR`` a directory of them. But a key with the
        name of the repository beats a directory that is named in a file: such files speak of all
        repositories, or of whole domains. If that finds nothing, the usual places are searched.
        """
        named = self.list("CVMFS_PUBLIC_KEY", ":")
        if named:
            return named
        directory = self.get("CVMFS_KEYS_DIR", "")
        if directory and self.origin("CVMFS_KEYS_DIR") in (_ENVIRONMENT, _OPTION):
            return tuple(_public_keys(directory))
        etc, user = (os.path.join(base, "keys") for base in self.directories)
        for own in (os.path.join(place, f"{self.fqrn}.pub") for place in (user, etc)):
            if os.path.exists(own):
                return (own,)
        # CernVM-FS's default.conf always names the directory of all keys: that says nothing.
        special = _public_keys(directory) if directory and directory != etc else []
        return tuple(special or self._usual_keys(etc, user))

    def _usual_keys(self, etc: str, user: str) -> Iterator[str]:
        domain = split_fqrn(self.fqrn)[1]
        for place in (os.path.join(etc, domain), etc, os.path.join(user, domain), user):
            yield from _public_keys(place)
        yield from defaults.keys(domain)


def load(
    fqrn: str,
    options: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    etc: str = ETC,
) -> Configuration:
    """The configuration of a repository; only a bad name makes this fail."""
    check_fqrn(fqrn)
    environ = os.environ if environ is None else environ
    organisation, domain = split_fqrn(fqrn)
    directories = (etc, config_directory(environ))
    files = _Files({**defaults.parameters(domain), **environ})
    for directory in directories:
        files.read_all(directory, fqrn, domain)
    values = {
        **{name: Value(text, _BUILT_IN) for name, text in defaults.parameters(domain).items()},
        **files.values,
        **{
            name: Value(text, _ENVIRONMENT)
            for name, text in environ.items()
            if name.startswith("CVMFS_")
        },
        **{name: Value(text, _OPTION) for name, text in (options or {}).items()},
    }
    content_network = defaults.content_network(domain)
    if content_network and values["CVMFS_SERVER_URL"].origin == _BUILT_IN and _uses_cdn(values):
        values["CVMFS_SERVER_URL"] = Value(content_network, _BUILT_IN)
    for name, value in values.items():
        text = value.text.replace("@fqrn@", fqrn).replace("@org@", organisation)
        values[name] = value._replace(text=text)
    return Configuration(fqrn, MappingProxyType(values), tuple(files.problems), directories)


def parse_options(words: Iterable[str]) -> dict[str, str]:
    """Options of the command line, each NAME=VALUE, for `load`."""
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not (name.isascii() and name.isidentifier()):
            raise PyparrotError("-o", f"not NAME=VALUE: {word}", "-o CVMFS_HTTP_PROXY=DIRECT")
        options[name] = value
    return options


class _Files:
    """Reads files one after the other; *variables* is what the first may refer to."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.values: dict[str, Value] = {}
        self.problems: list[Problem] = []
        self._variables = variables

    def read_all(self, directory: str, fqrn: str, domain: str) -> None:
        """Read what a directory has for a repository, in CernVM-FS's order."""
        self._read(directory, "default.conf")
        for name in self._drop_ins(os.path.join(directory, "default.d")):
            self._read(directory, "default.d", name)
        self._read(directory, "default.local")
        for kind, name in (("domain.d", domain), ("config.d", fqrn)):
            self._read(directory, kind, f"{name}.conf")
            self._read(directory, kind, f"{name}.local")

    def _drop_ins(self, directory: str) -> list[str]:
        try:
            names = os.listdir(directory)
        except OSError as error:
            self._unreadable(directory, error)
            return []
        return sorted(name for name in names if name.endswith(".conf") and not name.startswith("."))

    def _read(self, *parts: str) -> None:
        file = os.path.join(*parts)
        try:
            with open(file, "rb", opener=_open) as stream:
                content = stream.read(shell.MAX_TEXT + 1) or b""
        except OSError as error:
            self._unreadable(file, error)
            return
        parsed = shell.parse(content.decode("utf-8", "surrogateescape"), self._variables, file)
        self.problems += parsed.problems
        for name, text, line in parsed.assignments:
            self._variables[name] = text
            self.values[name] = Value(text, f"{file}:{line}")

    def _unreadable(self, file: str, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self.problems.append(Problem(file, 0, "", error.strerror or str(error)))


def _open(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK)  # it might be a pipe, and must not stop us


def _uses_cdn(values: Mapping[str, Value]) -> bool:
    value = values.get("CVMFS_USE_CDN")
    return value is not None and is_true(value.text)


def _public_keys(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [os.path.join(directory, name) for name in sorted(names) if name.endswith(".pub")]

"""The job that faults are tried on: look at everything below a directory, in every way.

    python3 job.py ROOT [ROUNDS [MARK]]

A line a step says what was done and what came of it, so that two outputs can be compared line by
line: a digest, or the name of an errno. Standard library only, and nothing of the tests: it runs in
the place of a user's program, also natively. MARK is for those who look for its process.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import subprocess
import sys
from typing import Any, Callable


def say(step: str, path: str, outcome: str) -> None:
    """Write a line at once: a job that is killed has said what it has done."""
    os.write(1, f"{step} {path}: {outcome}\n".encode("utf-8", "backslashreplace"))


def attempt(step: str, path: str, function: Callable[..., Any], *arguments: str) -> Any:
    """Say what *function* gives, or how it has failed; gives its result or None."""
    try:
        outcome = function(*arguments)
    except OSError as error:
        say(step, path, "error " + errno.errorcode.get(error.errno or 0, str(error)))
        return None
    say(step, path, digest(repr(outcome).encode()))
    return outcome


def digest(content: bytes) -> str:
    """A short digest."""
    return hashlib.sha256(content).hexdigest()[:16]


def names_in(directory: str) -> list[str]:
    """What is in a directory."""
    return sorted(os.listdir(directory))


def look(path: str) -> tuple[str, int | None]:
    """What lstat says that a copy has in common with the original."""
    status = os.lstat(path)
    is_directory = os.path.isdir(path) and not os.path.islink(path)
    return oct(status.st_mode & 0o170777), None if is_directory else status.st_size


def read(path: str) -> str:
    """All of a file."""
    with open(path, "rb") as file:
        return digest(file.read())


def read_in_places(path: str) -> tuple[bytes, bytes, bytes]:
    """A mapped file's beginning and end, and a place in it by its offset."""
    with open(path, "rb") as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            first, last = mapped[:4096], mapped[-4096:]
        return first, last, os.pread(file.fileno(), 4096, 4096)


def read_from(directory: str, name: str) -> tuple[list[str], str, str]:
    """A file, from its directory as the working directory."""
    here = os.open(".", os.O_PATH)
    try:
        os.chdir(directory)
        found, content = names_in("."), read(name)
        os.chdir("..")
        return found, content, os.path.basename(os.getcwd())
    finally:
        os.fchdir(here)
        os.close(here)


def execute(path: str, full: str) -> None:
    """Say what a program has written; one that has failed and written nothing gave its status."""
    try:
        done = subprocess.run([full, "one", "two"], stdout=subprocess.PIPE, check=False)
    except OSError as error:
        say("exec", path, "error " + errno.errorcode.get(error.errno or 0, str(error)))
        return
    outcome = digest(repr((done.stdout, done.returncode)).encode())
    say("exec", path, outcome if done.stdout or not done.returncode else f"exit {done.returncode}")


def run(root: str) -> None:
    """One round of all steps."""
    directories = [""]
    while directories:
        below = directories.pop(0)
        place = os.path.join(root, below)
        for name in attempt("list", below, names_in, place) or ():
            path = os.path.join(below, name)
            full = os.path.join(root, path)
            attempt("stat", path, look, full)
            if os.path.islink(full):
                attempt("link", path, os.readlink, full)
            elif os.path.isdir(full):
                directories.append(path)
            else:
                attempt("read", path, read, full)
            if name.startswith("large"):
                attempt("map", path, read_in_places, full)
            if below == "bin":
                execute(path, full)
            if name == "inner":
                attempt("chdir", path, read_from, place, name)
        attempt("absent", below, os.path.exists, os.path.join(place, "absent"))


def main() -> None:
    """See above."""
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
        run(sys.argv[1])
    say("end", "", "of all rounds")


main()

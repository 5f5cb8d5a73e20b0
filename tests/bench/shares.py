"""What answers the system calls of some programs: the shim, the kernel, or the supervisor.

"calls" are all that a program makes natively, with its children, as `strace -f -c` counts them. Of
them the shim answers some by itself, and lets others through to the kernel after a look (real
paths); "trapped" are those that the supervisor had to look at: where no shim is (while a program is
being loaded, in static programs), and what it leaves. All others are untouched. Everything is warm:
what is counted is the second run.

root-like is a generated program as those of experiments are: 200 shared libraries that depend on
each other, searched for in six directories, each with files of its own that are looked for at the
start.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import report
import run

LIBRARIES = 200
DIRECTORIES = 6

LIBRARY_C = """
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
extern char *place;
__attribute__((constructor)) static void look(void)
{
    static const char *const looked_for[] = {
        "lib%s_rdict.pcm", "lib%s.rootmap", "lib%s.modulemap", "lib%s.so.dSYM"};
    char path[4096], content[256];
    struct stat status;
    for (unsigned i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, looked_for[i], NAME);
        for (unsigned k = 0; k < 6; k++) {
            snprintf(path, sizeof path, "%s/lib%u/%s", place, k, name);
            if (access(path, R_OK) || stat(path, &status))
                continue;
            const int file = open(path, O_RDONLY);
            while (read(file, content, sizeof content) > 0)
                ;
            close(file);
            break;
        }
    }
}
"""
PLACE_C = """
#include <stdlib.h>
char *place = "";
__attribute__((constructor)) static void find(void) { place = getenv("ROOTSYS"); }
"""

COMMANDS = {
    "python, 40 imports": run.COMMANDS["python, 40 imports"],
    "git status, 9,000 files": run.COMMANDS["git status, 9,000 files"],
    "gcc -O1, real paths": run.COMMANDS["gcc -O1, real paths"],
    "ls -lR over 20,000 names": run.COMMANDS["ls -lR over 20,000 names"],
    "node, 500 modules": "{tree}/node/node {tree}/node/main.js",
    "root-like, 200 libraries": "env ROOTSYS={tree}/root LD_LIBRARY_PATH={libraries}"
    " {tree}/root/bin/root",
}


def make_root(place: Path) -> None:
    """A program with many libraries, each in one of the directories."""
    for number in range(DIRECTORIES):
        (place / f"lib{number}").mkdir(parents=True)
    (place / "bin").mkdir()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "library.c").write_text(LIBRARY_C)
        (work / "place.c").write_text(PLACE_C)
        base = place / "lib5" / "libPlace.so"
        shared = ["cc", "-O1", "-shared", "-fPIC"]
        subprocess.run([*shared, "-o", str(base), str(work / "place.c")], check=True)
        libraries: list[Path] = []
        for number in range(LIBRARIES):
            library = place / f"lib{number % DIRECTORIES}" / f"libR{number}.so"
            needed = [base, *libraries[-3:]]
            words = [*shared, f'-DNAME="R{number}"', "-o", str(library), str(work / "library.c")]
            subprocess.run([*words, "-Wl,--no-as-needed", *linked(needed)], check=True)
            library.with_name(f"libR{number}_rdict.pcm").write_bytes(b"pcm" * 500)
            if number % 3 == 0:
                library.with_name(f"libR{number}.rootmap").write_text("{ decls }\n" * 20)
            libraries.append(library)
        (work / "main.c").write_text("int main(void) { return 0; }\n")
        words = [
            "cc",
            "-o",
            str(place / "bin" / "root"),
            str(work / "main.c"),
            "-Wl,--no-as-needed",
        ]
        subprocess.run([*words, *linked([base, *libraries])], check=True)


def linked(libraries: list[Path]) -> list[str]:
    """The linker's words for libraries, which are then looked for by their names alone."""
    directories = sorted({f"-L{library.parent}" for library in libraries})
    links = [f"-Wl,-rpath-link={word[2:]}" for word in directories]
    return [*directories, *links, *(f"-l:{library.name}" for library in libraries)]


def make_node(place: Path) -> bool:
    """node, and a program of many modules in packages; false if there is no node here."""
    node = shutil.which("node")
    if not node:
        return False
    place.mkdir()
    shutil.copy(node, place / "node")
    for number in range(500):
        package = place / "node_modules" / f"package{number}"
        package.mkdir(parents=True)
        (package / "package.json").write_text(f'{{"name": "package{number}", "main": "lib/a"}}\n')
        (package / "lib").mkdir()
        before = f"require('package{number - 1}') + " if number % 5 else ""
        (package / "lib" / "a.js").write_text(f"module.exports = {before}1\n")
    lines = (f"require('package{number}')" for number in range(4, 500, 5))
    (place / "main.js").write_text(";\n".join(lines) + "\n")
    return True


class Count(NamedTuple):
    """System calls of a program: all that it makes natively, and what becomes of them in a run."""

    calls: int
    answered: int
    let_through: int
    trapped: int

    def shares(self) -> dict[str, float]:
        """In percent of the native number."""
        given = self._asdict()
        return {name: 100 * value / self.calls for name, value in given.items() if name != "calls"}


def count_natively(command: list[str]) -> int:
    """How many system calls a command makes."""
    with tempfile.NamedTemporaryFile() as file:
        words = ["strace", "-f", "-c", "-U", "name,calls", "-o", file.name, *command]
        subprocess.run(words, capture_output=True, check=True)
        lines = file.read().decode().splitlines()
    return sum(int(line.split()[1]) for line in lines if re.match(r"\w+ +\d+$", line) and
               not line.startswith("total"))  # fmt: skip


def count_in_run(peer: run.Peer, command: list[str]) -> tuple[int, int, int]:
    """What was answered, let through and trapped; the second time."""
    at = peer.prefix.index("--")
    for _ in range(2):
        words = [*peer.prefix[:at], "--stats", "--", *command]
        said = run.run(words, peer.environment).stderr
    shim = re.search(r"shim: (\d+) answered, (\d+) let through, (\d+) left", said)
    trapped = re.search(r"system calls: (\d+) trapped", said)
    if not trapped:
        raise SystemExit(f"no statistics in: {said}")
    answered, through = (int(shim[1]), int(shim[2])) if shim else (0, 0)
    return answered, through, int(trapped[1])


def words_of(command: str, tree: str) -> list[str]:
    """A command for a tree."""
    libraries = ":".join(f"{tree}/root/lib{number}" for number in range(DIRECTORIES))
    source = str(Path(__file__).with_name("calls.c"))
    return shlex.split(
        command.format(tree=tree, imports=run.IMPORTS, source=source, libraries=libraries)
    )


def measure(peer: run.Peer, tree: Path, commands: dict[str, str]) -> Iterator[dict[str, object]]:
    """Print a row for each command, and give it."""
    columns = ("calls", "answered", "let through", "trapped", "untouched")
    print(f"{'':28}" + "".join(f"{column:>13}" for column in columns))
    for name, command in commands.items():
        calls = count_natively(words_of(command, str(tree)))
        count = Count(calls, *count_in_run(peer, words_of(command, peer.tree)))
        shares = count.shares()
        untouched = 100 - sum(shares.values())
        figures = "".join(f"{share:12.1f}%" for share in (*shares.values(), untouched))
        print(f"{name:28}{calls:>13,}{figures}")
        yield {"what": name, **count._asdict()}


def main() -> None:
    """Measure, print, save."""
    parser = report.parser("shares", __doc__)
    arguments = parser.parse_args()
    if not shutil.which("strace"):
        sys.exit("shares: no strace here (apt-get install strace)")
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.work)))
        tree = work / "tree"
        run.make_tree(tree, arguments.scale)
        make_root(tree / "root")
        commands = dict(COMMANDS)
        if not make_node(tree / "node"):
            commands.pop("node, 500 modules")
        if not (tree / "python").is_dir():
            commands.pop("python, 40 imports")
        peer = stack.enter_context(run.published(work, tree))
        rows = list(measure(peer, tree, commands))
    report.save(arguments.json, 1, rows)


if __name__ == "__main__":
    main()

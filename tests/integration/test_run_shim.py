"""What a program can do to the shim, and the shim to a program.

Small C programs (in ``shim/``) run natively on a directory, and in a run on the repository that was
made from it: with equal results.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import EVERYTHING, SHIMS, World, assert_same, world
from support.software import compile_c

pytestmark = [
    pytest.mark.usefixtures("shim"),
    # Without it they take long, and tell but whether the tests themselves are right.
    pytest.mark.parametrize("shim", SHIMS if EVERYTHING else SHIMS[:1], indirect=True),
]

FQRN = "shim.example.org"
SOURCES = Path(__file__).parent / "shim"
SIGNALS = "20000" if EVERYTHING else "2000"
JUMPS = "100000" if EVERYTHING else "10000"
TIMES = "1000" if EVERYTHING else "300"
LIBRARIES = tuple(f"@@/lib/{name}.so" for name in ("first", "second", "third"))


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    def fill(tree: Path) -> None:
        (tree / "file").write_text("content\n")
        (tree / "dir").mkdir()
        for number in range(200):
            (tree / "dir" / f"{number:03}").write_text(f"{number}\n")
        (tree / "link").symlink_to("dir/000")
        (tree / "tool").write_text('#!/bin/sh\necho "tool $*"\n')
        (tree / "tool").chmod(0o755)
        (tree / "lib").mkdir()
        for number in range(3):
            numbers = (f"-DNUMBER={number}", f'-DDIGIT="{number}"', f'-DNOPS="{3 + 10 * number}"')
            library = tree / LIBRARIES[number].replace("@@/", "")
            compile_c(library, (SOURCES / "library.c").read_text(), "-shared", "-fPIC", *numbers)

    with world(FQRN, fill) as made:
        programs = made.home / "programs"
        programs.mkdir()
        for source in SOURCES.glob("*.c"):
            if source.stem != "library":
                # What is bound late would need more of a small stack than a call may.
                options = ("-O1", "-pthread", "-Wl,-z,now", f"-I{SOURCES}")
                compile_c(programs / source.stem, source.read_text(), *options)
        static = ("-O1", "-pthread", "-static", f"-I{SOURCES}")
        compile_c(programs / "static", (SOURCES / "processes.c").read_text(), *static)
        yield made


CASES = """
    processes fork
    processes vfork
    processes spawn
    processes threads
    processes chdir
    processes raw-thread
    processes exec 12
    static look
    static fork
    signals restart SIGNALS
    signals interrupt SIGNALS
    signals nested SIGNALS
    signals small-stack SIGNALS
    signals longjmp JUMPS
    signals setcontext JUMPS
    signals cancel 200
    stack registers
    stack paint
    stack one-kib
    stack coroutines
    stack errno
    memory own-libc
    memory patch-libc
    memory fixed
    memory limits
    memory dlopen TIMES LIBRARIES
    descriptors lowest
    descriptors close-all
    descriptors none-left
    descriptors high
    filters errno
    filters !tsync
    filters kill
    filters kill-exec
    places unshare
    places !chroot
    places mount
    places symlinks
"""
PLACES = {"SIGNALS": [SIGNALS], "JUMPS": [JUMPS], "TIMES": [TIMES], "LIBRARIES": list(LIBRARIES)}


@pytest.mark.parametrize("case", [line.strip() for line in CASES.strip().splitlines()])
def test_same_as_natively(sw: World, case: str) -> None:
    program, name, *words = case.split()
    more = [word for given in words for word in PLACES.get(given, [given])]
    native, run = sw.both(str(sw.home / "programs" / program), name, "@@", *more)
    assert native.status == 0, native
    assert native.out.endswith(f"{name}: done\n")
    assert_same(run, native)


WRAPPERS = """
    env -i
    env LD_BIND_NOW=1
    nice
    setsid -w
    timeout 60
    stdbuf -oL
    fakeroot
    setarch -R
    setarch -L
    unshare -Ur
    strace -f -o /dev/null
    valgrind -q
    /lib64/ld-linux-x86-64.so.2
    bash -c 'ulimit -s unlimited; exec "$@"' -
    bash -c 'ulimit -s 128; exec "$@"' -
    bash -c 'ulimit -v 60000; exec "$@"' -
    bash -c 'ulimit -v 6000; exec "$@"' -
    bash -c 'ulimit -n 10; exec "$@"' -
    bash -c 'ulimit -c 0 -f 0 -l 0; exec "$@"' -
    bash -c 'exec "$@" 0<&-' -
"""


@pytest.mark.parametrize("wrapper", [line.strip() for line in WRAPPERS.strip().splitlines()])
def test_started_by_other_programs(sw: World, wrapper: str) -> None:
    words = shlex.split(wrapper)
    if not shutil.which(words[0]):
        pytest.skip(f"no {words[0]} here")
    native, run = sw.both(*words, str(sw.home / "programs" / "processes"), "look", "@@")
    if native.status:
        pytest.skip(f"it does not work here: {native}")
    assert_same(run, native)
    assert run.out == "look: done\n"


@pytest.mark.parametrize("kind", ["address", "thread", "undefined"])
def test_programs_with_sanitizers(sw: World, kind: str) -> None:
    program = sw.home / "programs" / f"sanitized-{kind}"
    source = (SOURCES / "processes.c").read_text()
    options = ("-O1", "-pthread", f"-fsanitize={kind}", "-Wl,-z,now", f"-I{SOURCES}")
    try:
        compile_c(program, source, *options)
    except subprocess.CalledProcessError:
        pytest.skip(f"no -fsanitize={kind} here")
    for case in ("look", "fork", "threads"):
        native, run = sw.both(str(program), case, "@@")
        assert_same(run, native)
        assert run.out == f"{case}: done\n"


# The environment


@pytest.mark.parametrize(
    "preload",
    [
        "@@/lib/first.so",
        "@@/lib/second.so @@/lib/first.so",
        "@@/lib/third.so:@@/lib/second.so",
        "@@/lib/absent.so @@/lib/second.so",
        "",
    ],
)
def test_preloaded_libraries_of_the_users_own(sw: World, preload: str) -> None:
    """All that a program and its children see of LD_PRELOAD is what the user has given."""
    program = str(sw.home / "programs" / "memory")
    script = '"$0" preload "$1" sh -c "echo $LD_PRELOAD; env | grep ^LD_; true"'
    words = ("sh", "-c", script, program, "@@")
    native = sw.native(*words, environment={"LD_PRELOAD": preload})
    # pyparrot itself must not have it: what lies in the repository is not there for it.
    run = sw.run(*words, options=["--env", "LD_PRELOAD=" + preload.replace("@@", sw.root)])
    assert native.status == 0, native
    assert_same(*(seen._replace(out=without_numbers(seen.out)) for seen in (run, native)))


def without_numbers(text: str) -> str:
    """Without those of processes; the libraries' begin with 700."""
    return re.sub(r"getppid: (?!700\d)\d+", "getppid: N", text)


SEEN = r"""
env
tr '\0' '\n' < /proc/self/environ
env -i env
env -i sh -c 'tr "\\0" "\\n" < /proc/self/environ'
env -i LD_PRELOAD= sh -c 'env | sort'
env -u PATH -u LD_PRELOAD /usr/bin/env
"""


def test_the_environment_has_nothing_new(sw: World) -> None:
    native, run = sw.both("sh", "-c", SEEN)
    assert native.status == 0, native
    lines = [line for line in run.out.splitlines(True) if not line.startswith("PYPARROT_RUN=")]
    assert_same(run._replace(out="".join(lines)), native)


# Whether it is there at all


def numbers_of_the_shim(run_errors: str) -> tuple[int, int, int]:
    """How many calls it answered, let through, and left to the supervisor."""
    found = re.search(r"shim: (\d+) answered, (\d+) let through, (\d+) left", run_errors)
    assert found, run_errors
    return int(found[1]), int(found[2]), int(found[3])


@pytest.mark.parametrize(
    ("words", "least"),
    [  # "look" looks a thousand times, and a look has more than 8 calls on the tree
        (["@programs/processes", "look", "@@"], 8000),
        (["env", "-i", "@programs/processes", "look", "@@"], 8000),
        (["env", "-i", "LD_PRELOAD=", "@programs/processes", "look", "@@"], 8000),
        (["env", "LD_PRELOAD=@@/lib/first.so", "@programs/processes", "look", "@@"], 8000),
        (["@programs/processes", "threads", "@@"], 1000),
        (["@programs/processes", "fork", "@@"], 500),
        (["@programs/signals", "restart", "@@", "500"], 3000),
    ],
    ids=["plain", "env-i", "env-i-preload", "preload", "threads", "fork", "signals"],
)
def test_programs_answer_for_themselves(sw: World, shim: str, words: list[str], least: int) -> None:
    words = [word.replace("@programs", str(sw.home / "programs")) for word in words]
    run = sw.run(*words, options=["--stats"])
    assert run.status == 0, run
    if shim == "off":
        assert "shim: " not in run.err
    else:
        assert numbers_of_the_shim(run.err)[0] >= least, run.err


def test_a_libc_in_the_tree(sw: World, shim: str) -> None:
    """The first program is started before its library's copy is made; later ones have it."""
    tree = sw.user.owns(sw.home / f"libc-{shim}")
    loader, libc = "/lib64/ld-linux-x86-64.so.2", _libc()
    for file in (loader, libc):
        shutil.copy(file, tree)
    at = "/opt/pyparrot-libc"
    own = f"{at}/{os.path.basename(loader)}"
    program = tree / "look"
    flags = [f"-Wl,--dynamic-linker={own}", f"-Wl,-rpath,{at}"]
    source = "#include <sys/stat.h>\nint main(int n, char **words) {\n"
    source += "struct stat s; for (int i = 0; i < 500; i++) if (stat(words[0], &s)) return 3;\n"
    source += "return 0; }\n"
    subprocess.run(["cc", "-xc", "-", *flags, "-o", program], input=source.encode(), check=True)
    options = ["--stats", "-M", f"{at}={tree}"]
    script = f"for i in 1 2 3 4; do {at}/look || exit; sleep 0.4; done"
    run = sw.run("sh", "-c", script, options=options)
    assert run.status == 0, run
    if shim != "off":
        assert numbers_of_the_shim(run.err)[0] >= 500
        # Where no shim is wanted, a libc of the tree's own makes no difference.
        run = sw.run("sh", "-c", f"ulimit -v 100000; {script}", options=[*options, "-v"])
        assert run.status == 0, run
        assert "without the shim: its memory is limited" in run.err
        assert numbers_of_the_shim(run.err)[0] < 500


def test_nothing_is_changed_by_a_detour(sw: World, shim: str) -> None:
    """A symlink of the program's own leads through /proc to the real files behind the tree."""
    detour = sw.user.owns(sw.home / f"detour-{shim}") / "link"
    script = f"""
        cd @@ && ln -s /proc/self/cwd {detour}
        stat -c %a . > /dev/null
        chmod 0621 {detour}/; mkdir {detour}/new; echo x > {detour}/new; rm -r {detour}/*
        ln -sfn /proc/self/cwd/new {detour}; echo x > {detour}; touch {detour}
    """
    run = sw.run("sh", "-c", script)
    refusals = run.err.count("Read-only file system")
    assert refusals >= 5, run
    assert "File exists" not in run.err


def _libc() -> str:
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return next(line.split()[-1] for line in maps if "/libc.so." in line)

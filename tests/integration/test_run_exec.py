"""Programs that are rebuilt, spoilt, or not to be run, and who notices that they are looked at."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.runs import World, assert_same, world
from support.software import compile_c

from pyparrot.cache import program_copies

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "exec.example.org"
LOADER = "/lib64/ld-linux-x86-64.so.2"
SAYS = '#include <stdio.h>\nint main(void) { puts("says one"); return 0; }\n'
MOST_OPENS = 100


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    if not shutil.which("gcc") or not os.path.exists(LOADER):
        pytest.skip("no gcc, or another linker")

    def fill(tree: Path) -> None:
        (tree / "bin").mkdir()
        shutil.copy(os.path.realpath(LOADER), tree / "bin/ld.so")
        (tree / "bin/link-out").symlink_to(LOADER)
        shutil.copy("/bin/bash", tree / "bin/own-bash")
        shutil.copy("/bin/true", tree / "bin/true")
        loader = f"-Wl,--dynamic-linker=/cvmfs/{FQRN}/bin/ld.so"
        compile_c(tree / "bin/loaded", SAYS, loader)
        (tree / "bin/script").write_text(f"#!/cvmfs/{FQRN}/bin/own-bash\necho script $*\n")
        (tree / "bin/script").chmod(0o755)
        (tree / "bin/to-real").symlink_to("/usr/bin/env")

    with world(FQRN, fill) as made:
        programs = made.home / "programs"
        programs.mkdir()
        for name, loader in (("", "bin/ld.so"), ("-link", "bin/link-out")):
            one = programs / f"one{name}"
            compile_c(one, SAYS, f"-Wl,--dynamic-linker=/cvmfs/{FQRN}/{loader}")
            two = programs / f"two{name}"
            two.write_bytes(one.read_bytes().replace(b"says one", b"says two"))
            two.chmod(0o755)
            os.utime(two, ns=(one.stat().st_atime_ns, one.stat().st_mtime_ns))
        yield made


def said(world: World, script: str, **more: str) -> list[str]:
    """The lines that a script says in a run, of which ``$P`` has the programs."""
    programs = str(world.home / "programs")
    outcome = world.run("bash", "-c", script, environment={"P": programs, **more})
    assert (outcome.status, outcome.err) == (0, "")
    return outcome.out.splitlines()


# Rebuilt programs

REPLACED = {
    "rename": "cp -p $P/$n new; mv new a",
    "in place": "cat $P/$n > a",
    "in place, times kept": "cp -p $P/$n a; touch -r $P/one a",
    "removed first": "rm a; cp -p $P/$n a",
    "link": "ln -sf $P/$n a",
}


@pytest.mark.parametrize("way", REPLACED)
def test_a_program_that_was_rebuilt_is_the_new_one(sw: World, way: str) -> None:
    """Both are of the same size and time, and are exchanged within one tick of the clock."""
    script = f"cp -p $P/one a; for n in one two two one two one; do {REPLACED[way]}; ./a; done"
    expected = [f"says {name}" for name in ["one", "two", "two", "one", "two", "one"]]
    assert said(sw, script) == expected


def test_a_program_is_the_new_one_in_a_later_run(sw: World) -> None:
    place = sw.work() / "a"
    for name in ("one", "two", "one"):
        shutil.copy2(sw.home / "programs" / name, place)
        assert said(sw, f"{place}; {place}") == [f"says {name}"] * 2


def test_the_loader_may_be_a_link_that_leads_out(sw: World) -> None:
    assert said(sw, "$P/one-link; $P/two-link") == ["says one", "says two"]


def test_a_program_that_was_rebuilt_knows_its_name(sw: World) -> None:
    script = "cp $P/one a; ./a; readlink -f a; exec -a name ./a"
    lines = said(sw, script)
    assert lines[0] == lines[2] == "says one"
    tells = said(sw, "cp $P/one a; cp $P/one b; ls -l /proc/self/exe > /dev/null; ./a; ./b")
    assert tells == ["says one"] * 2


def test_copies_of_programs_that_have_gone_go(sw: World) -> None:
    """They are looked for now and then, when they are a minute old."""
    cache = sw.work() / "cache"
    script = "for i in $(seq 31); do cp $P/one a; ./a; rm a; done; cp $P/one b; ./b"
    top = cache / "views" / "real.x"
    programs = {"P": str(sw.home / "programs")}
    words = ("bash", "-c", script)
    assert sw._run(sw.prefix(cache=cache), words, sw.root, environment=programs).status == 0
    states = [name for name in os.listdir(top) if "-" in name]
    assert len(states) == 32
    assert list(program_copies.stale_states(str(top), states)) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program_copies, "_YOUNG", -1.0)
        program_copies.remove_stale(str(top.parent))
    (left,) = (state for state in top.iterdir() if "-" in state.name)
    assert [file.name for file in left.rglob("*") if file.is_file()] == ["b"]


def test_a_program_is_found_where_its_task_sees_it(sw: World) -> None:
    """In another mount namespace another file may have the same path."""
    script = (
        "mkdir -p x; cp $P/one x/a; x/a; unshare -Urm sh -c"
        " 'mount -t tmpfs none x && cp $P/two x/a && x/a; cd / && exec \"$OLDPWD\"/x/a'; x/a"
    )
    if subprocess.run(["unshare", "-Urm", "true"], check=False, **sw.user.options()).returncode:
        pytest.skip("no user namespaces")
    assert said(sw, script) == ["says one", "says two", "says two", "says one"]


# Views that were changed

SPOILT: dict[str, tuple[str, str, list[str]]] = {
    "program": ("bin/true", "@@/bin/true; echo $?", ["0"]),
    "interpreter of a script": ("bin/own-bash", "@@/bin/script x", ["script x"]),
    "script": ("bin/script", "@@/bin/script x", ["script x"]),
    "loader": ("bin/ld.so", "@@/bin/loaded; $P/two", ["says one", "says two"]),
    "program that was copied": ("bin/loaded", "@@/bin/loaded", ["says one"]),
}
WAYS: dict[str, Callable[[Path], object]] = {
    "written": lambda view: view.write_bytes(Path("/usr/bin/id").read_bytes()),
    "emptied": lambda view: view.write_bytes(b""),
    "removed": lambda view: None,
    "directory": lambda view: view.mkdir(),
    "fifo": os.mkfifo,
    "dangling": lambda view: view.symlink_to("nothing"),
}


def spoil(view: Path, way: str) -> None:
    if way in ("written", "emptied"):
        view.chmod(0o700)
    else:
        view.unlink()
    WAYS[way](view)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", SPOILT)
def test_a_view_that_was_changed_is_not_run(sw: World, what: str, way: str) -> None:
    name, script, expected = SPOILT[what]
    script = script.replace("@@", sw.root)
    assert said(sw, script) == expected
    views = [
        view
        for view in (sw.home / "user/cache/views").glob(f"{FQRN}*/**/{name}")
        if ".x" not in view.parts[-3]
    ]
    assert views
    for view in views:
        spoil(view, way)
    assert said(sw, script) == expected


@pytest.mark.parametrize("way", list(WAYS))
def test_a_copy_that_was_changed_is_not_run(sw: World, way: str) -> None:
    script = f"{sw.root}/bin/loaded; $P/two"
    assert said(sw, script) == ["says one", "says two"]
    copies = [file for file in (sw.home / "user/cache/views").glob("*.x/**/*") if file.is_file()]
    assert copies
    for copy in copies:
        spoil(copy, way)
    assert said(sw, script) == ["says one", "says two"]


@pytest.mark.parametrize("what", ["file", "dangling"])
def test_a_directory_that_was_replaced_is_made_again(sw: World, what: str) -> None:
    script = f"cd {sw.root}/bin && pwd && ls true && ./true"
    assert said(sw, script) == ["@@/bin", "true"]
    for view in (sw.home / "user/cache/views").glob(f"{FQRN}*/bin"):
        shutil.rmtree(view)
        view.write_text("") if what == "file" else view.symlink_to("nothing")
    assert said(sw, script) == ["@@/bin", "true"]


# What may not be run

FORBIDDEN = """
cp @@/bin/own-bash real-bash
for mode in $MODES; do
    printf '#!@@/bin/own-bash\necho ran\n' > script; chmod $mode script; ./script; echo $mode $?
    printf '#!@@/bin/nothing\necho ran\n' > script; chmod $mode script; ./script; echo $mode $?
    printf '#!@@/bin\necho ran\n' > script; chmod $mode script; ./script; echo $mode $?
    rm -f script
done
mkdir closed; printf '#!@@/bin/own-bash\necho ran\n' > closed/s; chmod 755 closed/s; chmod 0 closed
closed/s; echo $?
chmod 755 closed
"""


@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_rights_are_the_kernels(sw: World, as_root: bool) -> None:
    if as_root and os.geteuid() != 0:
        pytest.skip("takes root")
    world = sw
    if as_root:
        home = sw.home / "root"
        home.mkdir(exist_ok=True)
        world = sw._replace(user=type(sw.user)(0, 0))
    cache = world.work() / "cache"
    script = f"umask 022; {FORBIDDEN}"
    # What its owner may run and not read, a supervisor without rights can't look at.
    modes = {"MODES": "0644 0600 0755 0010 0001 0711 0" + " 0100" * as_root}
    native = world.native("bash", "-c", script, environment=modes)
    words = ("bash", "-c", script)
    run = world._run(world.prefix(cache=cache), words, world.root, environment=modes)
    assert_same(run, native)
    assert "0755 0" in run.out
    assert "0644 126" in run.out


def test_a_program_without_x_bits_is_not_loaded(sw: World) -> None:
    script = (
        "for m in 0644 0755; do cp $P/one a; chmod $m a; ./a 2>&1 | sed 's/.*: //'; done; exit 0"
    )
    assert said(sw, script) == ["Permission denied", "says one"]


def test_noexec_counts(sw: World, tmp_path: Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("takes root, and a mount namespace")
    place = tmp_path / "noexec"
    place.mkdir()
    inner = (
        f"mount -t tmpfs -o noexec none {place} && cd {place} && "
        f"printf '#!{sw.root}/bin/own-bash\necho ran\n' > s && cp {sw.home}/programs/one a && "
        'chmod 755 s a && exec "$@"'
    )
    command = "./s; echo $?; ./a; echo $?"
    cache = sw.user.owns(sw.work() / "cache")
    words = ["unshare", "-m", "sh", "-c", inner, "sh", *sw.prefix(cache=cache)]
    if sw.user.uid != os.geteuid():
        user = [f"--reuid={sw.user.uid}", f"--regid={sw.user.gid}", "--clear-groups"]
        words[6:6] = ["setpriv", *user]
    done = subprocess.run(
        [*words, "bash", "-c", command],
        env=sw.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == ["126", "126"], done


def test_a_script_that_is_open_for_writing_is_busy(sw: World) -> None:
    """As natively, where the kernel knows how to be asked."""
    script = (
        "printf '#!@@/bin/own-bash\necho ran\n' > s; chmod 755 s;"
        " exec 9>>s; ./s; echo $?; exec 9>&-; ./s"
    )
    native, run = sw.both("bash", "-c", script)
    if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 14):
        assert_same(run, native)
    else:
        assert run.out.endswith("ran\n")


# Who notices

IN_ACCESS, IN_OPEN, IN_CLOSE = 0x1, 0x20, 0x18


class Watch:
    """Counts what happens to files; equal events that follow one another are one (inotify(7))."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for file in files:
            mask = IN_ACCESS | IN_OPEN | IN_CLOSE
            assert self._library.inotify_add_watch(self.descriptor, bytes(file), mask) > 0

    def events(self) -> Counter[int]:
        found: Counter[int] = Counter()
        try:
            while data := os.read(self.descriptor, 1 << 16):
                for _, mask, _, length in struct.iter_unpack("iIII", data):
                    assert length == 0
                    found[mask] += 1
        except BlockingIOError:
            pass
        return found


@pytest.mark.parametrize("kind", ["program", "script"])
def test_a_real_program_is_looked_at_once(sw: World, kind: str) -> None:
    place = sw.work() / "p"
    if kind == "program":
        shutil.copy("/bin/true", place)
    else:
        place.write_text("#!/bin/true\n")
    place.chmod(0o755)
    watch = Watch([place])
    try:
        script = f"ls {sw.root} >/dev/null; sleep 0.1; for i in 1 2 3 4; do {place}; done"
        sw.native("bash", "-c", script)
        native = watch.events()
        assert native[IN_OPEN] == 4
        sw.run("bash", "-c", script)
        run = watch.events()
        assert set(run) == set(native)
        for event, count in native.items():
            assert count <= run[event] <= count + 1
    finally:
        os.close(watch.descriptor)


# Crashes


def test_a_crash_in_the_repository_leaves_no_core_file(sw: World) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if pattern.startswith(("|", "/", "@")) or "%" in pattern:
        pytest.skip("core files go elsewhere here, or have other names")
    script = (
        "ulimit -c unlimited; cd @@/bin && ls >/dev/null;"
        " bash -c 'kill -SEGV $$'; echo $?; cd @@; bash -c 'kill -SEGV $$'; echo $?"
    )
    cache = sw.work() / "cache"
    words = ("bash", "-c", script.replace("@@", sw.root))
    outcome = sw._run(sw.prefix(cache=cache), words, sw.root)
    assert outcome.out.split() == ["139", "139"]
    assert "Segmentation fault" in outcome.err
    assert "core dumped" not in outcome.err
    assert not [file for file in cache.rglob("*core*") if file.is_file()]

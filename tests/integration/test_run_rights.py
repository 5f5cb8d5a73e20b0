"""What a task can do to the supervisor and to the other tasks of its run: no more than natively."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import World, ordinary_user, started, world

FQRN = "rights.example.org"


@pytest.fixture(scope="module")
def rights() -> Iterator[World]:
    def fill(tree: Path) -> None:
        (tree / "dir").mkdir()
        (tree / "dir" / "file").write_text("content\n")

    with world(FQRN, fill) as made:
        yield made


# Its memory is limited, so that it has no shim: it asks the supervisor as a shim would.
ATTACK = r"""
import ctypes, errno, fcntl, mmap, os, platform, struct, sys
top = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
OPENAT, EXECVE, MKDIRAT = {"x86_64": (257, 59, 258), "aarch64": (56, 221, 34)}[platform.machine()]

def gives(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

def raw(number, *arguments):
    words = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    value = libc.syscall(ctypes.c_long(number), *words)
    return value if value >= 0 else errno.errorcode[ctypes.get_errno()]

state = raw(OPENAT, -100, b"/proc/pyparrot/state", os.O_RDONLY | os.O_CLOEXEC, 0x70617272)
memory = mmap.mmap(state, 1 << 20, prot=mmap.PROT_READ)
assert memory[:16] == b"pyparrot's state", memory[:16]
(cookie,) = struct.unpack_from("<q", memory, 16)
before = memory[:]

def text(offset):
    return os.fsdecode(memory[offset : memory.find(b"\0", offset)])

def try_to_write(descriptor):
    yield "write", gives(os.pwrite, descriptor, b"x" * 4096, 0)
    yield "truncate", gives(os.ftruncate, descriptor, 0)
    yield "grow", gives(os.ftruncate, descriptor, 2 << 20)
    yield "punch", raw(285 if platform.machine() == "x86_64" else 47, descriptor, 3, 0, 4096)
    yield "seal", gives(fcntl.fcntl, descriptor, 1033, 8)
    for flags in (mmap.MAP_SHARED,):
        yield "map", gives(mmap.mmap, descriptor, 1 << 20, flags)

def all_of(tries):
    for name, outcome in tries:
        print(name, outcome if isinstance(outcome, str) else "done")

print("as it was given:")
all_of(try_to_write(state))
print("by its name:")
for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
    opened = gives(os.open, f"/proc/self/fd/{state}", flags)
    if isinstance(opened, int):
        assert gives(os.pwrite, opened, b"x", 0) == "EPERM"
        all_of((n, o) for n, o in try_to_write(opened) if o not in ("EPERM", "EACCES"))
address = ctypes.addressof(ctypes.c_char.from_buffer_copy(b"x"))
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
mapped = libc.mmap(None, 4096, 1, 1, state, 0)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
print("protect", libc.mprotect(mapped, 4096, 3), errno.errorcode[ctypes.get_errno()])
assert memory[:] == before

print("what shims write:")
shared, views, length = struct.unpack_from("<III", memory, 68)
(shared, views) = (text(shared), text(views))
assert shared.startswith("/proc/") and "/views" in views, (shared, views)
opened = gives(os.open, shared, os.O_RDWR)
print("open", opened if isinstance(opened, str) else "done")
if isinstance(opened, int):
    for name, outcome in try_to_write(opened):
        if name not in ("write", "map"):
            print(name, outcome)
    os.pwrite(opened, os.urandom(1 << 20) * 16, 0)

print("views:")
print("list", gives(lambda: os.listdir(views) and "done"))
print("make", gives(lambda: os.mkdir(views + "/planted") or "done"))
directory = os.open(top + "/dir", os.O_RDONLY | os.O_DIRECTORY)
print("in it", gives(lambda: os.open("planted", os.O_CREAT | os.O_WRONLY, dir_fd=directory)))

print("with a forged cookie:")
print("virtual", raw(OPENAT, -100, os.fsencode(top) + b"/dir/file", 0, 0, 0, cookie))
print("secret", raw(OPENAT, -100, os.fsencode(sys.argv[2]), 0, 0, 0, cookie))
planted = raw(OPENAT, directory, b"planted", os.O_CREAT | os.O_WRONLY, 0o666, 0, cookie)
print("in a directory", planted if isinstance(planted, str) else "done")
made = raw(MKDIRAT, directory, b"made", 0o777, 0, 0, cookie)
print("make", made if isinstance(made, str) else "done")
print(open(top + "/dir/file").read().strip())
"""

SEALED = """\
as it was given:
write EBADF
truncate EINVAL
grow EINVAL
punch EBADF
seal EPERM
map EACCES
by its name:
protect -1 EACCES
"""

OF_ANOTHER = """\
what shims write:
open EACCES
views:
list EACCES
make EACCES
in it EROFS
with a forged cookie:
virtual ENOENT
secret EACCES
in a directory EACCES
make EACCES
content
"""

OF_THE_SAME = """\
what shims write:
open done
truncate EPERM
grow EPERM
punch 0
seal EPERM
views:
"""


def attack(made: World, cache: Path, secret: Path, *before: str) -> tuple[list[str], list[str]]:
    """The lines that an attacker writes, and those of the touched paths."""
    touched = cache.with_name("touched")
    prefix = made.prefix("--touched", str(touched), "--stats", cache=cache)
    prefix[prefix.index("--shim") + 1] = "auto"
    words = [*before, "prlimit", "--as=8589934592", sys.executable, "-c", ATTACK]
    # The attacker is the child of a process with a shim, which goes on afterwards.
    script = '"$@"; echo "status $?"; cat "$TOP/dir/file"'
    environment = made.environment({"TOP": made.root})
    command = [*prefix, "sh", "-c", script, "sh", *words, made.root, str(secret)]
    with started(command, cwd="/", env=environment) as process:
        out, err = process.communicate(timeout=60)
    said = err.decode()
    assert "Traceback" not in said, said
    assert said.count("\n") == 1, said  # that of --stats
    lines = out.decode().splitlines()
    assert lines[-2:] == ["status 0", "content"], (lines, said)
    return lines[:-2], touched.read_text().splitlines()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("secret\n")
    file.chmod(0o600)
    return file


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_child_of_another_user_has_no_hold_on_the_run(
    rights: World, tmp_path: Path, secret: Path
) -> None:
    if ordinary_user().uid == 0:
        pytest.skip("nobody can run Python here")
    drop = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    lines, touched = attack(rights, tmp_path / "cache", secret, *drop)
    assert lines == (SEALED + OF_ANOTHER).splitlines()
    assert f"{rights.root}/dir/file" in touched
    assert not list((tmp_path / "cache" / "views").rglob("planted"))


def test_a_child_of_the_same_user_can_mislead_itself_alone(
    rights: World, tmp_path: Path, secret: Path
) -> None:
    """What it writes where shims write makes no difference but for the counters."""
    lines, _ = attack(rights, tmp_path / "cache", secret)
    assert lines[: len((SEALED + OF_THE_SAME).splitlines())] == (SEALED + OF_THE_SAME).splitlines()
    assert "in it EROFS" in lines
    assert "virtual ENOENT" in lines
    assert lines[-1] == "content"


def test_the_state_can_not_be_written_by_whoever_holds_it() -> None:
    """Not by the supervisor itself but through the one mapping that was made first."""
    code = """
import mmap, os
from pyparrot.libc.shared_state import SharedState
state = SharedState(1)
for wrong in (lambda: os.pwrite(state.descriptor, b"x", 0),
              lambda: mmap.mmap(state.descriptor, 4096),
              lambda: os.ftruncate(state.descriptor, 1)):
    try:
        wrong()
    except PermissionError:
        continue
    raise SystemExit("it was done")
state.pointer.flags = 7
assert mmap.mmap(state.descriptor, 4096, prot=mmap.PROT_READ)[48:52] == bytes([7, 0, 0, 0])
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

"""Processes with a root or mounts of their own: their real paths are followed as they see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import World, world
from support.software import compile_c

pytestmark = pytest.mark.usefixtures("shim")

FQRN = "roots.example.org"
LIMIT = 60.0
NOT_HERE = 77

PROGRAM = r"""
/* roots HOW DIRECTORY TARGET: in a user namespace of its own, made by clone3, a link to TARGET is
 * made where only this process sees it, and read. */
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void put(const char *file, const char *text)
{
    const int descriptor = open(file, O_WRONLY);
    if (descriptor < 0 || write(descriptor, text, strlen(text)) < 0)
        _exit(77);
    close(descriptor);
}

static void become_root(unsigned user, unsigned group)
{
    char map[64];
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", user);
    put("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %u 1", group);
    put("/proc/self/gid_map", map);
}

int main(int count, char **words)
{
    const int mounts = strcmp(words[1], "mount") == 0;
    const unsigned user = getuid(), group = getgid();
    struct clone_args how = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    char path[4096], text[64];
    int status;

    if (mounts)
        how.flags |= CLONE_NEWNS;
    const pid_t child = (pid_t)syscall(SYS_clone3, &how, sizeof how);
    if (child < 0)
        return 77;
    if (child > 0) {
        waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    }
    become_root(user, group);
    if (mounts ? mount("none", words[2], "tmpfs", 0, NULL) : chroot(words[2]))
        _exit(77);
    if (chdir("/"))
        _exit(1);
    snprintf(path, sizeof path, "%s/link", mounts ? words[2] : "");
    if (symlink(words[3], path))
        _exit(2);
    const int file = open(path, O_RDONLY);
    const ssize_t size = file < 0 ? -1 : read(file, text, sizeof text);
    _exit(count != 4 || size < 0 || write(1, text, (size_t)size) != size);
}
"""


@pytest.fixture(scope="module")
def sw() -> Iterator[World]:
    def fill(tree: Path) -> None:
        (tree / "file").write_text("content\n")

    with world(FQRN, fill) as made:
        (made.home / "programs").mkdir()
        compile_c(made.home / "programs" / "dynamic", PROGRAM, "-O1")
        compile_c(made.home / "programs" / "static", PROGRAM, "-O1", "-static")
        yield made


@pytest.mark.parametrize("how", ["mount", "chroot"])
@pytest.mark.parametrize("program", ["dynamic", "static"])
def test_links_that_only_the_process_sees(sw: World, program: str, how: str) -> None:
    words = (str(sw.home / "programs" / program), how, str(sw.work()), f"{sw.root}/file")
    run = sw.run(*words, limit=LIMIT)
    if run.status == NOT_HERE:
        pytest.skip("no user namespaces here")
    assert run == (0, "content\n", "")

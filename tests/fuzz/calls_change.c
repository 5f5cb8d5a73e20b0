/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Calls that would change something, and programs. See calls.c.
 */
#include "calls.h"

#define OLD 1000099000 /* seconds: not yet recent */

/* What would change something */

void call_change(void)
{
    char first[PATH_SIZE];
    const char *path = changed_path(), *other = "absent";
    const int directory = any_directory(), second = any_directory();
    const unsigned kind = below(14);
    const struct timespec times[2] = {{OLD, 0}, {OLD + (long)below(900), 7}};

    if ((intptr_t)path >= 4096) {
        memcpy(first, path, strlen(path) + 1);
        path = first;
        other = changed_path();
    }
    static const char *const names[] = {
        "mkdirat", "unlinkat", "rmdirat",  "symlinkat", "linkat", "renameat",  "renameat2",
        "mknodat", "fchmodat", "truncate", "utimensat", "creat",  "fchmodat2", "fchownat"};
    say("%s %d ", names[kind], directory);
    say_path(path);
    long result = 0;
    switch (kind) {
    case 0:
        result = syscall(SYS_mkdirat, wide(directory), path, 0755);
        break;
    case 1:
        result = syscall(SYS_unlinkat, wide(directory), path, 0);
        break;
    case 2:
        result = syscall(SYS_unlinkat, wide(directory), path, AT_REMOVEDIR);
        break;
    case 3:
        say(" "), say_path(other);
        result = syscall(SYS_symlinkat, path, wide(directory), other);
        break;
    case 4: {
        const unsigned flags = ANY_OF(4, AT_SYMLINK_FOLLOW);
        say(" %d ", second), say_path(other), say(" %#x", flags);
        result = syscall(SYS_linkat, wide(directory), path, wide(second), other, flags);
        break;
    }
    case 5:
        say(" %d ", second), say_path(other);
        result = syscall(SYS_renameat, wide(directory), path, wide(second), other);
        break;
    case 6: {
        const unsigned flags = ANY_OF(3, 1 /* NOREPLACE */, 2 /* EXCHANGE */);
        say(" %d ", second), say_path(other), say(" %#x", flags);
        result = syscall(SYS_renameat2, wide(directory), path, wide(second), other, flags);
        break;
    }
    case 7:
        result = syscall(SYS_mknodat, wide(directory), path, S_IFREG | 0644, 0);
        break;
    case 8:
        result = syscall(SYS_fchmodat, wide(directory), path, (unsigned)roll() & 0777);
        break;
    case 9:
        result = syscall(SYS_truncate, path, (long)below(200));
        break;
    case 10: {
        const unsigned flags = ANY_OF(4, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH);
        say(" %#x", flags);
        result = syscall(SYS_utimensat, wide(directory), path, times, flags);
        break;
    }
    case 11:
        /* A FIFO waits for its other end; and "missingdir/", as in call_open. */
        if ((intptr_t)path > 4096 && (strstr(path, "fifo") || ends_with_slash(path)))
            path = "";
        result = syscall(SYS_creat, path, 0644);
        if (result >= 0) {
            close((int)result);
            result = 0;
        }
        break;
    case 12: {
        const unsigned flags = ANY_OF(4, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH);
        say(" %#x", flags);
        result = syscall(CALL_FCHMODAT2, wide(directory), path, 0755, flags);
        break;
    }
    default: {
        const unsigned flags = ANY_OF(4, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH);
        say(" %#x", flags);
        result = syscall(SYS_fchownat, wide(directory), path, getuid(), getgid(), flags);
    }
    }
    say_result(result);
}

/* Programs */

void call_exec(void)
{
    static char said[65536];
    const char *path = any_path();
    const int directory = once_in(2) ? AT_FDCWD : any_descriptor();
    const unsigned flags =
        (once_in(4) ? AT_EMPTY_PATH : 0) | (once_in(4) ? AT_SYMLINK_NOFOLLOW : 0);
    const int by_name = once_in(2), with_vfork = once_in(2);
    char *arguments[] = {(char *)"name", (char *)"one", NULL};
    char *environment[] = {(char *)"MARK=here", NULL};
    int from[2], status;
    volatile int error = 0;
    size_t length = 0;

    say("%s %s %d ", with_vfork ? "vfork" : "fork", by_name ? "execve" : "execveat", directory);
    say_path(path), say(" %#x", flags);
    if (pipe2(from, O_CLOEXEC))
        _exit(94);
    const pid_t child = with_vfork ? vfork() : fork();
    if (child == 0) {
        dup2(from[1], 1);
        dup2(from[1], 2);
        if (by_name)
            syscall(SYS_execve, path, arguments, environment);
        else
            syscall(SYS_execveat, directory, path, arguments, environment, flags);
        error = errno;
        _exit(with_vfork ? 77 : errno);
    }
    close(from[1]);
    for (ssize_t size; (size = read(from[0], said + length, sizeof said - 1 - length)) > 0;)
        length += (size_t)size;
    close(from[0]);
    waitpid(child, &status, 0);
    if (error) {
        errno = error;
        say_result(-1);
        return;
    }
    uint32_t sum = 0;
    for (size_t i = 0; i < length; i++)
        sum = sum * 31 + (unsigned char)said[i];
    say(" = %#x said %zu %x", (unsigned)status, length, sum);
}

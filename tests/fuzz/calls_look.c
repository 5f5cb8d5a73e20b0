/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Calls that look: status, access, symlinks, attributes. See calls.c. What is excluded by
 * construction stands where it is excluded, and why.
 */
#include "calls.h"
#include <sys/sysmacros.h>

/* Kernels differ in what they make of others. */
#define STAT_FLAGS                                                                                 \
    (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_FORCE_SYNC |                 \
     AT_STATX_DONT_SYNC)
#define RECENT 1000100000 /* seconds: what is younger was made by the fuzzer */

/* Status */

static void say_fields(unsigned mode, uint64_t links, uint64_t size, uint64_t special,
                       unsigned user, unsigned group, int64_t seconds, int64_t nanoseconds)
{
    const int is_directory = S_ISDIR(mode), is_new = seconds > RECENT;
    say(" %o", mode);
    if (!is_directory)
        say(" links %llu size %llu rdev %llu", (unsigned long long)links, (unsigned long long)size,
            (unsigned long long)special);
    if (is_new)
        say(" new");
    else
        say(" %u:%u %lld.%09lld", user, group, (long long)seconds, (long long)nanoseconds);
}

/* What is new may have got the number of what was removed. */
static void say_number(uint64_t device, uint64_t inode, int64_t seconds)
{
    if (seconds <= RECENT)
        say(" #%u", number_of(device, inode));
}

static void say_status(const struct stat *status)
{
    say_number(status->st_dev, status->st_ino, status->st_mtim.tv_sec);
    say_fields(status->st_mode, status->st_nlink, (uint64_t)status->st_size, status->st_rdev,
               status->st_uid, status->st_gid, status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
}

void call_stat(void)
{
    static struct stat status;
    struct stat *const to = any_memory(&status);
    const int directory = any_directory(), is_safe = to == &status;
    const int flags =
        (int)ANY_OF(5, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_NO_AUTOMOUNT) & STAT_FLAGS;
    const char *path = any_path();
    long result;

    switch (below(is_safe ? 6 : 3)) {
    case 0:
        say("stat "), say_path(path);
        result = syscall(SYS_stat, path, to);
        break;
    case 1:
        say("lstat "), say_path(path);
        result = syscall(SYS_lstat, path, to);
        break;
    case 2:
        say("newfstatat %d ", directory), say_path(path), say(" %#x", (unsigned)flags);
        result = syscall(SYS_newfstatat, wide(directory), path, to, wide(flags));
        break;
    case 3:
        say("libc stat "), say_path(path);
        result = stat(path, to);
        break;
    case 4:
        say("libc lstat "), say_path(path);
        result = lstat(path, to);
        break;
    default:
        say("libc fstatat %d ", directory), say_path(path), say(" %#x", (unsigned)flags);
        result = fstatat(directory, path, to, flags);
    }
    if (say_result(result) && is_safe)
        say_status(&status);
}

void call_statx(void)
{
    static struct statx status;
    struct statx *const to = any_memory(&status);
    const int directory = any_directory();
    const unsigned flags = ANY_OF(5, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_STATX_FORCE_SYNC,
                                  AT_STATX_DONT_SYNC, AT_NO_AUTOMOUNT) &
                           STAT_FLAGS;
    const unsigned mask = once_in(3) ? STATX_BASIC_STATS : (unsigned)roll() & 0xfff;
    const char *path = any_path();

    say("statx %d ", directory), say_path(path), say(" %#x %#x", flags, mask);
    const long result = syscall(SYS_statx, wide(directory), path, wide((int)flags), mask, to);
    if (!say_result(result) || to != &status)
        return;
    /* More than was asked for may be given, and is. */
    const unsigned given = status.stx_mask & mask & STATX_BASIC_STATS;
    say(" %#x", given);
    if (given & STATX_MTIME)
        say_number(makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino,
                   status.stx_mtime.tv_sec);
    if (given & STATX_SIZE && !S_ISDIR(status.stx_mode))
        say(" size %llu", (unsigned long long)status.stx_size);
    if (given == STATX_BASIC_STATS)
        say_fields(status.stx_mode, status.stx_nlink, status.stx_size,
                   (uint64_t)status.stx_rdev_major << 32 | status.stx_rdev_minor, status.stx_uid,
                   status.stx_gid, status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec);
}

void call_fstat(void)
{
    static struct stat status;
    struct stat *const to = any_memory(&status);
    const int descriptor = any_descriptor();
    say("fstat %d", descriptor);
    const long result =
        once_in(2) && to ? fstat(descriptor, to) : syscall(SYS_fstat, wide(descriptor), to);
    if (say_result(result) && to == &status)
        say_status(&status);
}

void call_statfs(void)
{
    static struct statfs status;
    struct statfs *const to = any_memory(&status);
    long result;
    if (once_in(2)) {
        const char *path = any_path();
        say("statfs "), say_path(path);
        result = syscall(SYS_statfs, path, to);
    } else {
        const int descriptor = any_descriptor();
        say("fstatfs %d", descriptor);
        result = syscall(SYS_fstatfs, wide(descriptor), to);
    }
    if (say_result(result) && to == &status)
        say(" names %ld, read-only %ld", (long)status.f_namelen, (long)status.f_flags & 1);
}

void call_access(void)
{
    const int directory = any_directory();
    const int mode = once_in(20) ? (int)below(64) : (int)below(8);
    const int flags = (int)ANY_OF(5, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_EACCESS);
    const char *path = any_path();
    long result;
    switch (below(4)) {
    case 0:
        say("access "), say_path(path), say(" %d", mode);
        result = syscall(SYS_access, path, wide(mode));
        break;
    case 1:
        say("faccessat %d ", directory), say_path(path), say(" %d", mode);
        result = syscall(SYS_faccessat, wide(directory), path, wide(mode));
        break;
    case 2:
        say("faccessat2 %d ", directory), say_path(path), say(" %d %#x", mode, (unsigned)flags);
        result = syscall(CALL_FACCESSAT2, wide(directory), path, wide(mode), wide(flags));
        break;
    default:
        say("libc access "), say_path(path), say(" %d", mode);
        result = path ? access(path, mode) : 0;
    }
    say_result(result);
}

/* Text that is given back */

void call_readlink(void)
{
    static char text[4096];
    char *const to = any_memory(text);
    const int directory = any_directory();
    const unsigned size = any_size(sizeof text);
    const char *path = any_path();
    long result;
    if (once_in(2)) {
        say("readlink "), say_path(path), say(" %u", size);
        result = syscall(SYS_readlink, path, to, size);
    } else {
        say("readlinkat %d ", directory), say_path(path), say(" %u", size);
        result = syscall(SYS_readlinkat, wide(directory), path, to, size);
    }
    if (say_result(result) && to == text)
        say_text(text, result);
}

void call_getcwd(void)
{
    static char text[4096];
    char *const to = any_memory(text);
    const unsigned size = any_size(once_in(2) ? 200 : sizeof text);
    say("getcwd %u", size);
    const long result = syscall(SYS_getcwd, to, size);
    if (say_result(result) && to == text)
        say_text(text, result - 1);
}

void call_xattr(void)
{
    /* Names of no namespace are names to FUSE, CernVM-FS has some of its own, and names are looked
     * at last, not first. */
    static const char *const names[] = {"user.one", "user.second", "user.directory", "user.absent"};
    static char text[4096];
    const char *name = names[below(4)];
    const unsigned size = any_size(once_in(2) ? 16 : sizeof text);
    const int descriptor = any_descriptor();
    const unsigned kind = below(9);
    const char *path = any_path();
    static const int numbers[] = {SYS_getxattr,  SYS_lgetxattr,   SYS_fgetxattr,
                                  SYS_listxattr, SYS_llistxattr,  SYS_flistxattr,
                                  SYS_setxattr,  SYS_removexattr, SYS_fsetxattr};
    static const char *const calls[] = {"getxattr",  "lgetxattr",   "fgetxattr",
                                        "listxattr", "llistxattr",  "flistxattr",
                                        "setxattr",  "removexattr", "fsetxattr"};
    const int by_descriptor = kind == 2 || kind == 5 || kind == 8;
    const long on = by_descriptor ? wide(descriptor) : (long)path;
    long result;

    say("%s ", calls[kind]);
    if (by_descriptor)
        say("%d", descriptor);
    else
        say_path(path);
    if (kind < 3) {
        say(" %s %u", name, size);
        result = syscall(numbers[kind], on, name, text, size);
        if (say_result(result) && size)
            say_text(text, result);
    } else if (kind < 6) {
        say(" %u", size);
        /* Their order is free: how long they are is not. */
        say_result(syscall(numbers[kind], on, text, size));
    } else if (kind == 7) {
        say(" %s", name);
        say_result(syscall(numbers[kind], on, name));
    } else {
        say(" %s", name);
        say_result(syscall(numbers[kind], on, name, "value", 5, 0));
    }
}

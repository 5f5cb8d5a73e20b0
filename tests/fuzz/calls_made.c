/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The calls that calls.c makes. What is excluded by construction stands where it is excluded, and why.
 */
#include "calls.h"
#include <sys/sysmacros.h>

#define RECENT 1000100000 /* seconds: what is younger was made by the fuzzer */
#define DESCRIPTORS 24

/* Descriptors: small numbers, most of them open; AT_FDCWD; what is none at all. */

static int any_descriptor(void)
{
    if (once_in(12))
        return -1 - (int)below(300);
    return 3 + (int)below(once_in(3) ? DESCRIPTORS : 8);
}

static int any_directory(void)
{
    return once_in(2) ? AT_FDCWD : any_descriptor();
}

/* As the kernel gets it: of what is an int only the lower half counts. */
static long wide(int value)
{
    return once_in(6) ? (long)(uint32_t)value | (long)(roll() << 32) : value;
}

static unsigned any_of(const unsigned *flags, unsigned count, unsigned chance)
{
    unsigned chosen = 0;
    for (unsigned i = 0; i < count; i++)
        if (once_in(chance))
            chosen |= flags[i];
    return once_in(80) ? chosen | 1u << below(32) : chosen;
}

#define ANY_OF(chance, ...)                                                                      \
    any_of((const unsigned[]){__VA_ARGS__}, sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned), chance)

static int ends_with_slash(const char *path)
{
    const size_t length = strlen(path);
    return length && path[length - 1] == '/';
}

/* Where a result goes: usually to memory. */
static void *any_memory(void *memory)
{
    if (once_in(60))
        return once_in(2) ? NULL : (void *)0x8000000000000000u;
    return memory;
}

/* Not every kernel that has these calls has headers that say so. */
#define CALL_FACCESSAT2 439
#define CALL_OPENAT2 437
#define CALL_FCHMODAT2 452

/* Status */

static void say_fields(unsigned mode, uint64_t links, uint64_t size, uint64_t special, unsigned user,
                       unsigned group, int64_t seconds, int64_t nanoseconds)
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

static void say_status(const struct stat *status)
{
    say(" #%u", number_of(status->st_dev, status->st_ino));
    say_fields(status->st_mode, status->st_nlink, (uint64_t)status->st_size, status->st_rdev,
               status->st_uid, status->st_gid, status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
}

static void call_stat(void)
{
    static struct stat status;
    struct stat *const to = any_memory(&status);
    const int directory = any_directory(), is_safe = to == &status;
    const int flags = (int)ANY_OF(5, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_NO_AUTOMOUNT);
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

static void call_statx(void)
{
    static struct statx status;
    struct statx *const to = any_memory(&status);
    const int directory = any_directory();
    const unsigned flags = ANY_OF(5, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_STATX_FORCE_SYNC,
                                  AT_STATX_DONT_SYNC, AT_NO_AUTOMOUNT);
    const unsigned mask = once_in(3) ? STATX_BASIC_STATS : (unsigned)roll() & 0xfff;
    const char *path = any_path();

    say("statx %d ", directory), say_path(path), say(" %#x %#x", flags, mask);
    const long result = syscall(SYS_statx, wide(directory), path, wide((int)flags), mask, to);
    if (!say_result(result) || to != &status)
        return;
    /* More than was asked for may be given, and is. */
    const unsigned given = status.stx_mask & mask & STATX_BASIC_STATS;
    say(" %#x #%u", given,
        number_of(makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino));
    if (given & STATX_SIZE && !S_ISDIR(status.stx_mode))
        say(" size %llu", (unsigned long long)status.stx_size);
    if (given == STATX_BASIC_STATS)
        say_fields(status.stx_mode, status.stx_nlink, status.stx_size,
                   (uint64_t)status.stx_rdev_major << 32 | status.stx_rdev_minor, status.stx_uid,
                   status.stx_gid, status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec);
}

static void call_fstat(void)
{
    static struct stat status;
    struct stat *const to = any_memory(&status);
    const int descriptor = any_descriptor();
    say("fstat %d", descriptor);
    const long result = once_in(2) && to ? fstat(descriptor, to) : syscall(SYS_fstat, wide(descriptor), to);
    if (say_result(result) && to == &status)
        say_status(&status);
}

static void call_statfs(void)
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

static void call_access(void)
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

static void say_text(const char *text, long size)
{
    char shown[PATH_SIZE];
    int length;
    memcpy(shown, text, (size_t)size);
    shown[size] = 0;
    /* Numbers of processes are nobody's business. */
    if (sscanf(shown, "/proc/%*d%n", &length) == 0 && strncmp(shown, "/proc/", 6) == 0 && shown[6] <= '9')
        memmove(shown + 6, shown + length, strlen(shown + length) + 1);
    say(" ");
    say_path(shown);
}

static unsigned any_size(unsigned usual)
{
    return once_in(3) ? below(usual) : once_in(30) ? 0 : usual;
}

static void call_readlink(void)
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

static void call_getcwd(void)
{
    static char text[4096];
    char *const to = any_memory(text);
    const unsigned size = any_size(once_in(2) ? 200 : sizeof text);
    say("getcwd %u", size);
    const long result = syscall(SYS_getcwd, to, size);
    if (say_result(result) && to == text)
        say_text(text, result - 1);
}

static void call_xattr(void)
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
    static const int numbers[] = {SYS_getxattr,     SYS_lgetxattr,    SYS_fgetxattr,
                                  SYS_listxattr,    SYS_llistxattr,   SYS_flistxattr,
                                  SYS_setxattr,     SYS_removexattr,  SYS_fsetxattr};
    static const char *const calls[] = {"getxattr",   "lgetxattr",  "fgetxattr",
                                        "listxattr",  "llistxattr", "flistxattr",
                                        "setxattr",   "removexattr", "fsetxattr"};
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

/* Opening, and what is done with what is open */

static void call_open(void)
{
    unsigned flags = ANY_OF(7, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW,
                            O_CLOEXEC, O_PATH);
    const int directory = any_directory();
    const unsigned mode = once_in(3) ? (unsigned)roll() & 0777 : 0644;
    const char *path = any_path();
    long result;

    flags |= O_NONBLOCK; /* there are FIFOs */
    if (once_in(3))
        flags |= below(4);
    /* Linux before 6.4 was confused by these two together. */
    /* The cache's file system need not have the one; its files are one's own, as for the other. */
    flags &= ~(unsigned)(O_DIRECT | O_NOATIME);
    if (flags & O_CREAT && flags & O_DIRECTORY)
        flags &= ~(unsigned)O_CREAT;
    /* "missingdir/": known_differences.py. */
    if (flags & O_CREAT && (intptr_t)path > 4096 && ends_with_slash(path))
        flags &= ~(unsigned)O_CREAT;
    switch (below(4)) {
    case 0:
        say("open "), say_path(path), say(" %#x %#o", flags, mode);
        result = syscall(SYS_open, path, wide((int)flags), mode);
        break;
    case 1:
        say("openat %d ", directory), say_path(path), say(" %#x %#o", flags, mode);
        result = syscall(SYS_openat, wide(directory), path, wide((int)flags), mode);
        break;
    case 2: {
        /* RESOLVE_… looks at where a path ends: known_differences.py. */
        const uint64_t how[3] = {flags, flags & (O_CREAT | 020000000) ? mode : 0, 0};
        say("openat2 %d ", directory), say_path(path);
        say(" %#x %#o", flags, (unsigned)how[1]);
        result = syscall(CALL_OPENAT2, wide(directory), path, how, sizeof how);
        break;
    }
    default:
        say("libc open "), say_path(path), say(" %#x %#o", flags, mode);
        result = open(path, (int)flags, mode);
    }
    if (say_result(result)) {
        say(" flags %#x %d", (unsigned)fcntl((int)result, F_GETFL), fcntl((int)result, F_GETFD));
        if (result >= 3 + DESCRIPTORS)
            close((int)result);
    }
}

static void call_descriptor(void)
{
    const int descriptor = any_descriptor(), other = 3 + (int)below(DESCRIPTORS);
    static char content[4096];
    long result;

    switch (below(8)) {
    case 0:
    case 1:
        say("close %d", descriptor);
        say_result(descriptor > 2 ? close(descriptor) : -1);
        break;
    case 2:
        say("dup %d", descriptor);
        result = dup(descriptor);
        if (say_result(result) && result >= 3 + DESCRIPTORS)
            close((int)result);
        break;
    case 3:
        say("dup2 %d %d", descriptor, other);
        say_result(dup2(descriptor, other));
        break;
    case 4:
        say("fcntl F_GETFL, F_GETFD %d", descriptor);
        result = fcntl(descriptor, F_GETFL);
        say_result(result);
        say_result(fcntl(descriptor, F_GETFD));
        break;
    default: {
        const unsigned size = any_size(sizeof content), at = below(300);
        struct stat status;
        say("pread %d %u %u", descriptor, size, at);
        result = pread(descriptor, content, size, at);
        if (say_result(result) && fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
            uint32_t sum = 0;
            for (long i = 0; i < result; i++)
                sum = sum * 31 + (unsigned char)content[i];
            say(" %x", sum);
        }
    }
    }
}

static void call_seek(void)
{
    struct stat status;
    const int descriptor = any_descriptor(), whence = (int)below(once_in(20) ? 8 : 2);
    const long offset = once_in(2) ? 0 : (long)below(200) - 20;
    say("lseek %d %ld %d", descriptor, offset, whence);
    /* What is behind an offset in a directory, and what the end is, is the file system's own. */
    if (fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode) &&
        (whence > 1 || offset > 0 || (whence == 1 && offset))) {
        say(" no");
        return;
    }
    const long result = syscall(SYS_lseek, wide(descriptor), offset, whence);
    if (result > 0 && whence == 1 && S_ISDIR(status.st_mode))
        say(" somewhere");
    else
        say_result(result);
}

/* Names of directories */

struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned char type;
    char name[256];
};

static struct entry entries[8192];
static unsigned entry_count;

static int by_name(const void *one, const void *two)
{
    return strcmp(((const struct entry *)one)->name, ((const struct entry *)two)->name);
}

/* All that comes from here on, with buffers of this size. */
static long read_entries(int directory, unsigned size, int old)
{
    static char buffer[70000] __attribute__((aligned(8)));
    long result;
    entry_count = 0;
    while ((result = syscall(old ? SYS_getdents : SYS_getdents64, directory, buffer, size)) > 0)
        for (long at = 0; at < result && entry_count < 8192;) {
            const char *from = buffer + at;
            struct entry *to = &entries[entry_count++];
            uint16_t length;
            memcpy(&to->inode, from, 8);
            memcpy(&to->offset, from + 8, 8);
            memcpy(&length, from + 16, 2);
            to->type = (unsigned char)(old ? from[length - 1] : from[18]);
            snprintf(to->name, sizeof to->name, "%s", from + (old ? 18 : 19));
            at += length;
        }
    return result;
}

static uint32_t sum_of_entries(void)
{
    uint32_t sum = 0;
    qsort(entries, entry_count, sizeof entries[0], by_name);
    for (unsigned i = 0; i < entry_count; i++) {
        sum = sum * 31 + entries[i].type;
        for (const char *c = entries[i].name; *c; c++)
            sum = sum * 31 + (unsigned char)*c;
    }
    return sum;
}

/* Entries whose inodes are not what lstat says; ".." and mount points may have others. */
static unsigned strangers(int directory)
{
    unsigned count = 0;
    for (unsigned i = 0; i < entry_count; i += 1 + entry_count / 20) {
        struct stat status;
        if (entries[i].type != DT_DIR && (fstatat(directory, entries[i].name, &status, AT_SYMLINK_NOFOLLOW) ||
                                          status.st_ino != entries[i].inode))
            count++;
    }
    return count;
}

static void call_list(void)
{
    /* Between these the outcome depends on the order of names, which is the file system's. */
    const unsigned size = once_in(8) ? below(24) : 320 + below(once_in(2) ? 400 : 60000);
    const int directory = any_descriptor(), old = once_in(4);
    struct stat status;
    say("list %d %u%s", directory, size, old ? " old" : "");
    if (fstat(directory, &status) == 0 && is_of_proc(status.st_dev)) {
        say(" no");
        return;
    }
    lseek(directory, 0, SEEK_SET);
    if (!say_result(read_entries(directory, size, old)) || entry_count == 0)
        return;
    const unsigned all = entry_count, from = below(all);
    const int64_t offset = entries[from].offset;
    const unsigned rest = all - from - 1;
    const uint32_t sum = sum_of_entries();
    say(" %u names %x, %u strange", all, sum, strangers(directory));
    /* And what follows one of them. */
    const long where = lseek(directory, offset, SEEK_SET);
    if (where != offset)
        say(" seek: %s", strerrorname_np(errno));
    read_entries(directory, size, 0);
    if (entry_count != rest)
        say(" %u are left, not %u", entry_count, rest);
}

static void call_opendir(void)
{
    const char *path = any_path();
    if ((intptr_t)path < 4096)
        path = ".";
    say("opendir "), say_path(path);
    DIR *directory = opendir(path);
    if (!directory) {
        say_result(-1);
        return;
    }
    unsigned count = 0;
    uint32_t sum = 0;
    struct stat status;
    if (fstat(dirfd(directory), &status) || is_of_proc(status.st_dev)) {
        closedir(directory);
        say(" no");
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)); count++) {
        uint32_t name = entry->d_type;
        for (const char *c = entry->d_name; *c; c++)
            name = name * 31 + (unsigned char)*c;
        sum += name * 2654435761u;
    }
    closedir(directory);
    say(" %u names %x", count, sum);
}

/* Where we are */

static void call_chdir(void)
{
    static char where[4096];
    if (once_in(2)) {
        const char *path = any_path();
        say("chdir "), say_path(path);
        say_result(syscall(SYS_chdir, path));
    } else {
        const int descriptor = any_descriptor();
        say("fchdir %d", descriptor);
        say_result(syscall(SYS_fchdir, wide(descriptor)));
    }
    if (syscall(SYS_getcwd, where, sizeof where) < 0 || !is_inside(where)) {
        say(" and back");
        if (chdir(safe_place()))
            say(", which failed");
    }
}

static void call_realpath(void)
{
    static char where[4096];
    const char *path = any_path();
    if ((intptr_t)path < 4096)
        path = ".";
    say("realpath "), say_path(path);
    if (realpath(path, where))
        say_text(where, (long)strlen(where));
    else
        say_result(-1);
}

/* What would change something */

static void call_change(void)
{
    char first[PATH_SIZE];
    const char *path = any_path(), *other = "absent";
    const int directory = any_directory(), second = any_directory();
    const unsigned kind = below(14);
    const struct timespec times[2] = {{RECENT - 9, 0}, {RECENT - 1 - (long)below(1000), 7}};

    if ((intptr_t)path >= 4096) {
        memcpy(first, path, strlen(path) + 1);
        path = first;
        other = any_path();
    }
    static const char *const names[] = {"mkdirat", "unlinkat", "rmdirat",   "symlinkat", "linkat",
                                        "renameat", "renameat2", "mknodat", "fchmodat", "truncate",
                                        "utimensat", "creat", "fchmodat2", "fchownat"};
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

static void call_exec(void)
{
    static char said[65536];
    const char *path = any_path();
    const int directory = once_in(2) ? AT_FDCWD : any_descriptor();
    const unsigned flags = (once_in(4) ? AT_EMPTY_PATH : 0) | (once_in(4) ? AT_SYMLINK_NOFOLLOW : 0);
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

void make_call(void)
{
    static void (*const calls[])(void) = {
        call_stat,  call_stat,     call_stat,       call_stat, call_statx,   call_fstat,  call_statfs,
        call_access, call_access,  call_readlink,   call_getcwd, call_xattr, call_open,   call_open,
        call_open,  call_open,     call_descriptor, call_seek, call_list,    call_list,   call_opendir,
        call_chdir, call_realpath, call_change,     call_change,
    };
    if (once_in(40))
        call_exec();
    else
        calls[below(sizeof calls / sizeof calls[0])]();
}

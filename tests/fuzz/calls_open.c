/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Opening, and what is done with what is open; directories; where one is. See calls.c.
 */
#include "calls.h"

/* Opening, and what is done with what is open */

void call_open(void)
{
    unsigned flags =
        ANY_OF(7, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_CLOEXEC, O_PATH);
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
        struct stat status;
        say(" flags %#x %d", (unsigned)fcntl((int)result, F_GETFL), fcntl((int)result, F_GETFD));
        /* What is reached through a descriptor of a symlink itself is something else in a run. */
        if (result >= 3 + DESCRIPTORS || fstat((int)result, &status) || S_ISLNK(status.st_mode))
            close((int)result);
    }
}

void call_descriptor(void)
{
    const int descriptor = any_descriptor(), other = 3 + (int)below(DESCRIPTORS);
    static char content[4096];
    long result;

    switch (below(8)) {
    case 0:
    case 1:
        say("close %d", descriptor);
        say_result(close(descriptor));
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

void call_seek(void)
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

/* /proc changes all the time; and above the places others may make files. */
static int is_lasting(int directory)
{
    char link[64], path[4096];
    struct stat status;
    if (fstat(directory, &status) == 0 && is_of_proc(status.st_dev))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    const ssize_t length = readlink(link, path, sizeof path);
    return length < 0 || strncmp(path, safe_place(), (size_t)length) != 0 ||
           strlen(safe_place()) == (size_t)length;
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
        if (entries[i].type != DT_DIR &&
            (fstatat(directory, entries[i].name, &status, AT_SYMLINK_NOFOLLOW) ||
             status.st_ino != entries[i].inode))
            count++;
    }
    return count;
}

void call_list(void)
{
    /* Between these the outcome depends on the order of names, which is the file system's. */
    const unsigned size = once_in(8) ? below(24) : 320 + below(once_in(2) ? 400 : 60000);
    const int directory = any_descriptor(), old = once_in(4);
    say("list %d %u%s", directory, size, old ? " old" : "");
    if (!is_lasting(directory)) {
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

void call_opendir(void)
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
    if (!is_lasting(dirfd(directory))) {
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
    say(" = %u names %x", count, sum);
}

/* Where we are */

void call_chdir(void)
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

void call_realpath(void)
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

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The decision core, family by family: which action a call gets, and with which value. The errors
 * are those of Linux on a file system that is mounted read-only.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "check.h"
#include "world.h"

#define CWD AT((intptr_t)AT_FDCWD)

static const struct test_link links[] = {
    {PP_CWD, VIEW "/dir", 0}, {3, VIEW, 0},         {4, VIEW "/dir/file", -EBADF},
    {5, "/home", 0},          {6, "socket:[1]", 0}, {0, NULL, 0},
};

/* What is not ours */

static void test_real_paths_run(void)
{
    struct stat status;
    world_reset();
    CHECK_EQUAL(DECIDED(SYS_stat, AT("/etc/passwd"), AT(&status)), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_stat, AT("/cvmfs/other/dir"), AT(&status)), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_stat, AT("relative"), AT(&status)), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_open, AT("/etc/passwd"), O_RDONLY), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/bin/true"), 0, 0), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_rename, AT("/tmp/a"), AT("/tmp/b")), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_unlink, AT("/tmp/a")), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_fstat, 99, AT(&status)), PP_RUN);
    CHECK_EQUAL(task.writes, 0);
}

static void test_what_the_core_does_not_know_runs(void)
{
    CHECK_EQUAL(DECIDED(SYS_read, 3, AT(&call), 10), PP_RUN);
    CHECK_EQUAL(DECIDED(100000, AT(MOUNT)), PP_RUN);
    CHECK_EQUAL(DECIDED(-1, AT(MOUNT)), PP_RUN);
    CHECK(!pp_is_trapped(SYS_read));
    CHECK(!pp_is_trapped(100000));
    CHECK(!pp_is_trapped(-1));
    CHECK(pp_is_trapped(SYS_openat));
}

static void test_bad_pointers_are_the_kernels_to_refuse(void)
{
    struct stat status;
    world_reset();
    CHECK_EQUAL(DECIDED(SYS_stat, 0, AT(&status)), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_stat, BAD_ADDRESS, AT(&status)), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_open, BAD_ADDRESS, O_RDONLY), PP_RUN);
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/dir"), 0), -EFAULT);
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/dir"), BAD_ADDRESS), -EFAULT);
    task.forbidden = &status;
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/dir"), AT(&status)), -EFAULT);
}

/* stat */

static void test_stat(void)
{
    struct stat status, other;
    world_reset();
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/dir/file"), AT(&status)), 0);
    CHECK_EQUAL(status.st_mode, 0100644);
    CHECK_EQUAL(status.st_size, FILE_SIZE);
    CHECK_EQUAL(status.st_mtim.tv_sec, FILE_MTIME);
    CHECK_EQUAL(status.st_uid, FILE_OWNER);
    CHECK_EQUAL(status.st_dev, 77);
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/link"), AT(&other)), 0);
    CHECK_EQUAL(other.st_ino, status.st_ino);
    CHECK_EQUAL(RETURNED(SYS_lstat, AT(MOUNT "/link"), AT(&other)), 0);
    CHECK_EQUAL(other.st_mode, 0120777);
    CHECK_EQUAL(RETURNED(SYS_lstat, AT(MOUNT "/dirlink/"), AT(&other)), 0);
    CHECK_EQUAL(other.st_mode, 0040755);
    CHECK_EQUAL(RETURNED(SYS_stat, AT("//cvmfs/./r//dir/../link"), AT(&other)), 0);
    CHECK_EQUAL(other.st_ino, status.st_ino);
}

static void test_stat_errors(void)
{
    struct stat status;
    char long_path[PP_PATH_MAX + 10] = MOUNT "/";
    world_reset();
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/nothing"), AT(&status)), -ENOENT);
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/dangling"), AT(&status)), -ENOENT);
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/dir/file/x"), AT(&status)), -ENOTDIR);
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/dir/file/"), AT(&status)), -ENOTDIR);
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/loop"), AT(&status)), -ELOOP);
    memset(long_path + sizeof MOUNT, 'x', 256);
    CHECK_EQUAL(RETURNED(SYS_stat, AT(long_path), AT(&status)), -ENAMETOOLONG);
    memset(long_path + sizeof MOUNT, 'x', sizeof long_path - sizeof MOUNT - 1);
    CHECK_EQUAL(DECIDED(SYS_stat, AT(long_path), AT(&status)), PP_RUN); /* beyond PATH_MAX */
    CHECK_EQUAL(task.writes, 0);
}

static void test_stat_from_a_directory(void)
{
    struct stat status;
    struct statx large;
    world_reset();
    task.links = links;
    CHECK_EQUAL(RETURNED(SYS_stat, AT("file"), AT(&status)), 0);
    CHECK_EQUAL(RETURNED(SYS_newfstatat, 3, AT("dir/file"), AT(&status), 0), 0);
    CHECK_EQUAL(status.st_size, FILE_SIZE);
    CHECK_EQUAL(RETURNED(SYS_newfstatat, 3, AT("link"), AT(&status), AT_SYMLINK_NOFOLLOW), 0);
    CHECK(S_ISLNK(status.st_mode));
    CHECK_EQUAL(RETURNED(SYS_newfstatat, 4, AT(""), AT(&status), AT_EMPTY_PATH), 0);
    CHECK_EQUAL(status.st_size, FILE_SIZE);
    CHECK_EQUAL(RETURNED(SYS_newfstatat, 4, AT("x"), AT(&status), 0), -ENOTDIR);
    CHECK_EQUAL(DECIDED(SYS_newfstatat, 3, AT(""), AT(&status), 0), PP_RUN); /* ENOENT */
    CHECK_EQUAL(DECIDED(SYS_newfstatat, 3, AT("dir"), AT(&status), 0x40000000), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_newfstatat, 5, AT("x"), AT(&status), 0), PP_RUN);
    CHECK_EQUAL(RETURNED(SYS_fstat, 4, AT(&status)), 0);
    CHECK_EQUAL(status.st_size, FILE_SIZE);
    CHECK_EQUAL(RETURNED(SYS_statx, 3, AT("dir/file"), 0, STATX_BASIC_STATS, AT(&large)), 0);
    CHECK_EQUAL(large.stx_size, FILE_SIZE);
    CHECK_EQUAL(DECIDED(SYS_statx, 3, AT("dir/file"), 0, 0x80000000, AT(&large)), PP_RUN);
}

static void test_ways_out_of_the_tree(void)
{
    struct stat status;
    const struct test_file real[] = {{.path = "/tmp/in", .target = MOUNT "/dir"}, {.path = NULL}};
    world_reset();
    CHECK_EQUAL(DECIDED(SYS_stat, AT(MOUNT "/out"), AT(&status)), PP_CHANGE);
    CHECK_EQUAL(call.change_count, 1);
    CHECK_EQUAL(call.changes[0].argument, 0);
    CHECK_TEXT((const char *)call.changes[0].data, "/etc/passwd");
    CHECK_EQUAL(call.changes[0].size, sizeof "/etc/passwd");
    CHECK_EQUAL(DECIDED(SYS_stat, AT(MOUNT "/up/lib"), AT(&status)), PP_CHANGE);
    CHECK_TEXT((const char *)call.changes[0].data, "/usr/lib");
    /* And into it, by a real symlink. */
    task.files = real;
    CHECK_EQUAL(RETURNED(SYS_stat, AT("/tmp/in/file"), AT(&status)), 0);
    CHECK_EQUAL(status.st_size, FILE_SIZE);
}

static void test_a_catalog_that_is_not_at_hand(void)
{
    struct stat status;
    world_reset();
    CHECK_EQUAL(DECIDED(SYS_stat, AT(MOUNT "/nested/x"), AT(&status)), PP_ASK);
    CHECK_EQUAL(call.asking->need, PP_NEEDS_CATALOG);
    CHECK_EQUAL(DECIDED(SYS_open, AT(MOUNT "/nested/x"), O_RDONLY), PP_ASK);
    CHECK_EQUAL(call.asking->need, PP_NEEDS_CATALOG);
    CHECK_EQUAL(RETURNED(SYS_stat, AT(MOUNT "/nested"), AT(&status)), 0);
}

/* access, readlink, directories, file systems */

static void test_access(void)
{
    world_reset();
    CHECK_EQUAL(RETURNED(SYS_access, AT(MOUNT "/dir/file"), F_OK), 0);
    CHECK_EQUAL(RETURNED(SYS_access, AT(MOUNT "/dir/file"), R_OK), 0);
    CHECK_EQUAL(RETURNED(SYS_access, AT(MOUNT "/dir/file"), W_OK), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_access, AT(MOUNT "/dir/file"), X_OK), -EACCES);
    CHECK_EQUAL(RETURNED(SYS_access, AT(MOUNT "/run"), R_OK | X_OK), 0);
    CHECK_EQUAL(RETURNED(SYS_access, AT(MOUNT "/dir"), X_OK), 0);
    CHECK_EQUAL(RETURNED(SYS_access, AT(MOUNT "/nothing"), F_OK), -ENOENT);
    CHECK_EQUAL(DECIDED(SYS_access, AT(MOUNT "/dir"), 8), PP_RUN); /* EINVAL */
}

static void test_readlink(void)
{
    char target[32] = "";
    world_reset();
    CHECK_EQUAL(RETURNED(SYS_readlink, AT(MOUNT "/link"), AT(target), sizeof target), 8);
    CHECK_TEXT(target, "dir/file");
    memset(target, 0, sizeof target);
    CHECK_EQUAL(RETURNED(SYS_readlink, AT(MOUNT "/link"), AT(target), 3), 3);
    CHECK_TEXT(target, "dir");
    CHECK_EQUAL(RETURNED(SYS_readlink, AT(MOUNT "/dir"), AT(target), 3), -EINVAL);
    CHECK_EQUAL(RETURNED(SYS_readlink, AT(MOUNT "/nothing"), AT(target), 3), -ENOENT);
    CHECK_EQUAL(DECIDED(SYS_readlink, AT(MOUNT "/link"), AT(target), 0), PP_RUN); /* EINVAL */
}

static void test_working_directory(void)
{
    char path[32] = "";
    world_reset();
    CHECK_EQUAL(DECIDED(SYS_getcwd, AT(path), sizeof path), PP_RUN);
    task.links = links;
    CHECK_EQUAL(RETURNED(SYS_getcwd, AT(path), sizeof path), sizeof MOUNT "/dir");
    CHECK_TEXT(path, MOUNT "/dir");
    CHECK_EQUAL(RETURNED(SYS_getcwd, AT(path), sizeof MOUNT "/dir" - 1), -ERANGE);
    CHECK_EQUAL(DECIDED(SYS_chdir, AT(MOUNT "/dirlink")), PP_CHANGE);
    CHECK_TEXT((const char *)call.changes[0].data, VIEW "/dir");
    CHECK_EQUAL(call.asking->need, PP_NEEDS_VIEW);
    CHECK_EQUAL(RETURNED(SYS_chdir, AT(MOUNT "/dir/file")), -ENOTDIR);
    CHECK_EQUAL(RETURNED(SYS_chdir, AT(MOUNT "/nothing")), -ENOENT);
}

static void test_listing(void)
{
    union {
        char bytes[4096];
        uint64_t alignment;
    } entries;
    world_reset();
    task.links = links;
    const int64_t size = RETURNED(SYS_getdents64, 3, AT(entries.bytes), sizeof entries);
    CHECK(size > 0 && size <= (int64_t)sizeof entries);
    int names = 0, has_dir = 0;
    for (int64_t at = 0; at < size;) {
        uint16_t length;
        memcpy(&length, entries.bytes + at + 16, sizeof length);
        CHECK(length >= 19 && length % 8 == 0);
        if (length < 19)
            break;
        has_dir |= strcmp(entries.bytes + at + 19, "dir") == 0 && entries.bytes[at + 18] == 4;
        names++;
        at += length;
    }
    CHECK_EQUAL(names, 14); /* with "." and ".." */
    CHECK(has_dir);
    CHECK_EQUAL(RETURNED(SYS_getdents64, 3, AT(entries.bytes), 1), -EINVAL);
    CHECK_EQUAL(DECIDED(SYS_getdents64, 4, AT(entries.bytes), sizeof entries), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_getdents64, 5, AT(entries.bytes), sizeof entries), PP_RUN);
}

static void test_statfs(void)
{
    struct statfs status;
    world_reset();
    CHECK_EQUAL(RETURNED(SYS_statfs, AT(MOUNT "/dir"), AT(&status)), 0);
    CHECK(status.f_flags & 1); /* ST_RDONLY */
    CHECK_EQUAL(status.f_namelen, 255);
    CHECK_EQUAL(RETURNED(SYS_statfs, AT(MOUNT "/nothing"), AT(&status)), -ENOENT);
    CHECK_EQUAL(DECIDED(SYS_statfs, AT("/"), AT(&status)), PP_RUN);
}

static void test_attributes(void)
{
    char value[16] = "";
    world_reset();
    CHECK_EQUAL(DECIDED(SYS_getxattr, AT(MOUNT "/dir"), AT("user.fqrn"), AT(value), 16), PP_ASK);
    CHECK_EQUAL(call.asking->need, PP_NEEDS_XATTR);
    CHECK_TEXT(call.attribute, "user.fqrn");
    call.attribute_fetched = 1;
    call.attribute_size = -ENODATA;
    CHECK_EQUAL(RETURNED(SYS_getxattr, AT(MOUNT "/dir"), AT("user.fqrn"), AT(value), 16), -ENODATA);
    call.attribute_size = 4;
    memcpy(call.buffer, "here", 4);
    CHECK_EQUAL(RETURNED(SYS_getxattr, AT(MOUNT "/dir"), AT("user.fqrn"), AT(value), 16), 4);
    CHECK_TEXT(value, "here");
    CHECK_EQUAL(RETURNED(SYS_getxattr, AT(MOUNT "/dir"), AT("user.fqrn"), AT(value), 3), -ERANGE);
    CHECK_EQUAL(RETURNED(SYS_getxattr, AT(MOUNT "/dir"), AT("user.fqrn"), 0, 0), 4);
    call.attribute_fetched = 0;
    CHECK_EQUAL(RETURNED(SYS_getxattr, AT(MOUNT "/dir"), AT("security.x"), AT(value), 16),
                -ENODATA);
    CHECK_EQUAL(RETURNED(SYS_getxattr, AT(MOUNT "/nothing"), AT("user.x"), AT(value), 16), -ENOENT);
    CHECK_EQUAL(RETURNED(SYS_listxattr, AT(MOUNT "/dir"), AT(value), 16), 0);
}

/* open */

static void test_open(void)
{
    world_reset();
    task.links = links;
    CHECK_EQUAL(DECIDED(SYS_open, AT(MOUNT "/link"), O_RDONLY | O_CLOEXEC), PP_OPEN);
    CHECK_TEXT(call.file, VIEW "/dir/file");
    CHECK_EQUAL(call.open_flags, O_RDONLY | O_CLOEXEC);
    CHECK_EQUAL(DECIDED(SYS_openat, 3, AT("dir/file"), O_RDONLY | O_NOCTTY), PP_OPEN);
    CHECK_TEXT(call.file, VIEW "/dir/file");
    CHECK_EQUAL(call.open_flags, O_RDONLY);
    CHECK_EQUAL(DECIDED(SYS_openat, CWD, AT("file"), O_RDONLY), PP_OPEN);
    CHECK_EQUAL(DECIDED(SYS_open, AT(MOUNT), O_RDONLY | O_DIRECTORY), PP_OPEN);
    CHECK_TEXT(call.file, VIEW);
    /* A descriptor that is but a path can't be given away. */
    CHECK_EQUAL(DECIDED(SYS_open, AT(MOUNT "/dir"), O_PATH), PP_CHANGE);
    CHECK_TEXT((const char *)call.changes[0].data, VIEW "/dir");
    CHECK_EQUAL(DECIDED(SYS_open, AT(MOUNT "/out"), O_RDONLY), PP_CHANGE);
    CHECK_TEXT((const char *)call.changes[0].data, "/etc/passwd");
}

static void test_open_of_a_fifo(void)
{
    world_reset();
    /* It may wait: the task makes it itself. */
    CHECK_EQUAL(DECIDED(SYS_open, AT(MOUNT "/fifo"), O_RDONLY), PP_CHANGE);
    CHECK_TEXT((const char *)call.changes[0].data, VIEW "/fifo");
    CHECK_EQUAL(DECIDED(SYS_open, AT(MOUNT "/fifo"), O_WRONLY | O_CREAT | O_TRUNC), PP_CHANGE);
    CHECK_EQUAL(call.args[1], O_WRONLY); /* nothing is made where its view is missing */
    CHECK_EQUAL(DECIDED(SYS_creat, AT(MOUNT "/fifo"), 0600), PP_CHANGE);
    CHECK_EQUAL(DECIDED(SYS_open, AT(MOUNT "/fifo"), O_RDONLY | O_NONBLOCK), PP_OPEN);
    CHECK_EQUAL(DECIDED(SYS_open, AT(MOUNT "/fifo"), O_RDWR), PP_OPEN);
}

static void test_parent(void)
{
    world_reset();
    task.parent = -1;
    CHECK_EQUAL(DECIDED(SYS_getppid, 0), PP_RUN);
    task.parent = 17;
    CHECK_EQUAL(RETURNED(SYS_getppid, 0), 17);
}

static void test_open_refusals(void)
{
    static const struct {
        const char *path;
        int flags, error;
    } refused[] = {
        {MOUNT "/nothing", O_RDONLY, ENOENT},
        {MOUNT "/nothing", O_RDONLY | O_CREAT, EROFS},
        {MOUNT "/nothing/x", O_RDONLY | O_CREAT, ENOENT},
        {MOUNT "/nothing/", O_RDONLY | O_CREAT, EISDIR},
        {MOUNT "/dir/file", O_WRONLY, EROFS},
        {MOUNT "/dir/file", O_RDWR, EROFS},
        {MOUNT "/dir/file", O_RDONLY | O_TRUNC, EROFS},
        {MOUNT "/dir/file", O_RDONLY | O_CREAT | O_EXCL, EEXIST},
        {MOUNT "/dir/file", O_RDONLY | O_DIRECTORY, ENOTDIR},
        {MOUNT "/dir/file", O_RDONLY | O_CREAT | O_DIRECTORY, EINVAL},
        {MOUNT "/dir/file/", O_RDONLY, ENOTDIR},
        {MOUNT "/dir", O_WRONLY, EISDIR},
        {MOUNT "/dir", O_RDWR | O_TMPFILE, EROFS},
        {MOUNT "/dir", O_RDONLY | O_CREAT, EISDIR},
        {MOUNT "/link", O_RDONLY | O_NOFOLLOW, ELOOP},
        {MOUNT "/link", O_RDONLY | O_CREAT | O_EXCL, EEXIST},
        {MOUNT "/loop", O_RDONLY, ELOOP},
        {MOUNT "/socket", O_RDONLY, ENXIO},
    };
    world_reset();
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const int64_t result = RETURNED(SYS_open, AT(refused[i].path), AT((long)refused[i].flags));
        if (result != -refused[i].error)
            fprintf(stderr, "open %s %#o:\n", refused[i].path, (unsigned)refused[i].flags);
        CHECK_EQUAL(result, -refused[i].error);
    }
    CHECK_EQUAL(RETURNED(SYS_creat, AT(MOUNT "/nothing"), 0644), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_creat, AT(MOUNT "/dir"), 0644), -EISDIR);
}

static int64_t open_how(const char *path, uint64_t flags, uint64_t resolve, enum pp_action *action)
{
    const struct open_how how = {.flags = flags, .resolve = resolve};
    *action = DECIDED(SYS_openat2, 3, AT(path), AT(&how), sizeof how);
    return *action == PP_RETURN ? call.value : 0;
}

static void test_openat2(void)
{
    enum pp_action action;
    const struct open_how how = {.flags = O_RDONLY};
    world_reset();
    task.links = links;
    open_how("dir/file", O_RDONLY, 0, &action);
    CHECK_EQUAL(action, PP_OPEN);
    CHECK_EQUAL(open_how("link", O_RDONLY, RESOLVE_NO_SYMLINKS, &action), -ELOOP);
    CHECK_EQUAL(open_how("../r/dir", O_RDONLY, RESOLVE_BENEATH, &action), -EXDEV);
    CHECK_EQUAL(open_how(MOUNT "/dir", O_RDONLY, RESOLVE_BENEATH, &action), -EXDEV);
    open_how("dir", O_RDONLY, RESOLVE_BENEATH, &action);
    CHECK_EQUAL(action, PP_OPEN);
    /* The kernel has to say what is wrong with these. */
    open_how("dir", O_RDONLY, 1 << 20, &action);
    CHECK_EQUAL(action, PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_openat2, 3, AT("dir"), AT(&how), 8), PP_RUN);
    CHECK_EQUAL(DECIDED(SYS_openat2, 3, AT("dir"), BAD_ADDRESS, sizeof how), PP_RUN);
}

/* Changes */

static void test_nothing_can_be_changed(void)
{
    world_reset();
    CHECK_EQUAL(RETURNED(SYS_chmod, AT(MOUNT "/dir/file"), 0), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_chown, AT(MOUNT "/dir/file"), 0, 0), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_truncate, AT(MOUNT "/dir/file"), 0), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_truncate, AT(MOUNT "/dir"), 0), -EISDIR);
    CHECK_EQUAL(RETURNED(SYS_utimensat, CWD, AT(MOUNT "/dir/file"), 0, 0), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_setxattr, AT(MOUNT "/dir"), AT("user.x"), AT("y"), 1, 0), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_removexattr, AT(MOUNT "/dir"), AT("user.x")), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_chmod, AT(MOUNT "/nothing"), 0), -ENOENT);
    CHECK_EQUAL(DECIDED(SYS_chmod, AT(MOUNT "/out"), 0), PP_CHANGE);
    CHECK_EQUAL(DECIDED(SYS_chmod, AT("/tmp/x"), 0), PP_RUN);
}

static void test_no_name_can_be_made_or_removed(void)
{
    world_reset();
    CHECK_EQUAL(RETURNED(SYS_mkdir, AT(MOUNT "/new"), 0755), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_mkdir, AT(MOUNT "/dir"), 0755), -EEXIST);
    CHECK_EQUAL(RETURNED(SYS_mkdir, AT(MOUNT "/nothing/new"), 0755), -ENOENT);
    CHECK_EQUAL(RETURNED(SYS_mkdir, AT(MOUNT "/dir/file/new"), 0755), -ENOTDIR);
    CHECK_EQUAL(RETURNED(SYS_mkdir, AT(MOUNT), 0755), -EEXIST);
    CHECK_EQUAL(RETURNED(SYS_mknod, AT(MOUNT "/new"), S_IFREG | 0644, 0), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_symlink, AT("anything"), AT(MOUNT "/new")), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_unlink, AT(MOUNT "/dir/file")), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_rmdir, AT(MOUNT "/dir")), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_rmdir, AT(MOUNT)), -EBUSY);
    CHECK_EQUAL(RETURNED(SYS_unlinkat, CWD, AT(MOUNT "/dir/."), AT_REMOVEDIR), -EINVAL);
}

static void test_rename_and_link(void)
{
    world_reset();
    CHECK_EQUAL(RETURNED(SYS_rename, AT(MOUNT "/dir/file"), AT(MOUNT "/new")), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_rename, AT(MOUNT "/dir/file"), AT("/tmp/new")), -EXDEV);
    CHECK_EQUAL(RETURNED(SYS_rename, AT(MOUNT), AT(MOUNT "/new")), -EXDEV);
    CHECK_EQUAL(RETURNED(SYS_rename, AT(MOUNT), AT("/cvmfs/new")), -EBUSY);
    CHECK_EQUAL(RETURNED(SYS_renameat2, CWD, AT(MOUNT "/run"), CWD, AT(MOUNT "/link"), 0), -EROFS);
    CHECK_EQUAL(RETURNED(SYS_link, AT(MOUNT "/dir/file"), AT(MOUNT "/dir")), -EEXIST);
    CHECK_EQUAL(RETURNED(SYS_link, AT(MOUNT "/nothing"), AT("/tmp/new")), -ENOENT);
}

static void test_sockets(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = MOUNT "/new"};
    const uint64_t size = sizeof address;
    world_reset();
    task.links = links;
    CHECK_EQUAL(RETURNED(SYS_bind, 6, AT(&address), size), -EROFS);
    CHECK_EQUAL(DECIDED(SYS_bind, 4, AT(&address), size), PP_RUN); /* ENOTSOCK */
    CHECK_EQUAL(DECIDED(SYS_bind, 6, AT(&address), offsetof(struct sockaddr_un, sun_path)), PP_RUN);
    CHECK_EQUAL(RETURNED(SYS_connect, 6, AT(&address), size), -ENOENT);
    strcpy(address.sun_path, MOUNT "/dir");
    CHECK_EQUAL(RETURNED(SYS_bind, 6, AT(&address), size), -EADDRINUSE);
    strcpy(address.sun_path, MOUNT "/socket");
    CHECK_EQUAL(RETURNED(SYS_connect, 6, AT(&address), size), -ECONNREFUSED);
    address.sun_family = AF_INET;
    CHECK_EQUAL(DECIDED(SYS_connect, 6, AT(&address), size), PP_RUN);
}

/* exec */

static const char script[] = "#!" MOUNT "/run  -x y \n", too_long[300] = "#! ";

static void test_exec(void)
{
    static const char program[] = "\177ELF and nothing more";
    const struct test_file files[] = {
        {.path = VIEW "/run", .content = program, .size = sizeof program},
        {.path = VIEW "/script", .content = script, .size = sizeof script - 1},
        {.path = "/tmp/script", .content = script, .size = sizeof script - 1},
        {.path = NULL},
    };
    world_reset();
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_ASK);
    CHECK_EQUAL(call.asking->need, PP_NEEDS_VIEW);
    task.files = files;
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_EXEC);
    CHECK_TEXT(call.file, VIEW "/run");
    CHECK_TEXT(call.exec.shown, MOUNT "/run");
    CHECK_EQUAL(call.exec.words, 0);
    CHECK(call.exec.loader == NULL);
    /* A script: its interpreter runs, with the argument, the name, and then what was given. */
    const char words[] = MOUNT "/run\0-x y\0" MOUNT "/script";
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/script"), 0, 0), PP_EXEC);
    CHECK_TEXT(call.file, VIEW "/run");
    CHECK_EQUAL(call.exec.words, 3);
    CHECK_EQUAL(call.exec.size, sizeof words);
    CHECK(memcmp(call.exec.text, words, sizeof words) == 0);
    /* A real script may have a virtual interpreter. */
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/script"), 0, 0), PP_EXEC);
    CHECK_TEXT(call.file, VIEW "/run");
    CHECK_TEXT(call.exec.shown, "/tmp/script");
}

/* A view that was written to is made anew before it is run, and so is what runs a script. */
static void test_exec_of_views_that_were_changed(void)
{
    static const char program[] = "\177ELF and nothing more";
    struct test_file files[] = {
        {.path = VIEW "/run", .content = program, .size = sizeof program, .modified = MARK + 1},
        {.path = VIEW "/script", .content = script, .size = sizeof script - 1},
        {.path = NULL},
    };
    world_reset();
    task.files = files;
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_ASK);
    CHECK_EQUAL(call.asking->need, PP_NEEDS_VIEW);
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/script"), 0, 0), PP_ASK);
    CHECK_EQUAL(call.asking->need, PP_NEEDS_VIEW);
    CHECK_TEXT(call.asking->walk.path, "/run");
    files[0].modified = 0;
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/script"), 0, 0), PP_EXEC);
    files[0].content = NULL;
    files[0].error = EACCES; /* no regular file */
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_ASK);
    files[0].error = EIO;
    CHECK_EQUAL(RETURNED(SYS_execve, AT(MOUNT "/run"), 0, 0), -EIO);
}

/* Real files that the kernel does not look at: whether they may be run, it is asked. */
static void test_exec_that_has_to_be_allowed(void)
{
    static const char program[] = "\177ELF and nothing more", inner[] = "#!/tmp/script\n",
                      missing[] = "#!" MOUNT "/nothing\n";
    const struct test_file files[] = {
        {.path = VIEW "/run", .content = program, .size = sizeof program},
        {.path = VIEW "/script", .content = inner, .size = sizeof inner - 1},
        {.path = "/tmp/script", .content = script, .size = sizeof script - 1},
        {.path = "/tmp/missing", .content = missing, .size = sizeof missing - 1},
        {.path = "/tmp/link", .target = "somewhere"},
        {.path = NULL},
    };
    world_reset();
    task.files = files;
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/script"), 0, 0), PP_EXEC);
    CHECK_EQUAL(call.exec.checks_first, 1);
    CHECK_EQUAL(call.exec.checked_size, 0);
    CHECK_EQUAL(call.exec.error, 0);
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/script"), 0, 0), PP_EXEC);
    CHECK_EQUAL(call.exec.checks_first, 0);
    CHECK_EQUAL(call.exec.checked_size, sizeof "/tmp/script");
    CHECK_TEXT(call.exec.checked, "/tmp/script");
    /* What is wrong behind it the caller learns if he may run it. */
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/missing"), 0, 0), PP_EXEC);
    CHECK_EQUAL(call.exec.checks_first, 1);
    CHECK_EQUAL(call.exec.error, -ENOENT);
    /* A link that a way through the repository ends at, and that is not to be followed. */
    CHECK_EQUAL(RETURNED(SYS_execveat, CWD, AT(MOUNT "/up/../tmp/link"), 0, 0, AT_SYMLINK_NOFOLLOW),
                -ELOOP);
}

static void test_exec_refusals(void)
{
    static char endless[sizeof too_long];
    const struct test_file files[] = {
        {.path = VIEW "/run", .content = "#!\n", .size = 3},
        {.path = VIEW "/script", .content = endless, .size = sizeof endless},
        {.path = NULL},
    };
    world_reset();
    CHECK_EQUAL(RETURNED(SYS_execve, AT(MOUNT "/dir/file"), 0, 0), -EACCES);
    CHECK_EQUAL(RETURNED(SYS_execve, AT(MOUNT "/dir"), 0, 0), -EACCES);
    CHECK_EQUAL(RETURNED(SYS_execve, AT(MOUNT "/fifo"), 0, 0), -EACCES);
    CHECK_EQUAL(RETURNED(SYS_execve, AT(MOUNT "/nothing"), 0, 0), -ENOENT);
    CHECK_EQUAL(RETURNED(SYS_execve, AT(MOUNT "/loop"), 0, 0), -ELOOP);
    CHECK_EQUAL(RETURNED(SYS_execveat, CWD, AT(MOUNT "/link"), 0, 0, AT_SYMLINK_NOFOLLOW), -ELOOP);
    task.files = files;
    CHECK_EQUAL(RETURNED(SYS_execve, AT(MOUNT "/run"), 0, 0), -ENOEXEC);
    memset(endless, 'x', sizeof endless); /* a name that does not end in what the kernel reads */
    memcpy(endless, "#!/", 3);
    CHECK_EQUAL(RETURNED(SYS_execve, AT(MOUNT "/script"), 0, 0), -ENOEXEC);
}

static void test_exec_of_scripts_without_end(void)
{
    static const char itself[] = "#!" MOUNT "/script\n";
    const struct test_file files[] = {
        {.path = VIEW "/script", .content = itself, .size = sizeof itself - 1}, {.path = NULL}};
    world_reset();
    task.files = files;
    CHECK_EQUAL(RETURNED(SYS_execve, AT(MOUNT "/script"), 0, 0), -ELOOP);
}

/* A program with an interpreter, and what may be wrong with its headers. */
struct elf {
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    char interpreter[32];
};

static struct elf elf_of(const char *interpreter)
{
    struct elf made = {
        .header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64},
                   .e_phoff = offsetof(struct elf, segment),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 1},
        .segment = {.p_type = PT_INTERP,
                    .p_offset = offsetof(struct elf, interpreter),
                    .p_filesz = strlen(interpreter) + 1},
    };
    strcpy(made.interpreter, interpreter);
    return made;
}

static void test_exec_with_an_interpreter(void)
{
    struct elf program = elf_of(MOUNT "/run");
    const struct test_file files[] = {
        {.path = VIEW "/run", .content = (const char *)&program, .size = sizeof program},
        {.path = NULL},
    };
    world_reset();
    task.files = files;
    /* Its interpreter is virtual: it runs from a copy that names the interpreter's view. */
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_ASK);
    CHECK_EQUAL(call.asking->need, PP_NEEDS_PROGRAM);
    CHECK(strncmp(call.program.copy, VIEW ".x/", sizeof VIEW ".x/" - 1) == 0);
    CHECK_TEXT(call.program.interpreter, VIEW "/run");
    program = elf_of("/lib64/ld.so");
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_EXEC);
    CHECK(call.exec.loader != NULL);
    if (call.exec.loader)
        CHECK_TEXT(call.exec.loader, "/lib64/ld.so");
    /* Headers that lead anywhere: the kernel refuses what we do not understand. */
    program.segment.p_offset = UINT64_MAX;
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_EXEC);
    program.segment.p_filesz = UINT64_MAX;
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_EXEC);
    program.header.e_phnum = 0xffff;
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_EXEC);
    program.header.e_phnum = 1;
    program.header.e_phoff = UINT64_MAX - 8;
    CHECK_EQUAL(DECIDED(SYS_execve, AT(MOUNT "/run"), 0, 0), PP_EXEC);
}

/* The copy of a real program is that of one file in one state, and of one interpreter. */
static void test_exec_of_copies(void)
{
    const struct elf program = elf_of(MOUNT "/run"), made = elf_of(VIEW "/run"),
                     other = elf_of(VIEW "/other");
    static char copy[sizeof call.program.copy];
    struct test_file files[] = {
        {.path = VIEW "/run", .content = "", .size = 0},
        {.path = "/tmp/a.out", .content = (const char *)&program, .size = sizeof program},
        {.path = copy, .content = (const char *)&made, .size = sizeof made},
        {.path = NULL},
    };
    world_reset();
    task.files = files;
    files[1].modified = 0x10;
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/a.out"), 0, 0), PP_ASK);
    CHECK_EQUAL(call.asking->need, PP_NEEDS_PROGRAM);
    strcpy(copy, call.program.copy);
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/a.out"), 0, 0), PP_EXEC);
    CHECK_TEXT(call.file, copy);
    CHECK_EQUAL(call.exec.checks_first, 1);
    char shown[PP_PATH_MAX];
    CHECK_EQUAL(pp_shown(call.space, copy, shown, sizeof shown), sizeof "/tmp/a.out" - 1);
    CHECK_TEXT(shown, "/tmp/a.out");
    /* It was spoilt, or names something else. */
    files[2].modified = MARK + 1;
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/a.out"), 0, 0), PP_ASK);
    files[2] =
        (struct test_file){.path = copy, .content = (const char *)&other, .size = sizeof other};
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/a.out"), 0, 0), PP_ASK);
    files[2].content = (const char *)&made;
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/a.out"), 0, 0), PP_EXEC);
    /* Another file has another copy; the interpreter's view is looked at each time. */
    files[1].modified = 0x11;
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/a.out"), 0, 0), PP_ASK);
    CHECK(strcmp(call.program.copy, copy) != 0);
    files[1].modified = 0x10;
    files[0].modified = MARK + 1;
    CHECK_EQUAL(DECIDED(SYS_execve, AT("/tmp/a.out"), 0, 0), PP_ASK);
    CHECK_EQUAL(call.asking->need, PP_NEEDS_VIEW);
}

int main(void)
{
    world_make();
    test_real_paths_run();
    test_what_the_core_does_not_know_runs();
    test_bad_pointers_are_the_kernels_to_refuse();
    test_stat();
    test_stat_errors();
    test_stat_from_a_directory();
    test_ways_out_of_the_tree();
    test_a_catalog_that_is_not_at_hand();
    test_access();
    test_readlink();
    test_working_directory();
    test_listing();
    test_statfs();
    test_attributes();
    test_open();
    test_open_of_a_fifo();
    test_parent();
    test_open_refusals();
    test_openat2();
    test_nothing_can_be_changed();
    test_no_name_can_be_made_or_removed();
    test_rename_and_link();
    test_sockets();
    test_exec();
    test_exec_of_views_that_were_changed();
    test_exec_that_has_to_be_allowed();
    test_exec_refusals();
    test_exec_of_scripts_without_end();
    test_exec_with_an_interpreter();
    test_exec_of_copies();
    world_free();
    return failed_checks != 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "task/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "task/descriptors.h"
#include "task/known_images.h"
#include "task/memory.h"
#include "task/proc.h"

#define PAGE 4096u

static struct pp_remote_task *remote(struct pp_task *task)
{
    return (struct pp_remote_task *)task;
}

static pid_t task_of(struct pp_task *task)
{
    return remote(task)->number;
}

int pp_remote_number(const struct pp_task *task)
{
    return ((const struct pp_remote_task *)task)->number;
}

static int read_memory(struct pp_task *task, uint64_t address, void *buffer, size_t size)
{
    return pp_memory_read(task_of(task), address, buffer, size);
}

static int write_memory(struct pp_task *task, uint64_t address, const void *data, size_t size)
{
    if (size == 0)
        return 0;
    if (!remote(task)->is_waiting(remote(task)))
        return -EFAULT;
    return pp_memory_write(task_of(task), address, data, size);
}

static int64_t read_text(struct pp_task *task, uint64_t address, char *buffer, size_t capacity)
{
    size_t length = 0;

    while (length < capacity) {
        /* Up to the end of a page: the next one may not be there. Paths are short, mostly. */
        size_t size = PAGE - (address + length) % PAGE;
        if (size > capacity - length)
            size = capacity - length;
        if (length == 0 && size > 256)
            size = 256;
        if (read_memory(task, address + length, buffer + length, size))
            return -EFAULT;
        const char *end = memchr(buffer + length, 0, size);
        if (end)
            return end - buffer;
        length += size;
    }
    return -ENAMETOOLONG;
}

static int64_t get_link(struct pp_task *task, int descriptor, char *buffer, size_t capacity)
{
    char name[32];

    if (descriptor == PP_CWD)
        return pp_proc_link(task_of(task), "cwd", buffer, capacity);
    if (descriptor < 0)
        return -EBADF;
    snprintf(name, sizeof name, "fd/%d", descriptor);
    return pp_proc_link(task_of(task), name, buffer, capacity);
}

/* The process of a thread; 0 if it has gone. */
static pid_t process_of(pid_t task)
{
    char text[1024];
    pp_proc_read(task, "status", text, sizeof text);
    const char *line = strstr(text, "\nTgid:");
    return line ? (pid_t)strtol(line + 6, NULL, 10) : 0;
}

/* The task's root; AT_FDCWD if it is this process's, -errno if it can't be had. */
static int open_root(const struct pp_remote_task *task)
{
    if (!__atomic_load_n(task->roots_differ, __ATOMIC_RELAXED))
        return AT_FDCWD;
    const int root = pp_proc_open(task->number, "root", O_PATH | O_DIRECTORY);
    return root < 0 ? -errno : root;
}

static void close_root(int root)
{
    if (root >= 0)
        close(root);
}

int pp_remote_open(struct pp_remote_task *task, const char *path, uint64_t flags, uint64_t resolve)
{
    const struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};

    const int root = open_root(task);
    if (root < 0 && root != AT_FDCWD)
        return root;
    struct open_how in_root = how;
    if (root >= 0)
        in_root.resolve |= RESOLVE_IN_ROOT;
    const int descriptor =
        PP_DESCRIPTOR(syscall(SYS_openat2, root, path, &in_root, sizeof in_root));
    const int error = errno;
    close_root(root);
    return descriptor < 0 ? -error : descriptor;
}

int pp_remote_open_file(struct pp_remote_task *task, const char *path)
{
    char link[32];
    struct stat status;
    int descriptor = -EACCES;

    const int found = pp_remote_open(task, path, O_PATH, 0);
    if (found < 0)
        return found;
    if (fstat(found, &status) == 0 && S_ISREG(status.st_mode)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", found);
        descriptor = PP_DESCRIPTOR(open(link, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        if (descriptor < 0)
            descriptor = -errno;
    }
    close(found);
    return descriptor;
}

static int64_t read_link(struct pp_task *task, const char *path, char *buffer, size_t capacity)
{
    /* These two depend on the process that reads them: here they would be the supervisor's. */
    if (strcmp(path, "/proc/self") == 0)
        return snprintf(buffer, capacity, "%d", process_of(task_of(task)));
    if (strcmp(path, "/proc/thread-self") == 0)
        return snprintf(buffer, capacity, "%d/task/%d", process_of(task_of(task)), task_of(task));
    const int root = open_root(remote(task));
    if (root < 0 && root != AT_FDCWD)
        return root;
    const ssize_t length = readlinkat(root, root >= 0 ? path + 1 : path, buffer, capacity);
    const int error = errno;
    close_root(root);
    return length < 0 ? -error : length;
}

static int has_no_symlinks(struct pp_task *task, const char *path, int follow)
{
    const int descriptor = pp_remote_open(remote(task), path, follow ? O_PATH : O_PATH | O_NOFOLLOW,
                                          RESOLVE_NO_SYMLINKS);
    if (descriptor >= 0)
        close(descriptor);
    /* A path that got too long on its way here may have any. */
    return descriptor != -ELOOP && descriptor != -ENAMETOOLONG;
}

/* Open a file that is to be inspected: a descriptor, or -errno. */
static int open_file(struct pp_task *task, const char *path, uint32_t how, int flags)
{
    if (how & PP_INSPECT_NOFOLLOW)
        flags |= O_NOFOLLOW;
    if (how & PP_INSPECT_REAL)
        return pp_remote_open(remote(task), path, (uint64_t)flags, 0);
    const int descriptor = PP_DESCRIPTOR(open(path, flags | O_CLOEXEC));
    return descriptor < 0 ? -errno : descriptor;
}

/* What stat says of a path, without an open that others notice: 0 or -errno. */
static int get_status(struct pp_task *task, const char *path, uint32_t how, struct stat *status)
{
    const int flags = how & PP_INSPECT_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0;

    if (!(how & PP_INSPECT_REAL) || !__atomic_load_n(remote(task)->roots_differ, __ATOMIC_RELAXED))
        return fstatat(AT_FDCWD, path, status, flags) ? -errno : 0;
    const int descriptor = open_file(task, path, how, O_PATH);
    if (descriptor < 0)
        return descriptor;
    const int error = fstat(descriptor, status) ? -errno : 0;
    close(descriptor);
    return error;
}

static void identify(const struct stat *status, struct pp_image *image)
{
    image->mode = status->st_mode;
    image->identity = (struct pp_identity){
        .device = status->st_dev,
        .inode = status->st_ino,
        .size = (uint64_t)status->st_size,
        .modified = status->st_mtim.tv_sec * INT64_C(1000000000) + status->st_mtim.tv_nsec,
        .changed = status->st_ctim.tv_sec * INT64_C(1000000000) + status->st_ctim.tv_nsec,
    };
}

static int64_t read_at(const void *file, uint64_t offset, void *buffer, size_t size)
{
    const ssize_t done = pread(*(const int *)file, buffer, size, (off_t)offset);
    return done < 0 ? -errno : done;
}

/* Read what nothing is known of yet. */
static int64_t inspect_open(int descriptor, struct pp_image *image)
{
    struct stat status;

    if (fstat(descriptor, &status))
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EACCES;
    identify(&status, image);
    const int64_t error = pp_image_read(image, read_at, &descriptor);
    if (error == 0)
        pp_known_image_keep(image, descriptor);
    return error;
}

static int64_t inspect(struct pp_task *task, const char *path, uint32_t how, struct pp_image *image)
{
    struct stat status;

    const int failed = get_status(task, path, how, &status);
    if (failed)
        return failed;
    if (S_ISLNK(status.st_mode))
        return -ELOOP;
    if (!S_ISREG(status.st_mode)) /* it is not even opened: that might wait, or do something */
        return -EACCES;
    identify(&status, image);
    if (pp_known_image_find(image))
        return 0;
    const int descriptor = open_file(task, path, how, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0)
        return descriptor;
    const int64_t error = inspect_open(descriptor, image);
    close(descriptor);
    return error;
}

int pp_remote_borrow(pid_t task, int descriptor)
{
    int process = PP_DESCRIPTOR(syscall(SYS_pidfd_open, task, 0));
    if (process < 0) /* a thread that is not the first of its process */
        process = PP_DESCRIPTOR(syscall(SYS_pidfd_open, process_of(task), 0));
    if (process < 0)
        return -errno;
    const int borrowed = PP_DESCRIPTOR(syscall(SYS_pidfd_getfd, process, descriptor, 0));
    const int error = errno;
    close(process);
    return borrowed < 0 ? -error : borrowed;
}

static int64_t seek(struct pp_task *task, int descriptor, int64_t position)
{
    const int borrowed = pp_remote_borrow(task_of(task), descriptor);
    if (borrowed < 0)
        return borrowed;
    off_t offset = lseek(borrowed, 0, SEEK_CUR);
    if (position >= 0 && offset >= 0) {
        struct pp_moved *moved = remote(task)->moved;
        moved->before = offset;
        moved->after = position;
        __atomic_store_n(&moved->descriptor, (uint32_t)descriptor + 1, __ATOMIC_RELEASE);
        offset = lseek(borrowed, position, SEEK_SET);
    }
    const int error = errno;
    close(borrowed);
    return offset < 0 ? -error : offset;
}

void pp_remote_move_back(pid_t task, struct pp_moved *moved)
{
    if (!moved->descriptor)
        return;
    const int borrowed = pp_remote_borrow(task, (int)moved->descriptor - 1);
    if (borrowed >= 0) {
        /* If it stands elsewhere it was not moved, or another task has gone on. */
        if (lseek(borrowed, 0, SEEK_CUR) == moved->after)
            lseek(borrowed, moved->before, SEEK_SET);
        close(borrowed);
    }
    __atomic_store_n(&moved->descriptor, 0, __ATOMIC_RELEASE);
}

static int64_t parent(struct pp_task *task)
{
    struct pp_family *family = remote(task)->family;
    return family ? pp_family_parent(family, task_of(task)) : -1;
}

static int64_t now(struct pp_task *task)
{
    struct timespec time;
    (void)task;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

const struct pp_task_operations pp_remote_operations = {
    .read = read_memory,
    .write = write_memory,
    .read_text = read_text,
    .link = get_link,
    .read_link = read_link,
    .has_no_symlinks = has_no_symlinks,
    .inspect = inspect,
    .seek = seek,
    .parent = parent,
    .now = now,
};

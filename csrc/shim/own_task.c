/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The task operations (core/task.h) on the task that the shim runs in. What can't be found out
 * makes the call context `unsure`: the call is deferred to the supervisor then.
 */
#include <asm/unistd.h> /* for the calls that the shim itself makes */
#include <linux/fcntl.h>
#include <linux/openat2.h>

#include "core/deciders.h"
#include "shim/locate.h"

#define NANOSECONDS INT64_C(1000000000)

struct timespec64 {
    int64_t seconds, nanoseconds;
};

static struct pp_call_context *context_of(struct pp_task *task)
{
    return (struct pp_call_context *)task;
}

static int read_memory(struct pp_task *task, uint64_t address, void *buffer, size_t size)
{
    (void)task;
    if (!pp_is_address(address))
        return -EFAULT;
    __builtin_memcpy(buffer, (const void *)address, size);
    return 0;
}

static int write_memory(struct pp_task *task, uint64_t address, const void *data, size_t size)
{
    (void)task;
    if (size == 0)
        return 0;
    if (!pp_is_address(address))
        return -EFAULT;
    __builtin_memcpy((void *)address, data, size);
    return 0;
}

static int64_t read_text(struct pp_task *task, uint64_t address, char *buffer, size_t capacity)
{
    const char *text = (const char *)address;

    (void)task;
    if (!pp_is_address(address))
        return -EFAULT;
    for (size_t i = 0; i < capacity; i++)
        if (!(buffer[i] = text[i]))
            return (int64_t)i;
    return -ENAMETOOLONG;
}

static int64_t read_real_link(const char *path, char *buffer, size_t capacity)
{
    return pp_gate(__NR_readlinkat, (uint64_t)AT_FDCWD, (uint64_t)path, (uint64_t)buffer, capacity,
                   0);
}

static int64_t read_link(struct pp_task *task, const char *path, char *buffer, size_t capacity)
{
    (void)task;
    return read_real_link(path, buffer, capacity);
}

static int64_t get_link(struct pp_task *task, int descriptor, char *buffer, size_t capacity)
{
    char path[48] = "/proc/thread-self/fd/";
    size_t length = 21;
    int64_t size = -EBADF;

    if (descriptor == PP_CWD) {
        size = pp_gate(__NR_getcwd, (uint64_t)buffer, capacity, 0, 0, 0);
        if (size > 0 && buffer[0] == '/')
            return size - 1;
        size = read_real_link("/proc/thread-self/cwd", buffer, capacity);
    } else if (descriptor >= 0) {
        char digits[12];
        size_t first = sizeof digits;
        for (int rest = descriptor; rest > 0 || first == sizeof digits; rest /= 10)
            digits[--first] = (char)('0' + rest % 10);
        pp_append(path, sizeof path, &length, digits + first, sizeof digits - first);
        size = read_real_link(path, buffer, capacity);
        /* No such descriptor, or no /proc? */
        if (size < 0 && pp_gate(__NR_fcntl, (uint64_t)descriptor, F_GETFD, 0, 0, 0) == -EBADF)
            return -EBADF;
    }
    if (size < 0)
        context_of(task)->unsure = 1;
    return size;
}

static int64_t open_real(const char *path, uint64_t flags, uint64_t resolve)
{
    const struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    return pp_gate(__NR_openat2, (uint64_t)AT_FDCWD, (uint64_t)path, (uint64_t)&how, sizeof how, 0);
}

static void close_real(int64_t descriptor)
{
    pp_gate(__NR_close, (uint64_t)descriptor, 0, 0, 0, 0);
}

static int has_no_symlinks(struct pp_task *task, const char *path, int follow)
{
    const int64_t descriptor =
        open_real(path, follow ? O_PATH : O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
    if (descriptor >= 0)
        close_real(descriptor);
    else if (descriptor == -ENOSYS || descriptor == -EPERM || descriptor == -EMFILE ||
             descriptor == -ENFILE)
        context_of(task)->unsure = 1;
    return descriptor != -ELOOP && descriptor != -ENAMETOOLONG;
}

static int64_t read_at(const void *file, uint64_t offset, void *buffer, size_t size)
{
    return pp_gate(__NR_pread64, (uint64_t)(*(const int64_t *)file), (uint64_t)buffer, size, offset,
                   0);
}

static int64_t inspect_open(int64_t descriptor, struct pp_image *image)
{
    struct stat status;

    const int64_t error = pp_get_status((int)descriptor, &status);
    if (error < 0)
        return error;
    if ((status.st_mode & PP_TYPE_MASK) != PP_TYPE_REGULAR)
        return -EACCES;
    image->mode = status.st_mode;
    image->identity = (struct pp_identity){
        .device = status.st_dev,
        .inode = status.st_ino,
        .size = (uint64_t)status.st_size,
        .modified = (int64_t)status.st_mtime * NANOSECONDS + (int64_t)status.st_mtime_nsec,
        .changed = (int64_t)status.st_ctime * NANOSECONDS + (int64_t)status.st_ctime_nsec,
    };
    return pp_image_read(image, read_at, &descriptor);
}

/* Real files the supervisor looks at: it remembers those that were looked at before, and others may
 * watch who opens them. */
static int64_t inspect(struct pp_task *task, const char *path, uint32_t how, struct pp_image *image)
{
    int64_t descriptor = -EACCES;

    if (!(how & PP_INSPECT_REAL))
        descriptor = open_real(path, O_RDONLY | O_NONBLOCK, 0);
    if (how & PP_INSPECT_REAL || descriptor == -EMFILE || descriptor == -ENFILE)
        context_of(task)->unsure = 1;
    if (descriptor < 0)
        return descriptor;
    const int64_t error = inspect_open(descriptor, image);
    close_real(descriptor);
    return error;
}

static int64_t seek(struct pp_task *task, int descriptor, int64_t position)
{
    (void)task;
    return position < 0 ? pp_gate(__NR_lseek, (uint64_t)descriptor, 0, 1 /* SEEK_CUR */, 0, 0)
                        : pp_gate(__NR_lseek, (uint64_t)descriptor, (uint64_t)position, 0, 0, 0);
}

static int64_t parent(struct pp_task *task)
{
    context_of(task)->unsure = 1;
    return -1;
}

static int64_t now(struct pp_task *task)
{
    struct timespec64 time = {0};
    (void)task;
    pp_gate(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, (uint64_t)&time, 0, 0, 0);
    return time.seconds;
}

void pp_own_task_operations(struct pp_task_operations *operations)
{
    *operations = (struct pp_task_operations){
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
}

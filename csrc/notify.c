/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "held.h"
#include "proc.h"

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1)
#endif

#define PAGE 4096u

struct pp_worker {
    struct pp_task task; /* first: the operations get the worker by it */
    struct pp_engine *engine;
    struct pp_counters counters;
    int waiting; /* a notification is being worked on */
    struct seccomp_notif notification;
    struct pp_call call;
};

static struct pp_worker *worker_of(struct pp_task *task)
{
    return (struct pp_worker *)task;
}

static pid_t task_of(struct pp_task *task)
{
    return (pid_t)worker_of(task)->notification.pid;
}

/* Looking at the task */

static int read_memory(struct pp_task *task, uint64_t address, void *buffer, size_t size)
{
    struct iovec here = {buffer, size}, there = {(void *)address, size};
    const ssize_t done = process_vm_readv(task_of(task), &here, 1, &there, 1, 0);
    return done == (ssize_t)size ? 0 : -EFAULT;
}

static int write_memory(struct pp_task *task, uint64_t address, const void *data, size_t size)
{
    struct pp_worker *worker = worker_of(task);
    struct iovec here = {(void *)(uintptr_t)data, size}, there = {(void *)address, size};

    if (size == 0)
        return 0;
    if (ioctl(worker->engine->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &worker->notification.id))
        return -EFAULT;
    const ssize_t done = process_vm_writev(task_of(task), &here, 1, &there, 1, 0);
    return done == (ssize_t)size ? 0 : -EFAULT;
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

/* The task's root; AT_FDCWD if it is ours, -errno if it can't be had. */
static int open_root(struct pp_task *task)
{
    if (!__atomic_load_n(&worker_of(task)->engine->roots_differ, __ATOMIC_RELAXED))
        return AT_FDCWD;
    const int root = pp_proc_open(task_of(task), "root", O_PATH | O_DIRECTORY);
    return root < 0 ? -errno : root;
}

static void close_root(int root)
{
    if (root >= 0)
        close(root);
}

/* Open a path of the task's own. */
static int open_real(struct pp_task *task, const char *path, uint64_t flags, uint64_t resolve)
{
    const struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};

    const int root = open_root(task);
    if (root < 0 && root != AT_FDCWD)
        return root;
    struct open_how in_root = how;
    if (root >= 0)
        in_root.resolve |= RESOLVE_IN_ROOT;
    const long descriptor = syscall(SYS_openat2, root, path, &in_root, sizeof in_root);
    const int error = errno;
    close_root(root);
    return descriptor < 0 ? -error : (int)descriptor;
}

static int64_t read_link(struct pp_task *task, const char *path, char *buffer, size_t capacity)
{
    /* Ours would be the supervisor's. */
    if (strcmp(path, "/proc/self") == 0)
        return snprintf(buffer, capacity, "%d", process_of(task_of(task)));
    if (strcmp(path, "/proc/thread-self") == 0)
        return snprintf(buffer, capacity, "%d/task/%d", process_of(task_of(task)), task_of(task));
    const int root = open_root(task);
    if (root < 0 && root != AT_FDCWD)
        return root;
    const ssize_t length = readlinkat(root, root >= 0 ? path + 1 : path, buffer, capacity);
    const int error = errno;
    close_root(root);
    return length < 0 ? -error : length;
}

static int is_straight(struct pp_task *task, const char *path, int follow)
{
    const int descriptor =
        open_real(task, path, follow ? O_PATH : O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
    if (descriptor >= 0)
        close(descriptor);
    return descriptor != -ELOOP;
}

static int64_t read_file(struct pp_task *task, const char *path, int real, uint64_t offset,
                         void *buffer, size_t size)
{
    int descriptor;
    if (real)
        descriptor = open_real(task, path, O_RDONLY | O_NONBLOCK, 0);
    else if ((descriptor = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        descriptor = -errno;
    if (descriptor < 0)
        return descriptor;
    const ssize_t done = pread(descriptor, buffer, size, (off_t)offset);
    const int error = errno;
    close(descriptor);
    return done < 0 ? -error : done;
}

/* The task's descriptor, as one of ours on the same open file. */
static int borrow(pid_t task, int descriptor)
{
    int process = (int)syscall(SYS_pidfd_open, task, 0);
    if (process < 0) /* a thread that is not the first of its process */
        process = (int)syscall(SYS_pidfd_open, process_of(task), 0);
    if (process < 0)
        return -errno;
    const int borrowed = (int)syscall(SYS_pidfd_getfd, process, descriptor, 0);
    const int error = errno;
    close(process);
    return borrowed < 0 ? -error : borrowed;
}

static int64_t seek(struct pp_task *task, int descriptor, int64_t position)
{
    const int borrowed = borrow(task_of(task), descriptor);
    if (borrowed < 0)
        return borrowed;
    const off_t moved =
        position < 0 ? lseek(borrowed, 0, SEEK_CUR) : lseek(borrowed, position, SEEK_SET);
    const int error = errno;
    close(borrowed);
    return moved < 0 ? -error : moved;
}

static int64_t now(struct pp_task *task)
{
    struct timespec time;
    (void)task;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

static const struct pp_task_operations operations = {
    .read = read_memory,
    .write = write_memory,
    .read_text = read_text,
    .link = get_link,
    .read_link = read_link,
    .is_straight = is_straight,
    .read_file = read_file,
    .seek = seek,
    .now = now,
};

/* Probing */

int pp_probe(int task, const char **what)
{
    char link[PP_PATH_MAX];
    char byte = 0;
    struct iovec here = {&byte, 1}, there = {&byte, 1};

    /* It is a fork of ours: what is mapped here is mapped there. */
    *what = "process_vm_readv";
    if (process_vm_readv(task, &here, 1, &there, 1, 0) != 1)
        return errno;
    *what = "process_vm_writev";
    if (process_vm_writev(task, &here, 1, &there, 1, 0) != 1)
        return errno;
    *what = "reading links in /proc";
    const ssize_t length = pp_proc_link(task, "cwd", link, sizeof link);
    if (length < 0)
        return (int)-length;
    *what = "openat2";
    const struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    const int root = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how);
    if (root < 0)
        return errno;
    close(root);
    *what = "pidfd_getfd";
    const int borrowed = borrow(task, 0);
    if (borrowed < 0 && borrowed != -EBADF)
        return -borrowed;
    if (borrowed >= 0)
        close(borrowed);
    *what = "ptrace";
    return pp_try_seize(task);
}

/* Workers */

struct pp_worker *pp_worker_new(struct pp_engine *engine)
{
    struct pp_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return NULL;
    worker->task.operations = &operations;
    worker->engine = engine;
    worker->call.space = engine->space;
    worker->call.task = &worker->task;
    return worker;
}

struct pp_call *pp_worker_call(struct pp_worker *worker)
{
    return &worker->call;
}

const struct pp_counters *pp_worker_counters(const struct pp_worker *worker)
{
    return &worker->counters;
}

int pp_become_subreaper(void)
{
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) ? -errno : 0;
}

void pp_listener_prepare(int listener)
{
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}

/* Carrying out */

static void respond(struct pp_worker *worker, int64_t value, int error, uint32_t flags)
{
    struct seccomp_notif_resp response = {
        .id = worker->notification.id, .val = value, .error = error, .flags = flags};
    ioctl(worker->engine->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void let_run(struct pp_worker *worker)
{
    worker->counters.ran++;
    respond(worker, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

static void give(struct pp_worker *worker, int64_t value)
{
    worker->counters.answered++;
    if (value < 0)
        respond(worker, 0, (int)value, 0);
    else
        respond(worker, value, 0, 0);
}

/* Whether a view is what it was made as: somebody may have written to the cache. */
static int is_intact(const struct pp_worker *worker, int descriptor)
{
    const struct pp_record *record = worker->call.asking->walk.record;
    struct stat status;

    if ((record->mode & S_IFMT) != S_IFREG)
        return 1;
    return fstat(descriptor, &status) == 0 && status.st_mtim.tv_sec == worker->engine->mark &&
           (uint64_t)status.st_size == record->size;
}

/* Open the view and put its descriptor into the task. -1 if there is no such view yet. */
static int open_view(struct pp_worker *worker)
{
    const struct pp_call *call = &worker->call;

    const int descriptor = open(call->file, call->open_flags | O_CLOEXEC);
    if (descriptor < 0 && errno == ENOENT)
        return -1;
    if (descriptor < 0) {
        give(worker, -errno);
        return 0;
    }
    if (!is_intact(worker, descriptor)) {
        close(descriptor);
        unlink(call->file);
        return -1;
    }
    struct seccomp_notif_addfd addfd = {
        .id = worker->notification.id,
        .flags = SECCOMP_ADDFD_FLAG_SEND,
        .srcfd = (uint32_t)descriptor,
        .newfd_flags = (uint32_t)call->open_flags & O_CLOEXEC,
    };
    worker->counters.opened++;
    if (ioctl(worker->engine->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &addfd) < 0 && errno != ENOENT)
        give(worker, -errno);
    close(descriptor);
    return 0;
}

static void operate(struct pp_worker *worker, enum pp_action action)
{
    const struct pp_patient patient = {
        .task = task_of(&worker->task),
        .listener = worker->engine->listener,
        .notification = worker->notification.id,
        .cookie = worker->engine->cookie,
        .scratches = worker->engine->scratches,
    };
    worker->counters.changed++;
    const enum pp_surgery outcome = action == PP_EXEC
                                        ? pp_operate_exec(&patient, &worker->call)
                                        : pp_operate(&patient, &worker->call);
    if (outcome != PP_HELD)
        return;
    int error = -EPERM;
    if (action == PP_CHANGE && worker->call.change_count == 1)
        error = pp_run_held(&patient, &worker->call, worker->call.changes[0].argument,
                            worker->call.changes[0].data);
    else if (action == PP_EXEC && worker->call.exec.words == 0)
        error = pp_run_held(&patient, &worker->call, worker->call.number == SYS_execveat,
                            worker->call.file);
    if (error)
        give(worker, error);
}

/* Gives what is needed first. */
static enum pp_need carry_out(struct pp_worker *worker, enum pp_action action)
{
    struct pp_call *call = &worker->call;

    switch (action) {
    case PP_RETURN:
        give(worker, call->value);
        break;
    case PP_OPEN:
        if (open_view(worker))
            return PP_NEEDS_VIEW;
        break;
    case PP_CHANGE:
        if (call->asking && call->asking->need == PP_NEEDS_VIEW &&
            faccessat(AT_FDCWD, call->changes[0].data, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
            return PP_NEEDS_VIEW;
        operate(worker, action);
        break;
    case PP_EXEC:
        operate(worker, action);
        break;
    case PP_ASK:
        return call->asking->need;
    default:
        let_run(worker);
    }
    return PP_NEEDS_NOTHING;
}

/* Wait for the next notification; -1 at the end. */
static int receive(struct pp_worker *worker)
{
    struct pp_engine *engine = worker->engine;
    struct seccomp_notif *notification = &worker->notification;
    struct pp_call *call = &worker->call;

    __atomic_add_fetch(&engine->idle, 1, __ATOMIC_RELAXED);
    int outcome;
    do {
        memset(notification, 0, sizeof *notification);
        outcome = ioctl(engine->listener, SECCOMP_IOCTL_NOTIF_RECV, notification);
    } while (outcome != 0 && (errno == EINTR || errno == ENOENT));
    __atomic_sub_fetch(&engine->idle, 1, __ATOMIC_RELAXED);
    if (outcome)
        return -1;
    call->number = notification->data.nr;
    memcpy(call->args, notification->data.args, sizeof call->args);
    call->asked = 0;
    worker->counters.calls++;
    return 0;
}

/* Whether the call gives the task another root. */
static int changes_root(const struct pp_call *call)
{
    switch (call->number) {
    case SYS_chroot:
    case SYS_pivot_root:
    case SYS_setns:
        return 1;
    case SYS_unshare:
    case SYS_clone:
        return (call->args[0] & (CLONE_NEWNS | CLONE_NEWUSER)) != 0;
    default:
        return 0;
    }
}

int pp_worker_serve(struct pp_worker *worker)
{
    for (;;) {
        if (!worker->waiting) {
            if (receive(worker))
                return PP_NEEDS_NOTHING;
            worker->waiting = 1;
            if (changes_root(&worker->call))
                __atomic_store_n(&worker->engine->roots_differ, 1, __ATOMIC_RELAXED);
        }
        const enum pp_need need = carry_out(worker, pp_decide(&worker->call));
        if (need != PP_NEEDS_NOTHING) {
            worker->counters.asked++;
            return need;
        }
        worker->waiting = 0;
    }
}

void pp_worker_refuse(struct pp_worker *worker, int error)
{
    give(worker, -error);
    worker->waiting = 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
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

#include "engine/worker.h"
#include "shim/touch.h"
#include "task/proc.h"
#include "task/traced_task.h"

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1)
#endif

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
    const int borrowed = pp_remote_borrow(task, 0);
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
    worker->task.operations = &pp_remote_operations;
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

void pp_worker_give(struct pp_worker *worker, int64_t value)
{
    worker->counters.answered++;
    if (value < 0)
        respond(worker, 0, (int)value, 0);
    else
        respond(worker, value, 0, 0);
}

/* A task takes its descriptor itself, and the kernel wakes it for that where there is an idle CPU,
 * which in a virtual machine takes longer than all the rest. So it is held to this CPU for that
 * moment. Gives whether it is. */
static int hold_here(const struct pp_worker *worker, cpu_set_t *before)
{
    const pid_t task = pp_task_number(worker);
    const size_t here = (size_t)sched_getcpu(); /* if that fails, no set has it */
    cpu_set_t only;

    if (sched_getaffinity(task, sizeof *before, before) || !CPU_ISSET(here, before))
        return 0;
    CPU_ZERO(&only);
    CPU_SET(here, &only);
    return sched_setaffinity(task, sizeof only, &only) == 0;
}

static void let_move(const struct pp_worker *worker, const cpu_set_t *before)
{
    cpu_set_t ours, all;

    /* Who has no mask of his own may run wherever his control group allows, now and later. */
    memset(&all, 0xff, sizeof all);
    const int is_own = sched_getaffinity(0, sizeof ours, &ours) || !CPU_EQUAL(&ours, before);
    sched_setaffinity(pp_task_number(worker), sizeof all, is_own ? before : &all);
}

void pp_worker_give_file(struct pp_worker *worker, int descriptor, int flags)
{
    struct seccomp_notif_addfd addfd = {
        .id = worker->notification.id,
        .flags = SECCOMP_ADDFD_FLAG_SEND,
        .srcfd = (uint32_t)descriptor,
        .newfd_flags = (uint32_t)flags & O_CLOEXEC,
    };
    cpu_set_t before;
    const int is_held = hold_here(worker, &before);
    if (ioctl(worker->engine->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &addfd) < 0 && errno != ENOENT)
        pp_worker_give(worker, -errno);
    if (is_held)
        let_move(worker, &before);
    close(descriptor);
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

/* Open the view and put its descriptor into the task. Gives what is needed first. */
static enum pp_need open_view(struct pp_worker *worker)
{
    const struct pp_call *call = &worker->call;

    const int descriptor = open(call->file, call->open_flags | O_CLOEXEC);
    if (descriptor < 0 && errno == ENOENT)
        return PP_NEEDS_VIEW;
    if (descriptor < 0) {
        pp_worker_give(worker, -errno);
        return PP_NEEDS_NOTHING;
    }
    if (!is_intact(worker, descriptor)) {
        close(descriptor);
        unlink(call->file);
        return PP_NEEDS_VIEW;
    }
    const struct pp_walk *walk = &call->asking->walk;
    pp_touch(worker->engine->shared, &(struct pp_found){walk->index, walk->record, walk->hash},
             PP_TOUCH_OPENED);
    switch (pp_substitution_replace(worker, descriptor)) {
    case PP_UNPATCHED:
        return PP_NEEDS_PATCHING;
    case PP_UNFIT:
        return PP_NEEDS_TELLING;
    case PP_SERVED:
        return PP_NEEDS_NOTHING;
    default:
        worker->counters.opened++;
        pp_worker_give_file(worker, descriptor, call->open_flags);
        return PP_NEEDS_NOTHING;
    }
}

static void operate(struct pp_worker *worker, enum pp_action action)
{
    const struct pp_tracee tracee = {
        .task = pp_task_number(worker),
        .listener = worker->engine->listener,
        .notification = worker->notification.id,
        .cookie = worker->engine->cookie,
        .mappings = worker->engine->mappings,
    };
    worker->counters.changed++;
    const enum pp_rewriting outcome = action == PP_EXEC ? pp_rewrite_exec(&tracee, &worker->call)
                                                        : pp_rewrite_call(&tracee, &worker->call);
    if (outcome != PP_TRACED)
        return;
    int error = -EPERM;
    if (action == PP_CHANGE && worker->call.change_count == 1)
        error = pp_run_traced(&tracee, &worker->call, worker->call.changes[0].argument,
                              worker->call.changes[0].data);
    else if (action == PP_EXEC && worker->call.exec.words == 0)
        error = pp_run_traced(&tracee, &worker->call, worker->call.number == SYS_execveat,
                              worker->call.file);
    if (error)
        pp_worker_give(worker, error);
}

/* Gives what is needed first. */
static enum pp_need carry_out(struct pp_worker *worker, enum pp_action action)
{
    struct pp_call *call = &worker->call;

    switch (action) {
    case PP_RETURN:
        pp_worker_give(worker, call->value);
        break;
    case PP_OPEN:
        return open_view(worker);
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

/* Some calls change what other calls mean. */
static void take_notice(struct pp_worker *worker)
{
    struct pp_engine *engine = worker->engine;
    const uint64_t flags = worker->call.args[0];

    switch (worker->call.number) {
    case SYS_unshare:
        if (flags & (CLONE_FS | CLONE_NEWNS | CLONE_NEWUSER))
            __atomic_or_fetch(&engine->state->flags, PP_SHARED_CWD_APART, __ATOMIC_RELEASE);
        if (!(flags & (CLONE_NEWNS | CLONE_NEWUSER)))
            break;
        /* fall through */
    case SYS_clone: /* only those that make a mount namespace get here */
    case SYS_chroot:
    case SYS_pivot_root:
    case SYS_setns:
        __atomic_store_n(&engine->roots_differ, 1, __ATOMIC_RELAXED);
        /* fall through */
    case SYS_chdir:
        __atomic_add_fetch(&engine->state->directories, 1, __ATOMIC_RELEASE);
        break;
    case SYS_prctl:
    case SYS_seccomp:
    case SYS_ptrace:
        __atomic_store_n(&engine->tasks_differ, 1, __ATOMIC_RELAXED);
        break;
    }
}

int pp_worker_serve(struct pp_worker *worker)
{
    for (;;) {
        if (!worker->waiting) {
            if (receive(worker))
                return PP_NEEDS_NOTHING;
            worker->waiting = 1;
            take_notice(worker);
        }
        switch (pp_substitution_serve(worker)) {
        case PP_NOT_SERVED:
            break;
        case PP_SERVED:
            worker->waiting = 0;
            continue;
        case PP_UNPATCHED:
            return PP_NEEDS_PATCHING;
        case PP_UNFIT:
            return PP_NEEDS_TELLING;
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
    pp_worker_give(worker, -error);
    worker->waiting = 0;
}

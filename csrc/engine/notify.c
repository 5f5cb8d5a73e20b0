/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/rewrite_call.h"
#include "engine/traced_task.h"
#include "engine/tracee.h"
#include "engine/worker.h"
#include "task/proc.h"

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

struct pp_notify_worker {
    struct pp_worker worker; /* first */
    struct seccomp_notif notification;
};

static int listener_of(const struct pp_worker *worker)
{
    return ((const struct pp_notify *)worker->engine)->listener;
}

static struct seccomp_notif *notification_of(struct pp_worker *worker)
{
    return &((struct pp_notify_worker *)worker)->notification;
}

/* Probing */

int pp_notify_probe(int task, const char **what)
{
    char link[PP_PATH_MAX];
    char byte = 0;
    struct iovec here = {&byte, 1}, there = {&byte, 1};

    /* It is a fork of this process: what is mapped here is mapped there. */
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

/* Receiving */

static int receive(struct pp_worker *worker)
{
    struct seccomp_notif *notification = notification_of(worker);

    pp_worker_is_idle(worker);
    int outcome;
    do {
        memset(notification, 0, sizeof *notification);
        outcome = ioctl(listener_of(worker), SECCOMP_IOCTL_NOTIF_RECV, notification);
    } while (outcome != 0 && (errno == EINTR || errno == ENOENT));
    pp_worker_is_busy(worker);
    if (outcome)
        return -1;
    memcpy(worker->call.args, notification->data.args, sizeof worker->call.args);
    pp_worker_received(worker, (pid_t)notification->pid, notification->data.nr,
                       notification->data.instruction_pointer);
    return 0;
}

static int is_waiting(struct pp_worker *worker)
{
    return ioctl(listener_of(worker), SECCOMP_IOCTL_NOTIF_ID_VALID, &notification_of(worker)->id) ==
           0;
}

/* Answering */

static void respond(struct pp_worker *worker, int64_t value, int error, uint32_t flags)
{
    struct seccomp_notif_resp response = {
        .id = notification_of(worker)->id, .val = value, .error = error, .flags = flags};
    ioctl(listener_of(worker), SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void let_run(struct pp_worker *worker)
{
    respond(worker, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

static void return_value(struct pp_worker *worker, int64_t value)
{
    if (value < 0)
        respond(worker, 0, (int)value, 0);
    else
        respond(worker, value, 0, 0);
}

/* Put a copy of a descriptor into the task: its number there, or -errno. */
static int put_file(struct pp_worker *worker, int descriptor, int flags)
{
    struct seccomp_notif_addfd addfd = {
        .id = notification_of(worker)->id,
        .srcfd = (uint32_t)descriptor,
        .newfd_flags = (uint32_t)flags & O_CLOEXEC,
    };
    const int number = ioctl(listener_of(worker), SECCOMP_IOCTL_NOTIF_ADDFD, &addfd);
    return number < 0 ? -errno : number;
}

/* The copy here is closed before the task goes on, and not while it does: a FIFO that it has closed
 * would still have a reader, and a file its lock or its lease. So the answer is a call of its own
 * (SECCOMP_ADDFD_FLAG_SEND would make it one, and the kernel holds the file until that has
 * returned). Between the two the task has the descriptor and no answer: `given` says which, so that
 * the call is answered with it, and not decided once more, if another supervisor takes over then.
 * Nothing tells that if the supervisor is killed after the kernel has put the descriptor there and
 * before this thread has written down its number: then the task keeps a descriptor, closed by exec,
 * that it never hears of. */
static int give_file(struct pp_worker *worker, int descriptor, int flags)
{
    const int given = put_file(worker, descriptor, flags);
    __atomic_store_n(&worker->given, given, __ATOMIC_RELEASE);
    close(descriptor);
    if (given < 0)
        return given != -ENOENT ? given : 0;
    respond(worker, given, 0, 0);
    return 0;
}

static int add_file(struct pp_worker *worker, int descriptor)
{
    return put_file(worker, descriptor, O_CLOEXEC);
}

/* Other arguments */

static int run_changed(struct pp_worker *worker)
{
    const struct pp_call *call = &worker->call;

    if (pp_rewrite_call(worker) != PP_TRACED)
        return 0;
    return call->change_count == 1
               ? pp_run_traced(worker, call->changes[0].argument, call->changes[0].data)
               : -EPERM;
}

static int run_program(struct pp_worker *worker)
{
    const struct pp_call *call = &worker->call;

    if (pp_rewrite_exec(worker) != PP_TRACED)
        return 0;
    return call->exec.words == 0 ? pp_run_traced(worker, pp_spec_of(call->number)->path, call->file)
                                 : -EPERM;
}

static const struct pp_engine_operations operations = {
    .receive = receive,
    .is_waiting = is_waiting,
    .let_run = let_run,
    .return_value = return_value,
    .give_file = give_file,
    .add_file = add_file,
    .run_changed = run_changed,
    .run_program = run_program,
};

void pp_notify_prepare(struct pp_notify *notify)
{
    notify->engine.operations = &operations;
    /* Answers wake tasks on the same CPU, where the kernel can do that. */
    ioctl(notify->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}

struct pp_worker *pp_notify_worker_new(struct pp_notify *notify)
{
    struct pp_notify_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return NULL;
    pp_worker_init(&worker->worker, &notify->engine);
    return &worker->worker;
}

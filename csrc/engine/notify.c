/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/notify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/tracee.h"
#include "engine/worker.h"
#include "task/proc.h"

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

static int listener_of(const struct pp_worker *worker)
{
    return ((const struct pp_notify *)worker->engine)->listener;
}

static struct seccomp_notif *notification_of(struct pp_worker *worker)
{
    return &worker->slot->notification;
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

/* The worker's notification is a new call. */
static void begin(struct pp_worker *worker)
{
    const struct seccomp_notif *notification = notification_of(worker);

    memcpy(worker->call.args, notification->data.args, sizeof worker->call.args);
    pp_worker_received(worker, (pid_t)notification->pid, notification->data.nr,
                       notification->data.instruction_pointer);
}

/* The call has ended, or there is none. Its number goes first: the rest says what was done for it.
 */
static void forget(struct pp_worker_slot *slot)
{
    __atomic_store_n(&slot->notification.id, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    memset(&slot->notification, 0, sizeof slot->notification);
    slot->giving = slot->given = slot->moved.descriptor = 0;
}

/* Whether the last task has gone. The kernel has ENOENT for that as well as for a task that was
 * killed before its call could be received. */
static int has_ended(const struct pp_worker *worker)
{
    struct pollfd listener = {.fd = listener_of(worker)};

    return poll(&listener, 1, 0) == 1 && listener.revents & (POLLHUP | POLLERR);
}

static int receive(struct pp_worker *worker)
{
    struct seccomp_notif *notification = notification_of(worker);

    pp_worker_is_idle(worker);
    int outcome;
    do {
        forget(worker->slot);
        outcome = ioctl(listener_of(worker), SECCOMP_IOCTL_NOTIF_RECV, notification);
    } while (outcome != 0 && (errno == EINTR || (errno == ENOENT && !has_ended(worker))));
    pp_worker_is_busy(worker);
    if (outcome)
        return -1;
    begin(worker);
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

/* A descriptor that a supervisor before this one has put into the task for this very call, without
 * having written down its number: it has the mark, and is of the same file. -1 if there is none. */
static int find_unanswered(const struct pp_worker *worker, int descriptor)
{
    const pid_t task = pp_task_number(worker);
    struct stat wanted, status;
    char path[32];
    int found = -1;

    snprintf(path, sizeof path, "/proc/%d/fd", task);
    DIR *directory = opendir(path);
    if (!directory)
        return -1;
    for (struct dirent *entry = NULL; found < 0 && (entry = readdir(directory));) {
        const int number = atoi(entry->d_name);
        const int borrowed = entry->d_name[0] == '.' ? -1 : pp_remote_borrow(task, number);
        if (borrowed < 0)
            continue;
        const int flags = fcntl(borrowed, F_GETFL);
        if (flags >= 0 && flags & PP_UNANSWERED && fstat(borrowed, &status) == 0 &&
            fstat(descriptor, &wanted) == 0 && status.st_dev == wanted.st_dev &&
            status.st_ino == wanted.st_ino) {
            fcntl(borrowed, F_SETFL, flags & ~PP_UNANSWERED);
            found = number;
        }
        close(borrowed);
    }
    closedir(directory);
    return found;
}

/* The copy here is closed before the task goes on, and not while it does: a FIFO that it has closed
 * would still have a reader, and a file its lock or its lease. So the answer is a call of its own.
 * (SECCOMP_ADDFD_FLAG_SEND would make it one: the kernel holds the file until that has returned,
 * and if this process is killed in it the call returns 0, with no descriptor there.)
 *
 * Between the two the task has the descriptor and no answer. If this process is killed then,
 * another supervisor answers with it, and gives no second one: the slot says which it is. Before
 * its number can be written there the file's mark tells, which is taken off when the number is. */
static int give_file(struct pp_worker *worker, int descriptor, int flags)
{
    struct pp_worker_slot *slot = worker->slot;

    int given = slot->giving ? find_unanswered(worker, descriptor) : -1;
    if (given < 0) {
        __atomic_store_n(&slot->giving, 1, __ATOMIC_RELEASE);
        given = put_file(worker, descriptor, flags);
    }
    if (given >= 0)
        __atomic_store_n(&slot->given, (uint32_t)given + 1, __ATOMIC_RELEASE);
    fcntl(descriptor, F_SETFL, flags);
    close(descriptor);
    if (given < 0)
        return given != -ENOENT ? given : 0;
    respond(worker, given, 0, 0);
    return 0;
}

/* Other arguments: that is the tracer's to do. */

static void copy_text(char *to, const char *text, size_t capacity)
{
    const size_t length = strnlen(text, capacity - 1);
    memcpy(to, text, length);
    to[length] = 0;
}

static void fill_program(struct pp_handover *handover, const struct pp_call *call)
{
    handover->is_exec = 1;
    handover->words = call->exec.words;
    handover->size = call->exec.words ? call->exec.size : 0;
    copy_text(handover->file, call->file, sizeof handover->file);
    copy_text(handover->shown, call->exec.shown, sizeof handover->shown);
    memcpy(handover->text, call->exec.text, handover->size);
    handover->error = call->exec.error;
    handover->checks_first = call->exec.checks_first;
    copy_text(handover->first, call->places[0].where == PP_REAL ? call->places[0].path : "",
              sizeof handover->first);
    handover->checked_size = call->exec.checked_size;
    memcpy(handover->checked, call->exec.checked, handover->checked_size);
}

static void fill_changes(struct pp_handover *handover, const struct pp_call *call)
{
    handover->is_exec = 0;
    for (uint32_t i = 0; i < call->change_count; i++) {
        struct pp_handover_change *change = &handover->changes[i];
        change->argument = call->changes[i].argument;
        /* Texts and small structs: none is larger. */
        change->size = call->changes[i].size < sizeof change->data ? call->changes[i].size
                                                                   : sizeof change->data;
        memcpy(change->data, call->changes[i].data, change->size);
    }
    handover->change_count = call->change_count;
}

static int hand_over(struct pp_worker *worker,
                     void (*fill)(struct pp_handover *handover, const struct pp_call *call))
{
    struct pp_engine_memory *memory = worker->engine->memory;
    const struct pp_call *call = &worker->call;

    struct pp_handover *handover = pp_handover_begin(memory);
    if (!handover)
        return -EAGAIN;
    handover->id = notification_of(worker)->id;
    handover->task = pp_task_number(worker);
    handover->number = call->number;
    handover->overwritten = 0;
    memcpy(handover->args, call->args, sizeof handover->args);
    copy_text(handover->given, call->given[0], sizeof handover->given);
    fill(handover, call);
    pp_handover_publish(memory, handover);
    __atomic_store_n(&notification_of(worker)->id, 0, __ATOMIC_RELEASE);
    return 0;
}

static int run_changed(struct pp_worker *worker)
{
    return hand_over(worker, fill_changes);
}

static int run_program(struct pp_worker *worker)
{
    return hand_over(worker, fill_program);
}

static const struct pp_engine_operations operations = {
    .receive = receive,
    .is_waiting = is_waiting,
    .let_run = let_run,
    .return_value = return_value,
    .give_file = give_file,
    .run_changed = run_changed,
    .run_program = run_program,
};

void pp_notify_prepare(struct pp_notify *notify)
{
    notify->engine.operations = &operations;
    /* Answers wake tasks on the same CPU, where the kernel can do that. */
    ioctl(notify->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}

/* Whether a supervisor before this one has received a call, and neither answered it nor handed it
 * over. */
static int is_under_way(const struct pp_notify *notify, const struct seccomp_notif *notification)
{
    return notification->id != 0 && !pp_handover_exists(notify->engine.memory, notification->id) &&
           ioctl(notify->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &notification->id) == 0;
}

uint32_t pp_notify_under_way(struct pp_notify *notify)
{
    uint32_t count = 0;

    pp_handover_forget_unpublished(notify->engine.memory);
    for (uint32_t i = 0; i < PP_WORKERS_MAX; i++)
        if (is_under_way(notify, &notify->engine.memory->workers[i].notification))
            count = i + 1;
    return count;
}

/* Begin with what the worker of that number in the supervisor before this one had to do. */
static void take_up(struct pp_worker *worker)
{
    const struct pp_notify *notify = (const struct pp_notify *)worker->engine;

    if (!is_under_way(notify, notification_of(worker)))
        return;
    if (worker->slot->given) {
        return_value(worker, (int64_t)worker->slot->given - 1);
        return;
    }
    pp_remote_move_back((pid_t)notification_of(worker)->pid, &worker->slot->moved);
    begin(worker);
}

struct pp_worker *pp_notify_worker_new(struct pp_notify *notify)
{
    if (notify->workers == PP_WORKERS_MAX)
        return NULL;
    struct pp_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return NULL;
    pp_worker_init(worker, &notify->engine, notify->workers++);
    take_up(worker);
    return worker;
}

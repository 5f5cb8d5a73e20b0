/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the parts of the notify engine share; nobody else includes this.
 */
#ifndef PYPARROT_WORKER_H
#define PYPARROT_WORKER_H

#include <linux/seccomp.h>

#include "engine/notify.h"

struct pp_worker {
    struct pp_task task; /* first: the operations get the worker by it */
    struct pp_engine *engine;
    struct pp_counters counters;
    int waiting; /* a notification is being worked on */
    struct seccomp_notif notification;
    struct pp_call call;
};

static inline struct pp_worker *pp_worker_of(struct pp_task *task)
{
    return (struct pp_worker *)task;
}

static inline pid_t pp_task_number(const struct pp_worker *worker)
{
    return (pid_t)worker->notification.pid;
}

/* remote.c: how a task is looked at from another process. */
extern const struct pp_task_operations pp_remote_operations;

/* Open a path as the task sees it: a descriptor, or -errno. */
int pp_remote_open(struct pp_task *task, const char *path, uint64_t flags, uint64_t resolve);

/* The task's descriptor, as one of ours on the same open file; -errno if it can't be had. */
int pp_remote_borrow(pid_t task, int descriptor);

/* linker.c: answer the dynamic linker of a program that starts, and shims. */
enum pp_serving pp_substitution_serve(struct pp_worker *worker);

/* The same if it opens something in a repository, of which `view` is an open view: it is no more
 * the caller's unless PP_NOT_SERVED comes back. */
enum pp_serving pp_substitution_replace(struct pp_worker *worker, int view);

/* notify.c: the ends of a call. */
void pp_worker_give(struct pp_worker *worker, int64_t value);
void pp_worker_give_file(struct pp_worker *worker, int descriptor, int flags);

#endif

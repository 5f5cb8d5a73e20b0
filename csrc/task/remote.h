/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * How the decision core looks at a task from another process, whatever engine has stopped it.
 */
#ifndef PYPARROT_REMOTE_H
#define PYPARROT_REMOTE_H

#include <stdint.h>
#include <sys/types.h>

#include "core/task.h"

struct pp_remote_task {
    struct pp_task task; /* first, with pp_remote_operations */
    pid_t number;
    /* Whether it is still in the call that it was looked at for; else its number may be
     * another's. */
    int (*is_waiting)(struct pp_remote_task *task);
    const int *roots_differ; /* whether some task may have another root than we have */
};

extern const struct pp_task_operations pp_remote_operations;

/* Open a path as the task sees it: a descriptor, or -errno. */
int pp_remote_open(struct pp_remote_task *task, const char *path, uint64_t flags, uint64_t resolve);

/* The task's descriptor, as one of ours on the same open file; -errno if it can't be had. */
int pp_remote_borrow(pid_t task, int descriptor);

#endif

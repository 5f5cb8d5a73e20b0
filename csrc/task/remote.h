/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The task operations (core/task.h) on a task in another process, whichever engine has stopped it.
 *
 * Rules that hold here:
 *  - That a task has gone is normal: an operation returns -errno then.
 *  - Its memory is written only after `is_waiting` has said that it is still in its call.
 */
#ifndef PYPARROT_REMOTE_H
#define PYPARROT_REMOTE_H

#include <stdint.h>
#include <sys/types.h>

#include "core/task.h"
#include "task/family.h"

/* A directory whose offset was moved, or is just about to be. */
struct pp_moved {
    uint32_t descriptor; /* the task's, plus 1; 0: none was moved */
    int64_t before, after;
};

struct pp_remote_task {
    struct pp_task task; /* first, with pp_remote_operations */
    pid_t number;
    /* Whether it is still in the call for which these operations are used; if not, its number may
     * be another task's. */
    int (*is_waiting)(struct pp_remote_task *task);
    struct pp_family *family; /* NULL: there is nothing to be hidden */
    const int *roots_differ;  /* whether some task may have another root than this process */
    struct pp_moved *moved;   /* what `seek` has moved is written down there first */
};

extern const struct pp_task_operations pp_remote_operations;

/* cffi: begin */

/* The number of a task that has pp_remote_operations. */
int pp_remote_number(const struct pp_task *task);

/* cffi: end */

/* Open a path as the task sees it: a descriptor, or -errno. */
int pp_remote_open(struct pp_remote_task *task, const char *path, uint64_t flags, uint64_t resolve);

/* Open a regular file for reading, as the task sees it: a descriptor, or -errno. What is none is
 * not opened: the open of a FIFO or of a device waits, and changes what they are. */
int pp_remote_open_file(struct pp_remote_task *task, const char *path);

/* Move back what was moved, so that the call can be decided anew. */
void pp_remote_move_back(pid_t task, struct pp_moved *moved);

/* A descriptor here on the open file of the task's descriptor; -errno if it can't be had. */
int pp_remote_borrow(pid_t task, int descriptor);

#endif

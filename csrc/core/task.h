/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Task operations: how the decision core reads and writes the task that made a system call. The
 * supervisor does it from another process (task/remote.c), the shim from inside (shim/own_task.c).
 * Every operation returns -errno if it fails.
 */
#ifndef PYPARROT_TASK_H
#define PYPARROT_TASK_H

#include <stddef.h>
#include <stdint.h>

#include "core/image.h"

#define PP_CWD (-100) /* AT_FDCWD: the working directory, for `link` */

enum {
    PP_INSPECT_REAL = 1, /* the path is meant as the task sees it; any other one is of the cache */
    PP_INSPECT_NOFOLLOW = 2, /* a symlink at its end is refused: ELOOP */
};

struct pp_task;

struct pp_task_operations {
    /* Copy all of `size` bytes from or to the task's memory; 0 or -EFAULT. Nothing is written if
     * the task's call is no longer there. */
    int (*read)(struct pp_task *task, uint64_t address, void *buffer, size_t size);
    int (*write)(struct pp_task *task, uint64_t address, const void *data, size_t size);

    /* Copy a text with its NUL; its length, -EFAULT, or -ENAMETOOLONG if it exceeds `capacity`. */
    int64_t (*read_text)(struct pp_task *task, uint64_t address, char *buffer, size_t capacity);

    /* The path that /proc has for a descriptor or for PP_CWD, without a NUL at the end: its length.
     */
    int64_t (*link)(struct pp_task *task, int descriptor, char *buffer, size_t capacity);

    /* The target of the real symlink at `path`, as the task sees it: its length; -EINVAL if it is
     * something else. */
    int64_t (*read_link)(struct pp_task *task, const char *path, char *buffer, size_t capacity);

    /* Whether no symlink stands on the way to `path` (nor at its end, if `follow`), as far as the
     * path exists. */
    int (*has_no_symlinks)(struct pp_task *task, const char *path, int follow);

    /* What exec has to know of the file at `path`; `how` is of PP_INSPECT_…. 0 or -errno; EACCES,
     * too, if it is no regular file. */
    int64_t (*inspect)(struct pp_task *task, const char *path, uint32_t how,
                       struct pp_image *image);

    /* Move a directory's own offset, which is the cursor of its listing; with -1 only return it. */
    int64_t (*seek)(struct pp_task *task, int descriptor, int64_t position);

    /* The number of the process that the task is to take for its parent; negative if that is the
     * one that the kernel names. */
    int64_t (*parent)(struct pp_task *task);

    /* Seconds of CLOCK_MONOTONIC. */
    int64_t (*now)(struct pp_task *task);
};

struct pp_task {
    const struct pp_task_operations *operations;
};

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * How the decision core looks at the task that made a system call. Each engine has its own way to
 * do it; the decision core neither knows nor cares. Every operation gives -errno if it fails.
 */
#ifndef PYPARROT_TASK_H
#define PYPARROT_TASK_H

#include <stddef.h>
#include <stdint.h>

#define PP_CWD (-100) /* AT_FDCWD: the working directory, for `link` */

struct pp_task;

struct pp_task_operations {
    /* Copy all of `size` bytes from or to the task's memory; 0 or -EFAULT. Nothing is written if
     * the task's call is no longer there. */
    int (*read)(struct pp_task *task, uint64_t address, void *buffer, size_t size);
    int (*write)(struct pp_task *task, uint64_t address, const void *data, size_t size);

    /* Copy a text with its NUL; its length, -EFAULT, or -ENAMETOOLONG if it exceeds `capacity`. */
    int64_t (*read_text)(struct pp_task *task, uint64_t address, char *buffer, size_t capacity);

    /* What /proc tells of a descriptor or of PP_CWD: the path's length, without a NUL at the end.
     */
    int64_t (*link)(struct pp_task *task, int descriptor, char *buffer, size_t capacity);

    /* The target of the real symlink at `path`, as the task sees it: its length; -EINVAL if it is
     * something else. */
    int64_t (*read_link)(struct pp_task *task, const char *path, char *buffer, size_t capacity);

    /* Whether no symlink stands on the way to `path` (nor at its end, if `follow`), as far as the
     * path exists. */
    int (*has_no_symlinks)(struct pp_task *task, const char *path, int follow);

    /* Read from a file: the bytes that there were, or -errno. A `real` path is the task's own. */
    int64_t (*read_file)(struct pp_task *task, const char *path, int real, uint64_t offset,
                         void *buffer, size_t size);

    /* Move a directory's own offset, which is the cursor of its listing. With -1 it is only told.
     */
    int64_t (*seek)(struct pp_task *task, int descriptor, int64_t position);

    /* Seconds of CLOCK_MONOTONIC. */
    int64_t (*now)(struct pp_task *task);
};

struct pp_task {
    const struct pp_task_operations *operations;
};

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * From a path as a program gives it to what it names: something real, or a record of a repository.
 *
 * Rules that hold here are those of walk.h. A path may lead through the real file system and
 * through repositories in any order, and the symlinks on the way are counted together. What is real
 * the kernel resolves itself: it is only followed here to see whether it leads into a repository.
 */
#ifndef PYPARROT_RESOLVE_H
#define PYPARROT_RESOLVE_H

#include "core/mounts.h"
#include "core/task.h"

/* cffi: begin */

enum pp_where {
    PP_REAL,    /* the kernel has to make the call with the path as it was given */
    PP_MOVED,   /* the kernel has to make the call with the absolute path in `path` */
    PP_VIRTUAL, /* `walk` has found the record, in the repository of `mount` */
    PP_FAILED,  /* `error` is the errno */
    PP_MISSING, /* something is needed first: `need`, with `mount`, `walk` or `path` */
};

enum pp_need {
    PP_NEEDS_NOTHING,
    PP_NEEDS_CATALOG, /* the nested catalog where `walk` of `mount` is */
    PP_NEEDS_MOUNT,   /* what is to be mounted at `path` */
    PP_NEEDS_VIEW,    /* the file, directory or symlink at `walk` of `mount` has no view yet */
    PP_NEEDS_PROGRAM, /* the copy `program.copy` of the call's `file`: see decide_exec.c */
    PP_NEEDS_XATTR,   /* the value of the call's `attribute` of what `walk` found */
};

struct pp_place {
    enum pp_where where;
    int error;
    enum pp_need need;
    int passed; /* the path led through something virtual: the kernel can't resolve it as given */
    const struct pp_mount *mount;
    struct pp_walk walk; /* the flags are the caller's to set; PP_WANT_PATH always holds here */
    char path[2 * PP_PATH_MAX];
};

/* Resolve `path`, relative to `descriptor` (or PP_CWD) of the task. An empty path names the
 * descriptor's own file. `flags` are those of the walk. */
void pp_resolve(struct pp_place *place, const struct pp_namespace *space, struct pp_task *task,
                int descriptor, const char *path, uint32_t flags);

/* The path that programs see of something virtual, or of a real file that runs from a view: gives
 * its length, or -1 if `path` is neither. */
int64_t pp_shown(const struct pp_namespace *space, const char *path, char *output, size_t capacity);

/* cffi: end */

#endif

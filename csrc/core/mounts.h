/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The mount table: which paths are virtual, and whose they are.
 *
 * Rules that hold here are those of index.h; beyond them:
 *  - A table never changes once it is in use. A new one takes its place at once, by one pointer;
 *    the old one stays where it is, since somebody may be reading it.
 *  - Paths are matched by the hash of their components, so "//a/./b" is "/a/b". ".." ends a match:
 *    what it means depends on symlinks, and that is the resolution's business.
 */
#ifndef PYPARROT_MOUNTS_H
#define PYPARROT_MOUNTS_H

#include "core/walk.h"

/* cffi: begin */

enum {
    PP_AUTOMOUNT = 1, /* what is missing in it is asked for: the directory /cvmfs */
};

struct pp_mount {
    const char *path; /* the mount point: "/cvmfs/sw.example.org"; "" never */
    uint64_t path_length;
    const char *view; /* the name of its directory of views */
    uint64_t view_length;
    const struct pp_snapshot *snapshot; /* replaced at once when its table of catalogs has grown;
                                         * NULL if it has to be mounted first */
    uint64_t device;                    /* st_dev of all that is in it */
    uint64_t blocks;                    /* for statfs, of PP_BLOCK_SIZE */
    uint64_t flags;
};

#define PP_BLOCK_SIZE 4096u

/* A program that can't be run from its view as it is has another copy, in a directory whose name
 * ends so. It stands for the same path. */
#define PP_PROGRAM_SUFFIX ".x"

/* A place in the table, by the pp_path_hash of the mount point from PP_HASH_ROOT on; free if `hash`
 * is 0. Without a mount it says that there is none until then. */
struct pp_mount_slot {
    uint64_t hash;
    const struct pp_mount *mount;
    int64_t until; /* seconds of CLOCK_MONOTONIC */
};

struct pp_mounts {
    const struct pp_mount_slot *slots; /* of size mask + 1, never full */
    uint64_t mask;
    uint64_t depth; /* components that the longest mount point has */
};

/* All that a session shows. */
struct pp_namespace {
    const struct pp_mounts *mounts; /* replaced at once */
    const char *views;              /* the directory of all views, absolute and real */
    uint64_t views_length;
};

/* The longest mount point that `path` starts with; `*end` is where the rest begins. NULL if none.
 */
const struct pp_mount *pp_mounts_match(const struct pp_mounts *mounts, const char *path,
                                       size_t *end);

/* Whether it is known, at the time `now`, that nothing can be mounted at the path with this hash.
 */
int pp_mounts_refused(const struct pp_mounts *mounts, uint64_t hash, int64_t now);

/* The mount to whose view an absolute real path leads; `*end` is where the path in it begins. */
const struct pp_mount *pp_view_match(const struct pp_namespace *space, const char *path,
                                     size_t *end);

/* The same of a path that is known to begin with the directory of views. */
const struct pp_mount *pp_view_named(const struct pp_namespace *space, const char *path,
                                     size_t *end);

/* The path of a view, of which `path` is the path in its mount, into `output`: its length, or -1 if
 * it does not fit. */
int64_t pp_view_of(const struct pp_namespace *space, const struct pp_mount *mount, const char *path,
                   size_t path_length, char *output, size_t capacity);

/* cffi: end */

#endif

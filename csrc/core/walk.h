/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The path walk: from a path in a repository to the record of what it names.
 *
 * Rules that hold here are those of index.h; beyond them:
 *  - The walk writes to its own struct pp_walk alone, and to a few words of stack; leaving a
 *    repository for one that is mounted in it takes PP_PATH_MAX bytes of stack.
 *  - It resolves as Linux does: "." and "..", symlinks (relative, absolute, variant), ELOOP after
 *    40 of them, ENAMETOOLONG, ENOTDIR, trailing slashes. It does not check permissions.
 *  - It never waits. When a catalog is not mapped it says so (PP_NEED_CATALOG), and the caller
 *    gets it and walks again.
 */
#ifndef PYPARROT_WALK_H
#define PYPARROT_WALK_H

#include "core/snapshot.h"
#include "core/variant.h"

/* cffi: begin */

#define PP_PATH_MAX 4096u
#define PP_LINKS_MAX 40u

/* The flags of a walk. */
enum {
    PP_NOFOLLOW = 1,  /* a symlink at the end is not followed, unless a slash is behind it */
    PP_WANT_PATH = 2, /* fill `path`, even if a single look-up would do */
    PP_JOINED = 4,    /* a directory's path was put before the program's: it may be longer */
};

enum pp_outcome {
    PP_FOUND,
    PP_ERROR,        /* `error` tells which errno */
    PP_OUTSIDE,      /* go on with the absolute path in `path`, with `links` as they are */
    PP_NEED_CATALOG, /* the nested catalog at `record`, with `path` and `hash`, has to be mounted */
    PP_DAMAGED,      /* an index contradicts itself */
};

/* What a path names: a record, the catalog that has it, and the hash of the path. */
struct pp_found {
    const struct pp_index *index;
    const struct pp_record *record;
    uint64_t hash;
};

struct pp_walk {
    const struct pp_snapshot *snapshot;
    uint32_t flags;
    uint32_t links; /* symlinks followed so far */
    int32_t error;
    int32_t at_last; /* the error is about the last name: `path` is the directory it is in */
    uint32_t path_length;
    const struct pp_index *index; /* the catalog that has … */
    const struct pp_record *record;
    uint64_t hash;              /* of the path that was found */
    char path[2 * PP_PATH_MAX]; /* where the walk is: real, without "." and "..", "" for the root */
    char rest[2 * PP_PATH_MAX]; /* what is still to be walked */
};

/* The root of a snapshot. */
void pp_find_root(const struct pp_snapshot *snapshot, struct pp_found *found);

/* Look a path up from the directory `start` on, as long as it is real: without dots, symlinks on
 * the way, a slash at the end, or a catalog that is not mapped. It takes a single look-up, or
 * some more to know that a name is not there (PP_ERROR, which means ENOENT). -1 if only a walk can
 * tell. A symlink at the end is what is found. `found` may be `start`. */
int pp_find(const struct pp_snapshot *snapshot, const struct pp_found *start, const char *path,
            size_t length, struct pp_found *found);

/* Walk `path`, of `length` bytes, from the repository's root. */
enum pp_outcome pp_walk(struct pp_walk *walk, const char *path, size_t length);

/* From a nested catalog's mountpoint that was found, go on to the catalog's own root, so that
 * first_child and children are those of the directory. Other records stay as they are. */
enum pp_outcome pp_walk_enter(struct pp_walk *walk);

/* The hash of a path without "." and "..", from that of the directory where it starts. */
uint64_t pp_path_hash(uint64_t start, const char *path, size_t length);

/* cffi: end */

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A snapshot: the catalogs of one revision, as far as they are mapped.
 *
 * Rules that hold here are those of index.h; beyond them:
 *  - One thread at a time adds catalogs; any number of threads look them up meanwhile.
 *  - A table is never enlarged in place. A copy of the snapshot with a larger table takes its place
 *    (pp_snapshot_copy), and the old one stays for those that are still reading it.
 */
#ifndef PYPARROT_SNAPSHOT_H
#define PYPARROT_SNAPSHOT_H

#include "core/index.h"

/* cffi: begin */

/* A place in the table of nested catalogs, by the hash of the path where the catalog is mounted.
 * The hash is written last: a thread that sees it sees the index, too. */
struct pp_mounted {
    uint64_t hash; /* 0 where it is free */
    const struct pp_index *index;
};

struct pp_snapshot {
    const struct pp_index *root;
    struct pp_mounted *mounted; /* of size mask + 1, never full */
    uint64_t mask;
    const char *mountpoint; /* where the repository is seen: "/cvmfs/sw.example.org" */
    uint64_t mountpoint_length;
    const char *const *environment; /* "NAME=value" …, NULL: what variant symlinks refer to */
    const uint64_t *covered; /* hashes of paths where something else is mounted, then 0; or NULL */
};

/* The nested catalog that is mapped for the path with this hash; NULL if there is none. */
static inline const struct pp_index *pp_snapshot_find(const struct pp_snapshot *snapshot,
                                                      uint64_t hash)
{
    for (uint64_t slot = hash & snapshot->mask;; slot = (slot + 1) & snapshot->mask) {
        const uint64_t found = __atomic_load_n(&snapshot->mounted[slot].hash, __ATOMIC_ACQUIRE);
        if (found == 0)
            return NULL;
        if (found == hash)
            return snapshot->mounted[slot].index;
    }
}

/* Add a nested catalog to the table; -1 if the table is full. */
int pp_snapshot_mount(struct pp_snapshot *snapshot, const struct pp_index *index);

/* Whether one more catalog leaves the table at most half full, so that look-ups stay short. */
int pp_snapshot_has_room(const struct pp_snapshot *snapshot);

/* Make `copy` the same as `snapshot`, with another table: `table` has room for `capacity` places, a
 * power of two, and is filled with zeros. -1 if that is not enough. */
int pp_snapshot_copy(struct pp_snapshot *copy, const struct pp_snapshot *snapshot,
                     struct pp_mounted *table, uint64_t capacity);

/* cffi: end */

#endif

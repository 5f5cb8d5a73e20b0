/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The mount table: which paths are virtual, and which mount they belong to.
 *
 * Python writes it once (pyparrot/run/mount_memory.py), in a form that does not depend on where it
 * lies in memory. The supervisor and all shims of a session read the same bytes. What differs
 * between processes is looked up by a mount's number: see struct pp_namespace.
 *
 * Rules that hold here are those of index.h; beyond them:
 *  - There are no pointers in the table, in the mounts and in what they refer to: there are offsets
 *    from the beginning of the memory in which they lie, 0 for none.
 *  - A mount never changes. What is entered into a table is in it by one word that is stored last:
 *    a slot's hash; what was in a slot already is replaced by another by one word. So a thread that
 *    reads meanwhile finds the one or the other. A larger table takes the place of one that is
 * full, in the same way; that stays where it is.
 *  - Paths are matched by the hash of their components, so "//a/./b" is "/a/b". ".." ends a match:
 *    what it means depends on symlinks, and that is for the resolution to find out.
 */
#ifndef PYPARROT_MOUNTS_H
#define PYPARROT_MOUNTS_H

#include "core/walk.h"

/* cffi: begin */

enum {
    PP_AUTOMOUNT = 1, /* what is missing in it is asked for: the directory /cvmfs */
};

/* It is written once for each mount and memory, so that its address tells it from all others in the
 * same memory; its number does so in all processes, for the whole session. */
struct pp_mount {
    uint64_t device; /* st_dev of all that is in it */
    uint64_t blocks; /* for statfs, of PP_BLOCK_SIZE */
    uint32_t number; /* from 1 on */
    uint32_t flags;
    uint32_t path_length;
    uint32_t view_length;
    uint32_t environment; /* offset of "NAME=value" texts, an empty one behind the last */
    char path[]; /* the mount point, "/cvmfs/sw.example.org", never ""; then the view (below) */
};

#define PP_BLOCK_SIZE 4096u

/* The name of a mount's directory of views; "" if it has to be mounted first. */
static inline const char *pp_mount_view(const struct pp_mount *mount)
{
    return mount->path + mount->path_length + 1;
}

/* A program that can't be run from its view as it is has another copy, in a directory whose name
 * ends so. It stands for the same path. */
#define PP_PROGRAM_SUFFIX ".x"

/* A place in the table, by the pp_path_hash of the mount point from PP_HASH_ROOT on. */
struct pp_mount_slot {
    uint64_t hash; /* 0 where it is free; it never changes afterwards */
    /* Two offsets. In the low half that of the struct pp_mount; 0 if it is there no more. In the
     * high half that of pp_snapshot's `covered`, for as long as this entry holds. */
    uint64_t entry;
};

/* Nothing can be mounted at the path with this hash until then (seconds of CLOCK_MONOTONIC). */
struct pp_negative_entry {
    uint64_t hash;
    int64_t until;
};

/* So many are remembered: each hash has a set of places, and there takes that of the oldest. */
#define PP_NEGATIVE_SETS 512u
#define PP_NEGATIVE_WAYS 8u

struct pp_negatives {
    struct pp_negative_entry entries[PP_NEGATIVE_SETS * PP_NEGATIVE_WAYS];
};

struct pp_mounts {
    uint32_t offset;    /* of this table itself */
    uint32_t mask;      /* there are mask + 1 slots, a power of two, never all taken */
    uint32_t depth;     /* components that the longest mount point has, or more */
    uint32_t negatives; /* offset of struct pp_negatives; 0 if there are none */
    struct pp_mount_slot slots[];
};

/* A process's own snapshots, by the numbers of the mounts that show them. NULL where there is none:
 * the mount point is reserved, or its root catalog is not mapped in this process. */
struct pp_snapshots {
    uint64_t count;
    const struct pp_snapshot *of[]; /* each is replaced at once, as when its table has grown */
};

/* All that a session shows, as one process sees it. */
struct pp_namespace {
    const struct pp_mounts *mounts;       /* replaced at once */
    const struct pp_snapshots *snapshots; /* the same; it has room for all mounts of the table
                                           * before that is there */
    const char *views;                    /* the directory of all views, absolute and real */
    uint64_t views_length;
};

/* The mount at an offset of the memory in which the table lies; NULL for 0. */
static inline const struct pp_mount *pp_mount_by_offset(const struct pp_mounts *mounts,
                                                        uint32_t offset)
{
    return offset ? (const void *)((const char *)mounts - mounts->offset + offset) : NULL;
}

/* The offset of the mount in a slot of the table; 0 if there is none. */
static inline uint32_t pp_mounts_mount(const struct pp_mounts *mounts, uint64_t slot)
{
    return (uint32_t)__atomic_load_n(&mounts->slots[slot].entry, __ATOMIC_RELAXED);
}

/* The offset of the list of what is mounted in that; 0 if there is none. */
static inline uint32_t pp_mounts_covered(const struct pp_mounts *mounts, uint64_t slot)
{
    return (uint32_t)(__atomic_load_n(&mounts->slots[slot].entry, __ATOMIC_RELAXED) >> 32);
}

/* The mount in a slot of the table; NULL if there is none. */
static inline const struct pp_mount *pp_mount_at(const struct pp_mounts *mounts, uint64_t slot)
{
    return pp_mount_by_offset(mounts, pp_mounts_mount(mounts, slot));
}

/* The snapshot that this process shows in a mount; NULL if it has none. */
static inline const struct pp_snapshot *pp_mount_snapshot(const struct pp_namespace *space,
                                                          const struct pp_mount *mount)
{
    const struct pp_snapshots *all = __atomic_load_n(&space->snapshots, __ATOMIC_ACQUIRE);
    return mount->number < all->count ? __atomic_load_n(&all->of[mount->number], __ATOMIC_ACQUIRE)
                                      : NULL;
}

/* The table at `offset` of memory that another process has written; NULL if any offset or size in
 * it leads out of the `size` bytes. Everything else here takes tables for granted. */
const struct pp_mounts *pp_mounts_open(const void *memory, uint64_t size, uint32_t offset);

/* The longest mount point that `path` starts with; `*end` is where the rest begins. NULL if none.
 */
const struct pp_mount *pp_mounts_match(const struct pp_mounts *mounts, const char *path,
                                       size_t *end);

/* Whether it is known, at the time `now`, that nothing can be mounted at the path with this hash.
 */
int pp_mounts_is_negative(const struct pp_mounts *mounts, uint64_t hash, int64_t now);

/* Say that nothing can be mounted there until then. One thread at a time writes; any number of
 * them, in other processes, too, may be reading. */
void pp_negatives_add(struct pp_negatives *negatives, uint64_t hash, int64_t until);

/* Enter a mount into a table, at the hash of a path or a view, or replace what is there; 0, or -1
 * if the table is half full. One thread at a time writes, as above. */
int pp_mounts_enter(struct pp_mounts *mounts, uint64_t hash, uint32_t mount, uint32_t covered);

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

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Mappings in the memory of processes that start programs by vfork.
 *
 * A vfork child runs on its parent's memory, and after its exec no call could take away a mapping
 * that was made there for the new arguments. So a mapping stays in the parent, and is used again
 * for its next children. Rules that hold here:
 *  - A mapping is one user's at a time, from pp_mapping_find or pp_mapping_add to
 *    pp_mapping_release.
 *  - A mapping begins with a mark. Where the mark is gone the program has unmapped it, or the
 *    number of the process is another one's: the mapping is forgotten, not touched.
 */
#ifndef PYPARROT_MAPPING_POOL_H
#define PYPARROT_MAPPING_POOL_H

#include <stdint.h>
#include <sys/types.h>

#define PP_MAPPING_SIZE 65536u /* at least; a larger one's is a power of two */
#define PP_MAPPING_MARK 16u    /* bytes of the mark; behind it the memory can be used */

struct pp_mapping {
    pid_t owner; /* the process whose memory it is in; 0 if there is no mapping */
    int is_used;
    uint64_t address, size;
    uint64_t mark[2];
};

struct pp_mapping_pool;

struct pp_mapping_pool *pp_mapping_pool_new(void);
void pp_mapping_pool_free(struct pp_mapping_pool *pool);

/* A mapping, not smaller than `size`, of the process `owner`, on whose memory the task runs; NULL
 * if there is none that is free. */
struct pp_mapping *pp_mapping_find(struct pp_mapping_pool *pool, pid_t owner, pid_t task,
                                   uint64_t size);

/* Have the pool keep a new mapping. `cookie` is its mark. NULL if there is no room, or the mark
 * can't be written. */
struct pp_mapping *pp_mapping_add(struct pp_mapping_pool *pool, pid_t owner, pid_t task,
                                  uint64_t address, uint64_t size, uint64_t cookie);

void pp_mapping_release(struct pp_mapping_pool *pool, struct pp_mapping *mapping);

#endif

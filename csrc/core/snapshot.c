/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/snapshot.h"

static uint64_t count_used(const struct pp_snapshot *snapshot)
{
    uint64_t used = 0;

    for (uint64_t slot = 0; slot <= snapshot->mask; slot++)
        used += snapshot->mounted[slot].hash != 0;
    return used;
}

int pp_snapshot_mount(struct pp_snapshot *snapshot, const struct pp_index *index)
{
    const uint64_t hash = index->header->root_hash;

    if (hash == 0 || count_used(snapshot) >= snapshot->mask)
        return -1;
    uint64_t slot = hash & snapshot->mask;
    while (snapshot->mounted[slot].hash != 0 && snapshot->mounted[slot].hash != hash)
        slot = (slot + 1) & snapshot->mask;
    snapshot->mounted[slot].index = index;
    __atomic_store_n(&snapshot->mounted[slot].hash, hash, __ATOMIC_RELEASE);
    return 0;
}

int pp_snapshot_has_room(const struct pp_snapshot *snapshot)
{
    return 2 * (count_used(snapshot) + 1) <= snapshot->mask;
}

int pp_snapshot_copy(struct pp_snapshot *copy, const struct pp_snapshot *snapshot,
                     struct pp_mounted *table, uint64_t capacity)
{
    *copy = *snapshot;
    copy->mounted = table;
    copy->mask = capacity - 1;
    for (uint64_t slot = 0; slot <= snapshot->mask; slot++)
        if (snapshot->mounted[slot].hash && pp_snapshot_mount(copy, snapshot->mounted[slot].index))
            return -1;
    return 0;
}

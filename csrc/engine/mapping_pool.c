/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/mapping_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "task/memory.h"

#define MAPPINGS_MAX 256

struct pp_mapping_pool {
    pthread_mutex_t lock;
    struct pp_mapping mappings[MAPPINGS_MAX];
};

struct pp_mapping_pool *pp_mapping_pool_new(void)
{
    struct pp_mapping_pool *pool = calloc(1, sizeof *pool);
    if (pool)
        pthread_mutex_init(&pool->lock, NULL);
    return pool;
}

void pp_mapping_pool_free(struct pp_mapping_pool *pool)
{
    free(pool);
}

struct pp_mapping *pp_mapping_find(struct pp_mapping_pool *pool, pid_t owner, pid_t task,
                                   uint64_t size)
{
    struct pp_mapping *found = NULL;

    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < MAPPINGS_MAX && !found; i++) {
        struct pp_mapping *mapping = &pool->mappings[i];
        uint64_t mark[2];
        if (mapping->owner != owner || mapping->is_used || mapping->size < size)
            continue;
        if (pp_memory_read(task, mapping->address, mark, sizeof mark) == 0 &&
            memcmp(mark, mapping->mark, sizeof mark) == 0)
            found = mapping;
        else
            mapping->owner = 0; /* another process by now, or it has unmapped it */
    }
    if (found)
        found->is_used = 1;
    pthread_mutex_unlock(&pool->lock);
    return found;
}

struct pp_mapping *pp_mapping_add(struct pp_mapping_pool *pool, pid_t owner, pid_t task,
                                  uint64_t address, uint64_t size, uint64_t cookie)
{
    struct pp_mapping *found = NULL;
    const uint64_t mark[2] = {cookie, address};

    if (pp_memory_write(task, address, mark, sizeof mark))
        return NULL;
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < MAPPINGS_MAX && !found; i++) {
        struct pp_mapping *mapping = &pool->mappings[i];
        if (!mapping->is_used && (mapping->owner == 0 || kill(mapping->owner, 0) != 0))
            found = mapping;
    }
    if (found)
        *found = (struct pp_mapping){owner, 1, address, size, {mark[0], mark[1]}};
    pthread_mutex_unlock(&pool->lock);
    return found;
}

void pp_mapping_release(struct pp_mapping_pool *pool, struct pp_mapping *mapping)
{
    pthread_mutex_lock(&pool->lock);
    mapping->is_used = 0;
    pthread_mutex_unlock(&pool->lock);
}

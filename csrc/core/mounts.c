/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/mounts.h"

#include "core/text.h"

/* The next component from `*position` on, "" and "." left out. Its length; 0 at the end. */
static size_t next_component(const char *path, size_t *position, const char **start)
{
    size_t i = *position;

    for (;;) {
        while (path[i] == '/')
            i++;
        *start = path + i;
        while (path[i] && path[i] != '/')
            i++;
        const size_t length = (size_t)(path + i - *start);
        *position = i;
        if (length != 1 || **start != '.')
            return length;
    }
}

static const struct pp_mount_slot *find(const struct pp_mounts *mounts, uint64_t hash)
{
    for (uint64_t slot = hash & mounts->mask; mounts->slots[slot].hash;
         slot = (slot + 1) & mounts->mask)
        if (mounts->slots[slot].hash == hash)
            return &mounts->slots[slot];
    return NULL;
}

const struct pp_mount *pp_mounts_match(const struct pp_mounts *mounts, const char *path,
                                       size_t *end)
{
    const struct pp_mount *match = NULL;
    uint64_t hash = PP_HASH_ROOT;
    size_t position = 0;

    for (uint64_t depth = 0; depth < mounts->depth; depth++) {
        const char *name;
        const size_t length = next_component(path, &position, &name);
        if (length == 0 || (length == 2 && name[0] == '.' && name[1] == '.'))
            break;
        hash = pp_hash_child(hash, pp_hash_name(name, length));
        const struct pp_mount_slot *slot = find(mounts, hash);
        if (slot && slot->mount) {
            match = slot->mount;
            *end = position;
        }
    }
    return match;
}

int pp_mounts_refused(const struct pp_mounts *mounts, uint64_t hash, int64_t now)
{
    const struct pp_mount_slot *slot = find(mounts, hash);
    return slot && !slot->mount && now < slot->until;
}

const struct pp_mount *pp_view_named(const struct pp_namespace *space, const char *path,
                                     size_t *end)
{
    const struct pp_mounts *mounts = __atomic_load_n(&space->mounts, __ATOMIC_ACQUIRE);
    const size_t start = space->views_length + 1;

    if (path[start - 1] != '/')
        return NULL;
    for (uint64_t slot = 0; slot <= mounts->mask; slot++) {
        const struct pp_mount *mount = mounts->slots[slot].mount;
        if (!mount || !pp_starts_with(path + start, mount->view, mount->view_length))
            continue;
        size_t after = start + mount->view_length;
        if (pp_starts_with(path + after, PP_PROGRAM_SUFFIX, sizeof PP_PROGRAM_SUFFIX - 1))
            after += sizeof PP_PROGRAM_SUFFIX - 1;
        if (path[after] == 0 || path[after] == '/') {
            *end = after;
            return mount;
        }
    }
    return NULL;
}

const struct pp_mount *pp_view_match(const struct pp_namespace *space, const char *path,
                                     size_t *end)
{
    return pp_starts_with(path, space->views, space->views_length) ? pp_view_named(space, path, end)
                                                                   : NULL;
}

int64_t pp_view_of(const struct pp_namespace *space, const struct pp_mount *mount, const char *path,
                   size_t path_length, char *output, size_t capacity)
{
    size_t length = 0;

    if (pp_append(output, capacity, &length, space->views, space->views_length) ||
        pp_append(output, capacity, &length, "/", 1) ||
        pp_append(output, capacity, &length, mount->view, mount->view_length) ||
        pp_append(output, capacity, &length, path, path_length))
        return -1;
    return (int64_t)length;
}

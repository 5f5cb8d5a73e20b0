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

/* Whether `length` bytes from `offset` on lie within `size`, aligned as numbers have to be. */
static int is_within(uint64_t size, uint64_t offset, uint64_t length)
{
    return offset && offset % sizeof(uint64_t) == 0 && offset <= size && length <= size - offset;
}

static int is_mount(const char *memory, uint64_t size, uint32_t offset)
{
    const uint64_t head = offsetof(struct pp_mount, path);
    const struct pp_mount *mount = (const void *)(memory + offset);

    if (!is_within(size, offset, sizeof *mount))
        return 0;
    const uint64_t texts = UINT64_C(2) + mount->path_length + mount->view_length;
    return is_within(size, offset, head + texts) && mount->path[mount->path_length] == 0 &&
           pp_mount_view(mount)[mount->view_length] == 0 && mount->environment < size &&
           mount->number <= size / sizeof *mount;
}

/* Hashes up to one that is 0; none if the offset is 0. */
static int is_list(const char *memory, uint64_t size, uint32_t offset)
{
    for (uint64_t place = offset; place; place += sizeof(uint64_t)) {
        if (!is_within(size, place, sizeof(uint64_t)))
            return 0;
        if (*(const uint64_t *)(const void *)(memory + place) == 0)
            break;
    }
    return 1;
}

const struct pp_mounts *pp_mounts_open(const void *memory, uint64_t size, uint32_t offset)
{
    const struct pp_mounts *mounts = (const void *)((const char *)memory + offset);
    uint64_t used = 0;

    if (!is_within(size, offset, sizeof *mounts) || mounts->offset != offset ||
        mounts->mask & (mounts->mask + 1))
        return NULL;
    const uint64_t slots = mounts->mask + UINT64_C(1);
    if (!is_within(size, offset, sizeof *mounts + slots * sizeof(struct pp_mount_slot)) ||
        (mounts->negatives && !is_within(size, mounts->negatives, sizeof(struct pp_negatives))))
        return NULL;
    for (uint64_t i = 0; i < slots; i++) {
        const uint32_t mount = pp_mounts_mount(mounts, i);
        used += mounts->slots[i].hash != 0;
        if (mount && (!is_mount(memory, size, mount) ||
                      !is_list(memory, size, pp_mounts_covered(mounts, i))))
            return NULL;
    }
    return used < slots ? mounts : NULL;
}

/* Where a hash is in the table, or would be. */
static uint64_t slot_of(const struct pp_mounts *mounts, uint64_t hash)
{
    uint64_t slot = hash & mounts->mask;

    for (;; slot = (slot + 1) & mounts->mask) {
        const uint64_t there = __atomic_load_n(&mounts->slots[slot].hash, __ATOMIC_ACQUIRE);
        if (!there || there == hash)
            return slot;
    }
}

/* The offset of the mount whose mount point has this hash; 0 if there is none. */
static uint32_t find(const struct pp_mounts *mounts, uint64_t hash)
{
    const uint64_t slot = slot_of(mounts, hash);
    return mounts->slots[slot].hash ? pp_mounts_mount(mounts, slot) : 0;
}

int pp_mounts_enter(struct pp_mounts *mounts, uint64_t hash, uint32_t mount, uint32_t covered)
{
    const uint64_t slot = slot_of(mounts, hash);
    uint64_t used = 0;

    if (!mounts->slots[slot].hash)
        for (uint64_t i = 0; i <= mounts->mask; i++)
            used += mounts->slots[i].hash != 0;
    if (2 * used > mounts->mask)
        return -1;
    __atomic_store_n(&mounts->slots[slot].entry, mount | (uint64_t)covered << 32, __ATOMIC_RELEASE);
    __atomic_store_n(&mounts->slots[slot].hash, hash, __ATOMIC_RELEASE);
    return 0;
}

const struct pp_mount *pp_mounts_match(const struct pp_mounts *mounts, const char *path,
                                       size_t *end)
{
    uint32_t match = 0;
    uint64_t hash = PP_HASH_ROOT;
    size_t position = 0;

    for (uint32_t left = mounts->depth; left > 0; left--) {
        const char *name;
        const size_t length = next_component(path, &position, &name);
        if (length == 0 || (length == 2 && name[0] == '.' && name[1] == '.'))
            break;
        hash = pp_hash_child(hash, pp_hash_name(name, length));
        const uint32_t mount = find(mounts, hash);
        if (mount) {
            match = mount;
            *end = position;
        }
    }
    return pp_mount_by_offset(mounts, match);
}

/* Names that are known to be no mount points. In a place, `until` is 0 while its hash is replaced,
 * so that no time is taken for another hash's. */

static size_t set_of(uint64_t hash)
{
    return (size_t)(hash % PP_NEGATIVE_SETS) * PP_NEGATIVE_WAYS;
}

int pp_mounts_is_negative(const struct pp_mounts *mounts, uint64_t hash, int64_t now)
{
    if (!mounts->negatives)
        return 0;
    const struct pp_negatives *negatives =
        (const void *)((const char *)mounts - mounts->offset + mounts->negatives);
    for (size_t way = 0; way < PP_NEGATIVE_WAYS; way++) {
        const struct pp_negative_entry *entry = &negatives->entries[set_of(hash) + way];
        if (__atomic_load_n(&entry->hash, __ATOMIC_ACQUIRE) != hash)
            continue;
        const int64_t until = __atomic_load_n(&entry->until, __ATOMIC_ACQUIRE);
        return now < until && __atomic_load_n(&entry->hash, __ATOMIC_RELAXED) == hash;
    }
    return 0;
}

void pp_negatives_add(struct pp_negatives *negatives, uint64_t hash, int64_t until)
{
    struct pp_negative_entry *place = &negatives->entries[set_of(hash)];

    for (size_t way = 0; way < PP_NEGATIVE_WAYS; way++) {
        struct pp_negative_entry *entry = &negatives->entries[set_of(hash) + way];
        if (entry->hash == hash || entry->until < place->until)
            place = entry;
        if (entry->hash == hash)
            break;
    }
    if (place->hash != hash) {
        __atomic_store_n(&place->until, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&place->hash, hash, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&place->until, until, __ATOMIC_RELEASE);
}

const struct pp_mount *pp_view_named(const struct pp_namespace *space, const char *path,
                                     size_t *end)
{
    const struct pp_mounts *mounts = __atomic_load_n(&space->mounts, __ATOMIC_ACQUIRE);
    const size_t start = space->views_length + 1;

    if (path[start - 1] != '/')
        return NULL;
    for (uint64_t slot = 0; slot <= mounts->mask; slot++) {
        const struct pp_mount *mount = pp_mount_at(mounts, slot);
        if (!mount || !mount->view_length ||
            !pp_starts_with(path + start, pp_mount_view(mount), mount->view_length))
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
        pp_append(output, capacity, &length, pp_mount_view(mount), mount->view_length) ||
        pp_append(output, capacity, &length, path, path_length))
        return -1;
    return (int64_t)length;
}

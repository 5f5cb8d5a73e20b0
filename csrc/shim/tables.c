/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What this process makes of the shared state: it reads the mount table where it lies, and has
 * snapshots of its own, whose index files it maps.
 *
 * Snapshots and tables that other threads may be reading are never changed nor freed, except that
 * a catalog is added to a table that has room: what is new takes the place of the old at once. One
 * thread at a time builds; a thread that finds another one at it goes on without what it wanted.
 */
#include "core/text.h"
#include "shim/arena.h"

#define FIRST_CAPACITY 16u

static void *at(uint32_t offset)
{
    return offset && offset < PP_SHARED_STATE_SIZE ? (char *)(uintptr_t)pp_shim.state + offset
                                                   : NULL;
}

static int begin(void)
{
    int32_t free = 0;
    return __atomic_compare_exchange_n(&pp_shim.wiped->building, &free, 1, 0, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED)
               ? 0
               : -1;
}

static void end(void)
{
    pp_release(&pp_shim.wiped->building);
}

void pp_tables_share(void)
{
    const struct pp_shared_state *state = pp_shim.state;
    if (!pp_shim.shared && state->shared)
        pp_shim.shared = pp_map_shared(at(state->shared), PP_SHARED_USAGE_SIZE,
                                       state->shared_device, state->shared_inode);
}

/* Snapshots, by the numbers of their mounts */

static int make_room(uint64_t highest)
{
    const struct pp_snapshots *old = pp_shim.space.snapshots;
    uint64_t count = old ? old->count : FIRST_CAPACITY;

    if (old && highest < count)
        return 0;
    while (count <= highest)
        count *= 2;
    struct pp_snapshots *all = pp_arena_get(sizeof *all + count * sizeof all->of[0]);
    if (!all)
        return -1;
    all->count = count;
    for (uint64_t number = 0; old && number < old->count; number++)
        all->of[number] = old->of[number];
    __atomic_store_n(&pp_shim.space.snapshots, all, __ATOMIC_RELEASE);
    return 0;
}

static void set_snapshot(const struct pp_mount *mount, const struct pp_snapshot *snapshot)
{
    struct pp_snapshots *all = (struct pp_snapshots *)(uintptr_t)pp_shim.space.snapshots;
    __atomic_store_n(&all->of[mount->number], snapshot, __ATOMIC_RELEASE);
}

/* From now on walks leave the mount for what is mounted at paths in it. */
static int set_covered(const struct pp_mount *mount, const uint64_t *covered)
{
    const struct pp_snapshot *old = pp_mount_snapshot(&pp_shim.space, mount);

    if (!old || old->covered == covered)
        return 0;
    struct pp_snapshot *snapshot = pp_arena_get(sizeof *snapshot);
    if (!snapshot)
        return -1;
    *snapshot = *old;
    snapshot->covered = covered;
    set_snapshot(mount, snapshot);
    return 0;
}

/* The mount table */

/* Get ready for a table, and take it. */
static int take(const struct pp_mounts *table)
{
    uint32_t highest = 0;

    for (uint64_t slot = 0; slot <= table->mask; slot++) {
        const struct pp_mount *mount = pp_mount_at(table, slot);
        if (mount && mount->number > highest)
            highest = mount->number;
    }
    if (make_room(highest))
        return -1;
    for (uint64_t slot = 0; slot <= table->mask; slot++) {
        const struct pp_mount *mount = pp_mount_at(table, slot);
        if (mount && set_covered(mount, at(pp_mounts_covered(table, slot))))
            return -1;
    }
    __atomic_store_n(&pp_shim.space.mounts, table, __ATOMIC_RELEASE);
    return 0;
}

int pp_tables_update(void)
{
    const struct pp_shared_state *state = pp_shim.state;
    const uint32_t generation = __atomic_load_n(&state->generation, __ATOMIC_ACQUIRE);
    int outcome = -1;

    if (!generation)
        return -1;
    if (generation == __atomic_load_n(&pp_shim.generation, __ATOMIC_ACQUIRE))
        return 0;
    if (begin())
        return -1;
    const struct pp_mounts *table = pp_mounts_open(
        state, PP_SHARED_STATE_SIZE, __atomic_load_n(&state->table, __ATOMIC_ACQUIRE));
    pp_shim.space.views = at(state->views);
    pp_shim.space.views_length = state->views_length;
    if (table && take(table) == 0) {
        __atomic_store_n(&pp_shim.generation, generation, __ATOMIC_RELEASE);
        outcome = 0;
    }
    end();
    return outcome;
}

/* Catalogs */

static const struct pp_shared_catalog *find_catalog(uint32_t mount, uint64_t hash)
{
    const struct pp_shared_catalog *catalog =
        at(__atomic_load_n(&pp_shim.state->catalogs, __ATOMIC_ACQUIRE));
    while (catalog) {
        if (catalog->mount == mount && catalog->root_hash == hash)
            return catalog;
        catalog = at(catalog->next);
    }
    return NULL;
}

static struct pp_index *map_index(uint32_t mount, uint64_t hash)
{
    const struct pp_shared_catalog *catalog = find_catalog(mount, hash);
    uint64_t size = 0;
    if (!catalog)
        return NULL;
    struct pp_index *index = pp_arena_get(sizeof *index);
    const void *file = index ? pp_map_file(at(catalog->file), &size) : NULL;
    if (!file || pp_index_open(index, file, size) || index->header->root_hash != hash)
        return NULL;
    pp_tables_share();
    const uint64_t words = index->records_size / PP_TOUCH_UNIT + 1;
    const uint64_t room =
        (PP_SHARED_USAGE_SIZE - sizeof(struct pp_shared_usage)) / sizeof(uint32_t);
    if (pp_shim.shared && catalog->touched && catalog->touched + words <= room)
        index->touched = pp_shim.shared->words + catalog->touched;
    return index;
}

/* "NAME=value" texts, an empty one behind the last, as an array that NULL ends. */
static const char *const *make_environment(const char *texts)
{
    uint64_t count = 0;

    for (const char *text = texts; text && *text; text += pp_length(text) + 1)
        count++;
    const char **environment = pp_arena_get((count + 1) * sizeof *environment);
    if (!environment)
        return NULL;
    count = 0;
    for (const char *text = texts; text && *text; text += pp_length(text) + 1)
        environment[count++] = text;
    return environment;
}

static int mount_root(const struct pp_mount *mount)
{
    const struct pp_mounts *table = pp_shim.space.mounts;
    uint64_t slot = 0;

    if (pp_mount_snapshot(&pp_shim.space, mount))
        return 0;
    while (slot <= table->mask && pp_mount_at(table, slot) != mount)
        slot++;
    if (slot > table->mask)
        return -1;
    struct pp_snapshot *snapshot = pp_arena_get(sizeof *snapshot);
    struct pp_mounted *mounted = pp_arena_get(FIRST_CAPACITY * sizeof *mounted);
    const char *const *environment = make_environment(at(mount->environment));
    const struct pp_index *root = map_index(mount->number, PP_HASH_ROOT);
    if (!snapshot || !mounted || !environment || !root)
        return -1;
    *snapshot = (struct pp_snapshot){
        .root = root,
        .mounted = mounted,
        .mask = FIRST_CAPACITY - 1,
        .mountpoint = mount->path,
        .mountpoint_length = mount->path_length,
        .environment = environment,
        .covered = at(pp_mounts_covered(table, slot)),
    };
    set_snapshot(mount, snapshot);
    return 0;
}

int pp_tables_mount(const struct pp_mount *mount)
{
    if (begin())
        return -1;
    const int outcome = mount_root(mount);
    end();
    return outcome;
}

/* A copy of a snapshot with a table of twice the size. */
static struct pp_snapshot *grow(const struct pp_snapshot *old)
{
    const uint64_t capacity = 2 * (old->mask + 1);
    struct pp_snapshot *snapshot = pp_arena_get(sizeof *snapshot);
    struct pp_mounted *mounted = pp_arena_get(capacity * sizeof *mounted);

    return snapshot && mounted && pp_snapshot_copy(snapshot, old, mounted, capacity) == 0 ? snapshot
                                                                                          : NULL;
}

static int mount_catalog(const struct pp_mount *mount, uint64_t hash)
{
    struct pp_snapshot *snapshot =
        (struct pp_snapshot *)(uintptr_t)pp_mount_snapshot(&pp_shim.space, mount);

    if (!snapshot)
        return -1;
    if (pp_snapshot_find(snapshot, hash))
        return 0;
    const struct pp_index *index = map_index(mount->number, hash);
    if (!index)
        return -1;
    if (pp_snapshot_has_room(snapshot))
        return pp_snapshot_mount(snapshot, index);
    snapshot = grow(snapshot);
    if (!snapshot || pp_snapshot_mount(snapshot, index))
        return -1;
    set_snapshot(mount, snapshot);
    return 0;
}

int pp_tables_catalog(const struct pp_mount *mount, uint64_t hash)
{
    if (begin())
        return -1;
    const int outcome = mount_catalog(mount, hash);
    end();
    return outcome;
}

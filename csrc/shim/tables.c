/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The decision core's own tables in this process, made from what the shared state says.
 *
 * Tables that others may be reading are never changed nor freed: a new one takes their place at
 * once. One at a time builds; who finds somebody at it goes without.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#include "core/text.h"
#include "shim/shim.h"

#define ARENA_SIZE (64u << 10)
#define FIRST_CAPACITY 16u

/* A mount in this process. It stays for ever, as what is open in it may. */
struct local_mount {
    struct pp_mount mount; /* first: who has the one has the other */
    uint32_t id;
    struct local_mount *next;
};

static struct local_mount *local_mounts;
static char *arena;
static uint64_t arena_left;

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

/* Nobody traps mmap, and its sixth argument is the offset: this call needs no cookie. */
static void *map(uint64_t size, uint64_t protection, uint64_t flags, int64_t descriptor)
{
    const int64_t address =
        pp_system_call(__NR_mmap, 0, size, protection, flags, (uint64_t)descriptor, 0);
    return address < 0 ? NULL : (void *)address;
}

/* Memory for good, filled with zeros; NULL if there is none. */
static void *get(uint64_t size)
{
    size = (size + 15) & ~UINT64_C(15);
    if (size > arena_left) {
        const uint64_t whole = size > ARENA_SIZE ? size : ARENA_SIZE;
        char *fresh = map(whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        if (!fresh)
            return NULL;
        arena = fresh;
        arena_left = whole;
    }
    char *given = arena;
    arena += size;
    arena_left -= size;
    return given;
}

/* Map a file of `*size` bytes (0: as large as it is). */
static void *map_file(const char *file, int writable, uint64_t *size)
{
    const int64_t descriptor =
        pp_gate(__NR_openat, (uint64_t)AT_FDCWD, (uint64_t)file,
                (uint64_t)((writable ? O_RDWR : O_RDONLY) | O_CLOEXEC), 0, 0);
    if (descriptor < 0)
        return NULL;
    void *mapped = NULL;
    if (*size == 0) {
        const int64_t length = pp_gate(__NR_lseek, (uint64_t)descriptor, 0, 2 /* SEEK_END */, 0, 0);
        *size = length > 0 ? (uint64_t)length : 0;
    }
    if (*size)
        mapped = map(*size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, descriptor);
    pp_gate(__NR_close, (uint64_t)descriptor, 0, 0, 0, 0);
    return mapped;
}

void pp_tables_share(void)
{
    uint64_t size = PP_SHARED_USAGE_SIZE;
    if (!pp_shim.shared && pp_shim.state->shared)
        pp_shim.shared = map_file(at(pp_shim.state->shared), 1, &size);
}

static struct local_mount *find_local(uint32_t id)
{
    struct local_mount *local = local_mounts;
    while (local && local->id != id)
        local = local->next;
    return local;
}

static struct local_mount *add_local(const struct pp_shared_mount *given)
{
    struct local_mount *local = get(sizeof *local);
    if (!local)
        return NULL;
    local->mount.path = at(given->path);
    local->mount.path_length = given->path_length;
    local->mount.view = at(given->view);
    local->mount.view_length = given->view_length;
    local->mount.device = given->device;
    local->mount.blocks = given->blocks;
    local->mount.flags = given->flags;
    local->id = given->id;
    local->next = local_mounts;
    local_mounts = local;
    return local;
}

/* Another snapshot for the mount: what is different from the one that it has is the caller's to
 * set. */
static struct pp_snapshot *copy_snapshot(const struct local_mount *local)
{
    struct pp_snapshot *snapshot = get(sizeof *snapshot);
    if (snapshot)
        *snapshot = *local->mount.snapshot;
    return snapshot;
}

static void set_snapshot(struct local_mount *local, const struct pp_snapshot *snapshot)
{
    __atomic_store_n(&local->mount.snapshot, snapshot, __ATOMIC_RELEASE);
}

static int build(const struct pp_shared_table *given)
{
    const struct pp_shared_mount *mounts = (const void *)(given + 1);
    const struct pp_shared_refusal *refusals = (const void *)(mounts + given->mounts);
    uint64_t capacity = 8;
    while (capacity < 2 * ((uint64_t)given->mounts + given->refusals) + 1)
        capacity *= 2;
    struct pp_mount_slot *slots = get(capacity * sizeof *slots);
    struct pp_mounts *table = get(sizeof *table);
    if (!slots || !table)
        return -1;
    for (uint32_t i = 0; i < given->mounts + given->refusals; i++) {
        struct pp_mount_slot slot = {0};
        if (i < given->mounts) {
            struct local_mount *local = find_local(mounts[i].id);
            const uint64_t *covered = at(mounts[i].covered);
            if (!local && !(local = add_local(&mounts[i])))
                return -1;
            if (local->mount.snapshot && local->mount.snapshot->covered != covered) {
                struct pp_snapshot *snapshot = copy_snapshot(local);
                if (!snapshot)
                    return -1;
                snapshot->covered = covered;
                set_snapshot(local, snapshot);
            }
            slot.hash = mounts[i].hash;
            slot.mount = &local->mount;
        } else {
            slot.hash = refusals[i - given->mounts].hash;
            slot.until = refusals[i - given->mounts].until;
        }
        uint64_t place = slot.hash & (capacity - 1);
        while (slots[place].hash)
            place = (place + 1) & (capacity - 1);
        slots[place] = slot;
    }
    *table = (struct pp_mounts){slots, capacity - 1, given->depth};
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
    const struct pp_shared_table *given = at(__atomic_load_n(&state->table, __ATOMIC_ACQUIRE));
    pp_shim.space.views = at(state->views);
    pp_shim.space.views_length = state->views_length;
    if (given && build(given) == 0) {
        __atomic_store_n(&pp_shim.generation, generation, __ATOMIC_RELEASE);
        outcome = 0;
    }
    end();
    return outcome;
}

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
    struct pp_index *index = get(sizeof *index);
    const void *file = index ? map_file(at(catalog->file), 0, &size) : NULL;
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

/* Room for twice as many catalogs as there are. */
static struct pp_snapshot *grow(const struct local_mount *local, uint64_t capacity)
{
    const struct pp_snapshot *old = local->mount.snapshot;
    struct pp_snapshot *snapshot = copy_snapshot(local);
    struct pp_mounted *mounted = get(capacity * sizeof *mounted);

    if (!snapshot || !mounted)
        return NULL;
    snapshot->mounted = mounted;
    snapshot->mask = capacity - 1;
    for (uint64_t slot = 0; slot <= old->mask; slot++)
        if (old->mounted[slot].hash && pp_snapshot_mount(snapshot, old->mounted[slot].index))
            return NULL;
    return snapshot;
}

static int mount_root(struct local_mount *local)
{
    const struct pp_shared_table *given =
        at(__atomic_load_n(&pp_shim.state->table, __ATOMIC_ACQUIRE));
    const struct pp_shared_mount *mounts = (const void *)(given + 1);
    uint32_t i = 0;

    if (local->mount.snapshot)
        return 0;
    if (!given)
        return -1;
    while (i < given->mounts && mounts[i].id != local->id)
        i++;
    if (i == given->mounts)
        return -1;
    struct pp_snapshot *snapshot = get(sizeof *snapshot);
    struct pp_mounted *mounted = get(FIRST_CAPACITY * sizeof *mounted);
    const char **environment = NULL;
    uint64_t count = 0;
    for (const char *text = at(mounts[i].environment); text && *text; text += pp_length(text) + 1)
        count++;
    environment = get((count + 1) * sizeof *environment);
    const struct pp_index *root = map_index(local->id, PP_HASH_ROOT);
    if (!snapshot || !mounted || !environment || !root)
        return -1;
    count = 0;
    for (const char *text = at(mounts[i].environment); text && *text; text += pp_length(text) + 1)
        environment[count++] = text;
    *snapshot = (struct pp_snapshot){
        .root = root,
        .mounted = mounted,
        .mask = FIRST_CAPACITY - 1,
        .mountpoint = local->mount.path,
        .mountpoint_length = local->mount.path_length,
        .environment = environment,
        .covered = at(mounts[i].covered),
    };
    set_snapshot(local, snapshot);
    return 0;
}

int pp_tables_mount(const struct pp_mount *mount)
{
    if (begin())
        return -1;
    const int outcome = mount_root((struct local_mount *)(uintptr_t)mount);
    end();
    return outcome;
}

static int mount_catalog(struct local_mount *local, uint64_t hash)
{
    if (pp_snapshot_find(local->mount.snapshot, hash))
        return 0;
    const struct pp_index *index = map_index(local->id, hash);
    if (!index)
        return -1;
    struct pp_snapshot *snapshot = (struct pp_snapshot *)(uintptr_t)local->mount.snapshot;
    uint64_t used = 0;
    for (uint64_t slot = 0; slot <= snapshot->mask; slot++)
        used += snapshot->mounted[slot].hash != 0;
    if (2 * (used + 1) <= snapshot->mask)
        return pp_snapshot_mount(snapshot, index);
    snapshot = grow(local, 2 * (snapshot->mask + 1));
    if (!snapshot || pp_snapshot_mount(snapshot, index))
        return -1;
    set_snapshot(local, snapshot);
    return 0;
}

int pp_tables_catalog(const struct pp_mount *mount, uint64_t hash)
{
    if (begin())
        return -1;
    const int outcome = mount_catalog((struct local_mount *)(uintptr_t)mount, hash);
    end();
    return outcome;
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which virtual file a descriptor or the working directory is.
 *
 * /proc tells, but that takes microseconds. So what was found once is kept by inode and ctime: a
 * view's inode has the ctime of its last link, so it stands for the same path as long as that has
 * not changed. Files that have more than one view are not kept.
 *
 * Entries are written and read without locks: `version` is odd while one is written, and another
 * one afterwards. A reader that finds it changed has found nothing.
 */
#include <asm/unistd.h> /* for the calls that the shim itself makes */

#include "core/text.h"
#include "shim/shim.h"

#define ENTRIES 256u

struct entry {
    uint32_t version;
    uint32_t padding;
    uint64_t device, inode;
    uint64_t ctime, ctime_ns;
    struct pp_location location;
};

static struct entry entries[ENTRIES];

static struct entry *place_of(const struct stat *status)
{
    const uint64_t hash = (status->st_ino ^ status->st_dev << 7) * UINT64_C(0x9e3779b97f4a7c15);
    return &entries[hash >> 56];
}

int pp_identity_find(const struct stat *status, struct pp_location *location)
{
    const struct entry *entry = place_of(status);
    const uint32_t version = __atomic_load_n(&entry->version, __ATOMIC_ACQUIRE);

    if (version & 1 || entry->inode != status->st_ino || entry->ctime_ns != status->st_ctime_nsec ||
        entry->ctime != (uint64_t)status->st_ctime || entry->device != status->st_dev)
        return 0;
    *location = entry->location;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return version != 0 && __atomic_load_n(&entry->version, __ATOMIC_RELAXED) == version;
}

void pp_identity_keep(const struct stat *status, const struct pp_location *location)
{
    struct entry *entry = place_of(status);
    uint32_t version = __atomic_load_n(&entry->version, __ATOMIC_RELAXED);

    if (version & 1 || !__atomic_compare_exchange_n(&entry->version, &version, version + 1, 0,
                                                    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    entry->device = status->st_dev;
    entry->inode = status->st_ino;
    entry->ctime = (uint64_t)status->st_ctime;
    entry->ctime_ns = status->st_ctime_nsec;
    entry->location = *location;
    __atomic_store_n(&entry->version, version + 2, __ATOMIC_RELEASE);
}

/* The working directory. It is kept for the process that all this belongs to alone: a vfork child
 * has another one. */

int pp_is_owner(void)
{
    struct pp_wiped *wiped = pp_shim.wiped;
    const int32_t process = (int32_t)pp_gate(__NR_getpid, 0, 0, 0, 0, 0);
    const int32_t owner = __atomic_load_n(&wiped->owner, __ATOMIC_RELAXED);

    if (owner == 0) { /* a fork has wiped it */
        __atomic_store_n(&wiped->owner, process, __ATOMIC_RELAXED);
        return 1;
    }
    return owner == process;
}

struct pp_cwd_epoch pp_cwd_now(void)
{
    return (struct pp_cwd_epoch){
        __atomic_load_n(&pp_shim.wiped->cwd_forgotten, __ATOMIC_ACQUIRE),
        __atomic_load_n(&pp_shim.state->directories, __ATOMIC_ACQUIRE),
    };
}

int pp_cwd_find(struct pp_location *location)
{
    const struct pp_wiped *wiped = pp_shim.wiped;
    const uint32_t version = __atomic_load_n(&wiped->cwd_version, __ATOMIC_ACQUIRE);
    const struct pp_cwd_epoch now = pp_cwd_now();

    if (version == 0 || version & 1 || pp_shim.state->flags & PP_SHARED_CWD_APART ||
        wiped->cwd_epoch.forgotten != now.forgotten ||
        wiped->cwd_epoch.directories != now.directories || !pp_is_owner())
        return 0;
    *location = wiped->cwd;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&wiped->cwd_version, __ATOMIC_RELAXED) == version;
}

int64_t pp_cwd_path(char *output, uint64_t capacity)
{
    const struct pp_wiped *wiped = pp_shim.wiped;
    const uint32_t version = __atomic_load_n(&wiped->cwd_version, __ATOMIC_ACQUIRE);
    struct pp_location location;

    if (!pp_cwd_find(&location) || !location.mount || !wiped->cwd_length)
        return 0;
    const uint64_t size = wiped->cwd_length + 1;
    if (size > PP_CWD_MAX || size > capacity)
        return 0;
    __builtin_memcpy(output, wiped->cwd_path, size);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&wiped->cwd_version, __ATOMIC_RELAXED) == version ? (int64_t)size : 0;
}

/* `path` is that of something virtual in its mount. */
void pp_cwd_keep(struct pp_cwd_epoch epoch, const struct pp_location *location, const char *path)
{
    struct pp_wiped *wiped = pp_shim.wiped;
    size_t length = 0;
    uint32_t version = __atomic_load_n(&wiped->cwd_version, __ATOMIC_RELAXED);

    if (pp_shim.state->flags & PP_SHARED_CWD_APART || !pp_is_owner() || version & 1 ||
        !__atomic_compare_exchange_n(&wiped->cwd_version, &version, version + 1, 0,
                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    wiped->cwd = *location;
    wiped->cwd_epoch = epoch;
    if (!location->mount ||
        pp_append(wiped->cwd_path, PP_CWD_MAX, &length, location->mount->path,
                  location->mount->path_length) ||
        pp_append(wiped->cwd_path, PP_CWD_MAX, &length, path, pp_length(path)))
        length = 0;
    wiped->cwd_length = (uint32_t)length;
    __atomic_store_n(&wiped->cwd_version, version + 2, __ATOMIC_RELEASE);
}

void pp_cwd_forget(void)
{
    __atomic_add_fetch(&pp_shim.wiped->cwd_forgotten, 1, __ATOMIC_RELEASE);
}

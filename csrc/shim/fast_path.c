/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first look at a call, on the program's own stack: what can be answered with a look-up or two,
 * and what has nothing to do with us. The rest takes the decision core (think.c).
 *
 * Stack is scarce (shim.h). So the file that a call starts from is found first, and its status has
 * gone from the stack when the path is looked up; and what is called last is called in place of its
 * caller.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "core/kernel_structs.h"
#include "shim/locate.h"

/* What a descriptor is; 0 if that has to be learnt first. */
static __attribute__((noinline)) int describe(int descriptor, struct pp_location *location)
{
    struct stat status;

    location->mount = NULL;
    if (pp_get_status(descriptor, &status) < 0 || !pp_may_be_view(&status))
        return 1;
    return pp_identity_find(&status, location);
}

static __attribute__((noinline)) enum pp_verdict fast_stat(uint64_t path, int nofollow,
                                                           uint64_t output,
                                                           struct pp_fast_result *fast)
{
    struct pp_location *location = &fast->location;
    const enum pp_way way = pp_locate(path, location);

    if (way != PP_WAY_FOUND)
        return pp_otherwise(way, fast);
    if (pp_is_followed(location, nofollow) || !pp_is_address(output))
        return PP_UNKNOWN;
    fast->value = 0;
    pp_touch(pp_shim.shared, &location->found, 0);
    pp_fill_stat((struct stat *)output, location->mount, pp_snapshot_of(location),
                 location->found.record);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict fast_fstat(int descriptor, uint64_t output,
                                                            struct pp_fast_result *fast)
{
    struct pp_location *location = &fast->location;
    struct stat *status = (struct stat *)output;

    fast->value = pp_get_status(descriptor, status);
    if (fast->value < 0 || !pp_may_be_view(status))
        return PP_DONE;
    if (!pp_identity_find(status, location)) {
        fast->learn = descriptor;
        return PP_UNKNOWN;
    }
    if (location->mount)
        pp_fill_stat(status, location->mount, pp_snapshot_of(location), location->found.record);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict fast_statx(const uint64_t *args,
                                                            struct pp_fast_result *fast)
{
    struct pp_location *location = &fast->location;
    const uint32_t flags = (uint32_t)args[2];

    if (flags & ~(PP_LOOK_FLAGS | PP_STATX_SYNC_FLAGS) ||
        (flags & PP_STATX_SYNC_FLAGS) == PP_STATX_SYNC_FLAGS || args[3] & PP_STATX_RESERVED)
        return PP_UNKNOWN;
    const enum pp_way way = pp_locate(args[1], location);
    if (way != PP_WAY_FOUND)
        return pp_otherwise(way, fast);
    if (pp_is_followed(location, flags & AT_SYMLINK_NOFOLLOW) || !pp_is_address(args[4]))
        return PP_UNKNOWN;
    fast->value = 0;
    pp_touch(pp_shim.shared, &location->found, 0);
    pp_fill_statx((struct statx *)args[4], location->mount, pp_snapshot_of(location),
                  location->found.record);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict fast_access(uint64_t path, uint32_t mode,
                                                             uint32_t flags,
                                                             struct pp_fast_result *fast)
{
    struct pp_location *location = &fast->location;

    if (mode > PP_ACCESS_MODES || flags & ~(AT_SYMLINK_NOFOLLOW | PP_EACCESS_FLAG | AT_EMPTY_PATH))
        return PP_UNKNOWN;
    const enum pp_way way = pp_locate(path, location);
    if (way != PP_WAY_FOUND)
        return pp_otherwise(way, fast);
    if (pp_is_followed(location, flags & AT_SYMLINK_NOFOLLOW))
        return PP_UNKNOWN;
    pp_touch(pp_shim.shared, &location->found, 0);
    fast->value = pp_access(location->found.record, mode);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict fast_readlink(uint64_t path, uint64_t output,
                                                               int64_t capacity,
                                                               struct pp_fast_result *fast)
{
    struct pp_location *location = &fast->location;

    if (capacity <= 0)
        return PP_UNKNOWN;
    const enum pp_way way = pp_locate(path, location);
    if (way != PP_WAY_FOUND)
        return pp_otherwise(way, fast);
    const struct pp_record *record = location->found.record;
    if (record->flags & PP_VARIANT || !pp_is_address(output))
        return PP_UNKNOWN;
    fast->value = -EINVAL;
    if (pp_type_of(record) == PP_TYPE_SYMLINK) {
        fast->value = record->target_length < capacity ? record->target_length : capacity;
        __builtin_memcpy((char *)output, pp_record_target(record), (size_t)fast->value);
    }
    pp_touch(pp_shim.shared, &location->found, 0);
    return PP_DONE;
}

static __attribute__((noinline)) enum pp_verdict fast_entries(const struct pp_entry *entry,
                                                              struct pp_fast_result *fast)
{
    const uint64_t *args = entry->args;
    struct pp_location *location = &fast->location;

    if (!location->mount)
        return PP_NATIVE;
    const struct pp_snapshot *snapshot = pp_snapshot_of(location);
    if (pp_type_of(location->found.record) != PP_TYPE_DIRECTORY || !pp_is_address(args[1]))
        return PP_UNKNOWN;
    const uint64_t parent_inode = pp_parent_inode(snapshot, location->found.record);
    if (location->found.record->flags & PP_NESTED) {
        const struct pp_index *nested = pp_snapshot_find(snapshot, location->found.hash);
        if (!nested)
            return PP_UNKNOWN;
        location->found.index = nested;
        location->found.record = pp_index_root(nested);
    }
    int64_t cursor = pp_gate(__NR_lseek, args[0], 0, 1 /* SEEK_CUR */, 0, 0);
    const int64_t before = cursor;
    fast->value = cursor;
    if (cursor < 0)
        return PP_DONE;
    fast->value = pp_list(&location->found, parent_inode,
                          (int)entry->number == __NR_getdents64 ? PP_ENTRIES_64 : PP_ENTRIES_OLD,
                          &cursor, (char *)args[1], (uint32_t)args[2]);
    if (cursor != before)
        pp_gate(__NR_lseek, args[0], (uint64_t)cursor, 0 /* SEEK_SET */, 0, 0);
    return PP_DONE;
}

/* The kernel's answer is the view's path: it is made the one that programs see, in its place. */
static __attribute__((noinline)) enum pp_verdict fast_getcwd(uint64_t output, uint64_t capacity,
                                                             struct pp_fast_result *fast)
{
    char *path = (char *)output;
    size_t end;

    const struct pp_namespace *space = &pp_shim.space;
    if (pp_is_address(output) && (fast->value = pp_cwd_path(path, capacity)) > 0)
        return PP_DONE;
    const int64_t size = fast->value = pp_gate(__NR_getcwd, output, capacity, 0, 0, 0);
    if (size == -ERANGE || size == -ENOENT)
        return PP_UNKNOWN;
    if (size <= (int64_t)space->views_length ||
        !pp_is_same(path, space->views, space->views_length))
        return PP_DONE;
    if (!pp_cwd_find(&fast->location)) { /* once it is known there is no need to ask the kernel */
        fast->learn = AT_FDCWD;
        return PP_UNKNOWN;
    }
    const struct pp_mount *mount = pp_view_named(space, path, &end);
    if (!mount || mount->path_length + (uint64_t)size - end > capacity)
        return PP_UNKNOWN;
    __builtin_memmove(path + mount->path_length, path + end, (uint64_t)size - end);
    __builtin_memcpy(path, mount->path, mount->path_length);
    fast->value = (int64_t)(mount->path_length + (uint64_t)size - end);
    return PP_DONE;
}

/* Everything else */

/* A call's second path. */
static __attribute__((noinline)) enum pp_verdict fast_second_path(const struct pp_entry *entry,
                                                                  struct pp_fast_result *fast)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);
    const uint64_t *args = entry->args;
    const int descriptor = pp_second_descriptor(spec, args);
    const uint64_t path = args[spec->result];

    if (pp_is_address(path) && *(const char *)path != '/' &&
        (descriptor != AT_FDCWD || !pp_cwd_find(&fast->location)))
        return PP_UNKNOWN;
    return pp_locate(path, &fast->location) == PP_WAY_REAL ? PP_NATIVE : PP_UNKNOWN;
}

/* What can only be told not to be ours. */
static __attribute__((noinline)) enum pp_verdict fast_other(const struct pp_entry *entry,
                                                            struct pp_fast_result *fast)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);

    if (spec->path != PP_NONE && entry->args[spec->path]
            ? pp_locate(entry->args[spec->path], &fast->location) != PP_WAY_REAL
            : fast->location.mount != NULL)
        return PP_UNKNOWN;
    return pp_has_second_path((int)entry->number) ? fast_second_path(entry, fast) : PP_NATIVE;
}

/* Sockets are ours only if they have a path. */
static enum pp_verdict fast_socket(const uint64_t *args)
{
    const uint16_t *family = (const uint16_t *)args[1];
    const char *path = (const char *)args[1] + PP_UNIX_PATH_OFFSET;

    if (!pp_is_address(args[1]) || (uint32_t)args[2] <= PP_UNIX_PATH_OFFSET ||
        *family != PP_UNIX_FAMILY || !*path)
        return PP_NATIVE;
    return PP_LEFT;
}

/* Only what lies in a repository by its absolute path is worth a thought. */
static enum pp_verdict fast_exec(uint64_t path)
{
    size_t end;

    return pp_is_address(path) && *(const char *)path == '/' &&
                   pp_mounts_match(pp_shim.space.mounts, (const char *)path, &end)
               ? PP_UNKNOWN
               : PP_LEFT;
}

/* What the call starts from, if it is not an absolute path; 0 if that has to be learnt first. */
static int find_start(const struct pp_spec *spec, const struct pp_entry *entry,
                      struct pp_fast_result *fast)
{
    const uint64_t path = spec->path == PP_NONE ? 0 : entry->args[spec->path];
    /* Not pp_first_descriptor: it would cost the frame below `describe` 8 bytes more. */
    const int descriptor =
        spec->descriptor == PP_NONE ? AT_FDCWD : (int)entry->args[spec->descriptor];

    if (spec->path == PP_NONE ? spec->descriptor == PP_NONE
                              : path && (!pp_is_address(path) || *(const char *)path == '/'))
        return 1;
    fast->learn = descriptor;
    if (descriptor == AT_FDCWD ? !pp_cwd_find(&fast->location)
                               : !describe(descriptor, &fast->location))
        return 0;
    fast->learn = PP_NOTHING_TO_LEARN;
    return 1;
}

enum pp_verdict pp_fast_path(const struct pp_entry *entry, struct pp_fast_result *fast)
{
    const uint64_t *args = entry->args;
    const int number = (int)entry->number;

    fast->learn = PP_NOTHING_TO_LEARN;
    const uint32_t generation = __atomic_load_n(&pp_shim.generation, __ATOMIC_ACQUIRE);
    if (!generation || generation != __atomic_load_n(&pp_shim.state->generation, __ATOMIC_RELAXED))
        return PP_UNKNOWN;
    switch (number) { /* those that do not begin with a look at where they start */
    case __NR_fstat:
        return fast_fstat((int)args[0], args[1], fast);
    case __NR_newfstatat:
        if ((uint32_t)args[3] & ~(uint32_t)PP_LOOK_FLAGS)
            return PP_UNKNOWN;
        if (args[3] & AT_EMPTY_PATH && pp_is_address(args[1]) && !*(const char *)args[1] &&
            (int)args[0] != AT_FDCWD)
            return fast_fstat((int)args[0], args[2], fast);
        break;
    case __NR_getcwd:
        return fast_getcwd(args[0], args[1], fast);
    case __NR_bind:
    case __NR_connect:
        fast->value = 0;
        return fast_socket(args);
    case __NR_execve: /* a real program is the supervisor's: it has more to look at than we save */
        fast->value = 0;
        return fast_exec(args[0]);
    case __NR_execveat:
    case __NR_fanotify_mark:
        fast->value = 0;
        return PP_LEFT;
    }
    if (!find_start(pp_spec_of(number), entry, fast))
        return PP_UNKNOWN;
    switch (number) {
    case __NR_stat:
        return fast_stat(args[0], 0, args[1], fast);
    case __NR_lstat:
        return fast_stat(args[0], 1, args[1], fast);
    case __NR_newfstatat:
        return fast_stat(args[1], args[3] & AT_SYMLINK_NOFOLLOW, args[2], fast);
    case __NR_statx:
        return fast_statx(args, fast);
    case __NR_access:
        return fast_access(args[0], (uint32_t)args[1], 0, fast);
    case __NR_faccessat:
        return fast_access(args[1], (uint32_t)args[2], 0, fast);
    case PP_FACCESSAT2:
        return fast_access(args[1], (uint32_t)args[2], (uint32_t)args[3], fast);
    case __NR_readlink:
        return fast_readlink(args[0], args[1], (int)args[2], fast);
    case __NR_readlinkat:
        return fast_readlink(args[1], args[2], (int)args[3], fast);
    case __NR_getdents:
    case __NR_getdents64:
        return fast_entries(entry, fast);
    case __NR_open:
        return pp_fast_open(AT_FDCWD, args[0], (uint32_t)args[1], fast);
    case __NR_openat:
        return pp_fast_open((int)args[0], args[1], (uint32_t)args[2], fast);
    default:
        return fast_other(entry, fast);
    }
}

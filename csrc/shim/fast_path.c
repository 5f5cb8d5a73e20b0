/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The fast path, on the program's own stack: calls that can be answered with a look-up or two, and
 * calls that have nothing to do with anything virtual. All others take the decision core
 * (slow_path.c).
 *
 * Stack is scarce (shim.h). So the file that a call starts from is found first, in a function of
 * its own whose frame is gone when the path is looked up; and each function is called last by its
 * caller, so that the compiler makes it a jump.
 */
#include <asm/unistd.h> /* for the calls that the shim itself makes */
#include <linux/fcntl.h>

#include "core/kernel_structs.h"
#include "shim/locate.h"

/* Whether a descriptor was opened for writing, as no view but that of a FIFO ever is. That costs
 * less to find out than its status. */
static __attribute__((noinline)) int is_writable(int descriptor)
{
    if (!pp_shim.shared || __atomic_load_n(&pp_shim.shared->pipes, __ATOMIC_RELAXED))
        return 0;
    const int64_t flags = pp_gate(__NR_fcntl, (uint64_t)descriptor, F_GETFL, 0, 0, 0);
    return flags >= 0 && !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY;
}

/* What a descriptor is; 0 if that has to be found out first. */
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
        return PP_UNDECIDED;
    fast->value = 0;
    pp_touch(pp_shim.shared, &location->found, 0);
    pp_fill_stat((struct stat *)output, location->mount, pp_snapshot_of(location),
                 location->found.record);
    return PP_ANSWERED;
}

static __attribute__((noinline)) enum pp_verdict fast_fstat(int descriptor, uint64_t output,
                                                            struct pp_fast_result *fast)
{
    struct pp_location *location = &fast->location;
    struct stat *status = (struct stat *)output;

    fast->value = pp_get_status(descriptor, status);
    if (fast->value < 0 || !pp_may_be_view(status))
        return PP_ANSWERED;
    if (!pp_identity_find(status, location)) {
        fast->learn = descriptor;
        return PP_UNDECIDED;
    }
    if (location->mount)
        pp_fill_stat(status, location->mount, pp_snapshot_of(location), location->found.record);
    return PP_ANSWERED;
}

static __attribute__((noinline)) enum pp_verdict fast_statx(const struct pp_spec *spec,
                                                            const uint64_t *args,
                                                            struct pp_fast_result *fast)
{
    struct pp_location *location = &fast->location;
    const uint32_t flags = pp_flags_in(spec, args);
    const uint64_t output = args[spec->output];

    if (flags & ~(PP_STAT_FLAGS | PP_STATX_SYNC_FLAGS) ||
        (flags & PP_STATX_SYNC_FLAGS) == PP_STATX_SYNC_FLAGS ||
        args[spec->value] & PP_STATX_RESERVED)
        return PP_UNDECIDED;
    const enum pp_way way = pp_locate(args[spec->path], location);
    if (way != PP_WAY_FOUND)
        return pp_otherwise(way, fast);
    if (pp_is_followed(location, flags & AT_SYMLINK_NOFOLLOW) || !pp_is_address(output))
        return PP_UNDECIDED;
    fast->value = 0;
    pp_touch(pp_shim.shared, &location->found, 0);
    pp_fill_statx((struct statx *)output, location->mount, pp_snapshot_of(location),
                  location->found.record);
    return PP_ANSWERED;
}

static __attribute__((noinline)) enum pp_verdict fast_access(uint64_t path, uint32_t mode,
                                                             uint32_t flags,
                                                             struct pp_fast_result *fast)
{
    struct pp_location *location = &fast->location;

    if (mode > PP_ACCESS_MODES || flags & ~(AT_SYMLINK_NOFOLLOW | PP_EACCESS_FLAG | AT_EMPTY_PATH))
        return PP_UNDECIDED;
    const enum pp_way way = pp_locate(path, location);
    if (way != PP_WAY_FOUND)
        return pp_otherwise(way, fast);
    if (pp_is_followed(location, flags & AT_SYMLINK_NOFOLLOW))
        return PP_UNDECIDED;
    pp_touch(pp_shim.shared, &location->found, 0);
    fast->value = pp_access(location->found.record, mode);
    return PP_ANSWERED;
}

static __attribute__((noinline)) enum pp_verdict fast_readlink(uint64_t path, uint64_t output,
                                                               int64_t capacity,
                                                               struct pp_fast_result *fast)
{
    struct pp_location *location = &fast->location;

    if (capacity <= 0)
        return PP_UNDECIDED;
    const enum pp_way way = pp_locate(path, location);
    if (way != PP_WAY_FOUND)
        return pp_otherwise(way, fast);
    const struct pp_record *record = location->found.record;
    if (record->flags & PP_VARIANT || !pp_is_address(output))
        return PP_UNDECIDED;
    fast->value = -EINVAL;
    if (pp_type_of(record) == PP_TYPE_SYMLINK) {
        fast->value = record->target_length < capacity ? record->target_length : capacity;
        __builtin_memcpy((char *)output, pp_record_target(record), (size_t)fast->value);
    }
    pp_touch(pp_shim.shared, &location->found, 0);
    return PP_ANSWERED;
}

static __attribute__((noinline)) enum pp_verdict fast_getdents(const struct pp_spec *spec,
                                                               const uint64_t *args,
                                                               struct pp_fast_result *fast)
{
    const uint64_t descriptor = args[spec->descriptor];
    struct pp_location *location = &fast->location;

    if (!location->mount)
        return PP_NATIVE;
    const struct pp_snapshot *snapshot = pp_snapshot_of(location);
    if (!snapshot || pp_type_of(location->found.record) != PP_TYPE_DIRECTORY ||
        !pp_is_address(args[spec->output]))
        return PP_UNDECIDED;
    const uint64_t parent_inode = pp_parent_inode(snapshot, location->found.record);
    if (location->found.record->flags & PP_NESTED) {
        const struct pp_index *nested = pp_snapshot_find(snapshot, location->found.hash);
        if (!nested)
            return PP_UNDECIDED;
        location->found.index = nested;
        location->found.record = pp_index_root(nested);
    }
    int64_t cursor = pp_gate(__NR_lseek, descriptor, 0, 1 /* SEEK_CUR */, 0, 0);
    const int64_t before = cursor;
    fast->value = cursor;
    if (cursor < 0)
        return PP_ANSWERED;
    fast->value = pp_list(&location->found, parent_inode,
                          spec->options & PP_SPEC_OLD_DIRENT ? PP_DIRENT_OLD : PP_DIRENT_64,
                          &cursor, (char *)args[spec->output], (uint32_t)args[spec->size]);
    if (cursor != before)
        pp_gate(__NR_lseek, descriptor, (uint64_t)cursor, 0 /* SEEK_SET */, 0, 0);
    return PP_ANSWERED;
}

/* The kernel gives the view's path, which is replaced in place by the path that programs see. */
static __attribute__((noinline)) enum pp_verdict fast_getcwd(uint64_t output, uint64_t capacity,
                                                             struct pp_fast_result *fast)
{
    char *path = (char *)output;
    size_t end;

    const struct pp_namespace *space = &pp_shim.space;
    if (pp_is_address(output) && (fast->value = pp_cwd_path(path, capacity)) > 0)
        return PP_ANSWERED;
    const int64_t size = fast->value = pp_gate(__NR_getcwd, output, capacity, 0, 0, 0);
    if (size == -ERANGE || size == -ENOENT)
        return PP_UNDECIDED;
    if (size <= (int64_t)space->views_length ||
        !pp_is_same(path, space->views, space->views_length))
        return PP_ANSWERED;
    if (!pp_cwd_find(&fast->location)) { /* once it is known there is no need to ask the kernel */
        fast->learn = AT_FDCWD;
        return PP_UNDECIDED;
    }
    const struct pp_mount *mount = pp_view_named(space, path, &end);
    if (!mount || mount->path_length + (uint64_t)size - end > capacity)
        return PP_UNDECIDED;
    __builtin_memmove(path + mount->path_length, path + end, (uint64_t)size - end);
    __builtin_memcpy(path, mount->path, mount->path_length);
    fast->value = (int64_t)(mount->path_length + (uint64_t)size - end);
    return PP_ANSWERED;
}

/* Everything else */

/* A call's second path. */
static __attribute__((noinline)) enum pp_verdict fast_second_path(const struct pp_spec *spec,
                                                                  const uint64_t *args,
                                                                  struct pp_fast_result *fast)
{
    const int descriptor = pp_second_descriptor(spec, args);
    const uint64_t path = args[spec->second_path];

    if (pp_is_address(path) && *(const char *)path != '/' &&
        (descriptor != AT_FDCWD || !pp_cwd_find(&fast->location)))
        return PP_UNDECIDED;
    return pp_locate(path, &fast->location) == PP_WAY_REAL ? PP_NATIVE : PP_UNDECIDED;
}

/* All that can be told of other operations is that they are about nothing virtual. */
static __attribute__((noinline)) enum pp_verdict fast_other(const struct pp_spec *spec,
                                                            const uint64_t *args,
                                                            struct pp_fast_result *fast)
{
    if (spec->path != PP_NONE && args[spec->path]
            ? pp_locate(args[spec->path], &fast->location) != PP_WAY_REAL
            : fast->location.mount != NULL)
        return PP_UNDECIDED;
    return spec->second_path != PP_NONE ? fast_second_path(spec, args, fast) : PP_NATIVE;
}

/* A socket's address matters only if it is a path. */
static enum pp_verdict fast_socket(uint64_t address, uint32_t size)
{
    const uint16_t *family = (const uint16_t *)address;
    const char *path = (const char *)address + PP_UNIX_PATH_OFFSET;

    if (!pp_is_address(address) || size <= PP_UNIX_PATH_OFFSET || *family != PP_UNIX_FAMILY ||
        !*path)
        return PP_NATIVE;
    return PP_DEFERRED;
}

/* Only a program in a repository by its absolute path is worth the slow path. */
static enum pp_verdict fast_exec(uint64_t path)
{
    size_t end;

    return pp_is_address(path) && *(const char *)path == '/' &&
                   pp_mounts_match(pp_shim.space.mounts, (const char *)path, &end)
               ? PP_UNDECIDED
               : PP_DEFERRED;
}

/* What the call starts from, if it has no absolute path; 0 if that has to be found out first. */
static int find_start(const struct pp_spec *spec, const uint64_t *args, struct pp_fast_result *fast)
{
    const uint64_t path = spec->path == PP_NONE ? 0 : args[spec->path];
    const int descriptor = pp_first_descriptor(spec, args);

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

/* Whether a call's empty path stands for its descriptor, which is no working directory. */
static int names_descriptor(const struct pp_spec *spec, const uint64_t *args)
{
    return pp_flags_in(spec, args) & AT_EMPTY_PATH && pp_is_address(args[spec->path]) &&
           !*(const char *)args[spec->path] && (int)args[spec->descriptor] != AT_FDCWD;
}

enum pp_verdict pp_fast_path(const struct pp_entry *entry, struct pp_fast_result *fast)
{
    const uint64_t *args = entry->args;
    const struct pp_spec *spec = pp_spec_of((int)entry->number);

    fast->learn = PP_NOTHING_TO_LEARN;
    const uint32_t generation = __atomic_load_n(&pp_shim.generation, __ATOMIC_ACQUIRE);
    if (!generation || generation != __atomic_load_n(&pp_shim.state->generation, __ATOMIC_RELAXED))
        return PP_UNDECIDED;
    switch (spec->operation) { /* operations for which it does not matter where a path starts */
    case PP_OP_STAT:
        if (pp_flags_in(spec, args) & ~(uint32_t)PP_STAT_FLAGS)
            return PP_UNDECIDED;
        if (spec->path == PP_NONE || names_descriptor(spec, args))
            return fast_fstat((int)args[spec->descriptor], args[spec->output], fast);
        break;
    case PP_OP_MODIFY:
        if ((spec->path == PP_NONE || !args[spec->path]) && spec->descriptor != PP_NONE &&
            is_writable((int)args[spec->descriptor]))
            return PP_NATIVE;
        break;
    case PP_OP_GETCWD:
        return fast_getcwd(args[spec->output], args[spec->size], fast);
    case PP_OP_BIND:
    case PP_OP_CONNECT:
        fast->value = 0;
        return fast_socket(args[spec->input], (uint32_t)args[spec->size]);
    case PP_OP_EXEC: /* a real program is the supervisor's: that saves no time here */
        fast->value = 0;
        return spec->descriptor == PP_NONE ? fast_exec(args[spec->path]) : PP_DEFERRED;
    case PP_OP_WATCH:
        if (spec->descriptor == PP_NONE)
            break;
        fast->value = 0;
        return PP_DEFERRED;
    }
    if (!find_start(spec, args, fast))
        return PP_UNDECIDED;
    switch (spec->operation) {
    case PP_OP_STAT:
        return fast_stat(args[spec->path], pp_is_nofollow(spec, pp_flags_in(spec, args)),
                         args[spec->output], fast);
    case PP_OP_STATX:
        return fast_statx(spec, args, fast);
    case PP_OP_ACCESS:
        return fast_access(args[spec->path], (uint32_t)args[spec->value], pp_flags_in(spec, args),
                           fast);
    case PP_OP_READLINK:
        return fast_readlink(args[spec->path], args[spec->output], (int)args[spec->size], fast);
    case PP_OP_GETDENTS:
        return fast_getdents(spec, args, fast);
    case PP_OP_OPEN:
        return pp_fast_open(pp_first_descriptor(spec, args), args[spec->path],
                            pp_flags_in(spec, args), fast);
    default:
        return fast_other(spec, args, fast);
    }
}

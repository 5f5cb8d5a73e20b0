/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The fast path of open: a file that has a view is opened by it.
 */
#include <asm/unistd.h>

#include "core/view.h"
#include "shim/locate.h"

#define VERIFIED 256u
#define PLAIN_OPEN_FLAGS                                                                           \
    (O_NONBLOCK | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_NOCTTY)

/* The path of a view whose path in its mount is as the program gave it; -1 if it does not fit. */
static int64_t write_view(struct pp_scratch *scratch, const struct pp_location *location,
                          const char *path)
{
    size_t start;

    pp_mounts_match(pp_shim.space.mounts, path, &start);
    return pp_view_of(&pp_shim.space, location->mount, path + start, pp_length(path + start),
                      scratch->path, sizeof scratch->path);
}

/* Records whose views were verified lately, by their addresses. */
static const struct pp_record *verified[VERIFIED];

static const struct pp_record **verified_place(const struct pp_record *record)
{
    return &verified[((uint64_t)record >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}

static int is_verified(const struct pp_location *location)
{
    return __atomic_load_n(verified_place(location->found.record), __ATOMIC_RELAXED) ==
           location->found.record;
}

static int64_t verify(int64_t descriptor, const struct pp_location *location, struct stat *status)
{
    if (is_verified(location))
        return 0;
    if (pp_get_status((int)descriptor, status) < 0)
        return 0;
    const struct pp_view_status seen = {status->st_mode, (uint64_t)status->st_size,
                                        (int64_t)status->st_mtime};
    /* What others can write to, or have made, is left to the supervisor. (In another user namespace
     * all views are: numbers of users are others there.) */
    if (status->st_uid != pp_shim.state->owner || status->st_mode & 0022 ||
        !pp_view_is_intact(location->found.record, seen, pp_shim.state->mark)) {
        pp_gate(__NR_close, (uint64_t)descriptor, 0, 0, 0, 0);
        return -1;
    }
    if (pp_type_of(location->found.record) == PP_TYPE_DIRECTORY || status->st_nlink <= 2)
        pp_identity_keep(status, location);
    __atomic_store_n(verified_place(location->found.record), location->found.record,
                     __ATOMIC_RELAXED);
    return 0;
}

/* Whether opening a view has failed for a reason of the program's own. Whatever else it is, the
 * view may be damaged, which the supervisor mends. */
static int is_own_error(int64_t error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -EINTR;
}

enum pp_verdict pp_open_view(int descriptor, const char *path, uint32_t flags,
                             const struct pp_location *location, struct stat *status,
                             int64_t *value)
{
    /* What is not known to be a regular file or directory may be a FIFO by now, where an open would
     * wait. */
    const uint32_t added = is_verified(location) ? 0 : ~flags & O_NONBLOCK;
    const int64_t opened = *value =
        pp_gate(__NR_openat, (uint64_t)descriptor, (uint64_t)path, flags | added, 0, 0);

    if (opened < 0)
        return is_own_error(opened) ? PP_ANSWERED : PP_UNDECIDED;
    if (verify(opened, location, status))
        return PP_UNDECIDED;
    if (added)
        pp_gate(__NR_fcntl, (uint64_t)opened, F_SETFL, flags, 0, 0);
    return PP_ANSWERED;
}

/* A relative path leads from one view to the next by itself: they are named as what they are of. */
static __attribute__((noinline)) enum pp_verdict open_view(int descriptor, uint64_t path,
                                                           uint32_t flags,
                                                           struct pp_fast_result *fast)
{
    const int which = pp_take(pp_shim.wiped->scratches, PP_SCRATCHES);
    if (which < 0)
        return PP_UNDECIDED;
    struct pp_scratch *scratch = &pp_shim.scratches[which];
    const char *given = (const char *)path;
    enum pp_verdict verdict = PP_UNDECIDED;

    if (given[0] != '/' || write_view(scratch, &fast->location, given) >= 0)
        verdict = pp_open_view(descriptor, given[0] == '/' ? scratch->path : given, flags,
                               &fast->location, &scratch->status, &fast->value);
    pp_release(&pp_shim.wiped->scratches[which]);
    return verdict;
}

enum pp_verdict pp_fast_open(int descriptor, uint64_t path, uint32_t flags,
                             struct pp_fast_result *fast)
{
    const struct pp_location *location = &fast->location;
    const enum pp_way way = pp_locate(path, &fast->location);

    if (way == PP_WAY_REAL)
        return PP_NATIVE;
    if (way == PP_WAY_UNKNOWN || flags & ~(uint32_t)PLAIN_OPEN_FLAGS)
        return PP_UNDECIDED;
    fast->value = -ENOENT;
    if (way == PP_WAY_ABSENT)
        return PP_ANSWERED;
    const uint32_t type = pp_type_of(location->found.record);
    if (type != PP_TYPE_DIRECTORY && (type != PP_TYPE_REGULAR || flags & O_DIRECTORY))
        return PP_UNDECIDED;
    pp_touch(pp_shim.shared, &location->found, PP_TOUCH_OPENED);
    return open_view(descriptor, path, flags & ~(uint32_t)O_NOCTTY, fast);
}

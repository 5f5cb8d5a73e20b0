/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Where a path leads, as far as one or two look-ups show: what the parts of the fast path share.
 */
#ifndef PYPARROT_LOCATE_H
#define PYPARROT_LOCATE_H

#include <linux/fcntl.h>

#include "core/deciders.h"
#include "core/view.h"
#include "shim/shim.h"

/* Where a path leads. */
enum pp_way { PP_WAY_FOUND, PP_WAY_ABSENT, PP_WAY_REAL, PP_WAY_UNKNOWN };

/* Whether the kernel may find something at a real path that programs are to see otherwise: through
 * /proc one gets at views, and /dev has links that lead there. */
static inline int pp_may_lead_to_view(const char *path)
{
    while (path[1] == '/')
        path++;
    if (path[1] == '.')
        return 1;
    if (pp_starts_with(path, "/proc", 5) || pp_starts_with(path, "/dev/fd", 7) ||
        pp_starts_with(path, "/dev/std", 8))
        return 1;
    return pp_starts_with(path, pp_shim.space.views, pp_shim.space.views_length);
}

/* Whether a real symlink may lead the kernel to something real where a mount point is. */
static inline int pp_is_shadowing(void)
{
    return pp_shim.state->flags & PP_SHARED_SHADOWS;
}

/* Whether a file with this status may be a view. */
static inline int pp_may_be_view(const struct stat *status)
{
    if ((status->st_mode & PP_TYPE_MASK) == PP_TYPE_REGULAR)
        return pp_has_mark((int64_t)status->st_mtime, pp_shim.state->mark);
    return status->st_dev == pp_shim.state->views_device;
}

static inline int64_t pp_get_status(int descriptor, struct stat *status)
{
    return pp_gate(__NR_fstat, (uint64_t)descriptor, (uint64_t)status, 0, 0, 0);
}

static inline const struct pp_snapshot *pp_snapshot_of(const struct pp_location *location)
{
    return pp_mount_snapshot(&pp_shim.space, location->mount);
}

/* Where a path leads. A relative one starts at `location`. */
static inline __attribute__((always_inline)) enum pp_way pp_locate(uint64_t address,
                                                                   struct pp_location *location)
{
    const char *path = (const char *)address;
    size_t start = 0, length = 0;

    if (!address || (pp_is_address(address) && !path[0]))
        return PP_WAY_UNKNOWN; /* some calls take nothing for the descriptor's file */
    if (!pp_is_address(address))
        return PP_WAY_REAL;
    if (path[0] == '/') {
        location->mount = pp_mounts_match(pp_shim.space.mounts, path, &start);
        if (!location->mount)
            return pp_is_shadowing() || pp_may_lead_to_view(path) ? PP_WAY_UNKNOWN : PP_WAY_REAL;
    } else if (!location->mount) {
        return pp_is_shadowing() ? PP_WAY_UNKNOWN : PP_WAY_REAL;
    }
    const struct pp_snapshot *snapshot = pp_snapshot_of(location);
    if (!snapshot || (snapshot->covered && *snapshot->covered))
        return PP_WAY_UNKNOWN;
    if (path[0] == '/')
        pp_find_root(snapshot, &location->found);
    path += start;
    while (path[length])
        if (++length == PP_PATH_MAX - 256)
            return PP_WAY_UNKNOWN;
    const int outcome = pp_find(snapshot, &location->found, path, length, &location->found);
    if (outcome == PP_FOUND)
        return PP_WAY_FOUND;
    return outcome == PP_ERROR && !(location->mount->flags & PP_AUTOMOUNT) ? PP_WAY_ABSENT
                                                                           : PP_WAY_UNKNOWN;
}

/* What to do if nothing was found. */
static inline enum pp_verdict pp_otherwise(enum pp_way way, struct pp_fast_result *fast)
{
    fast->value = -ENOENT;
    if (way == PP_WAY_ABSENT)
        return PP_ANSWERED;
    return way == PP_WAY_REAL ? PP_NATIVE : PP_UNDECIDED;
}

/* A symlink at the end that is to be followed takes a walk. */
static inline int pp_is_followed(const struct pp_location *location, int nofollow)
{
    return !nofollow && pp_type_of(location->found.record) == PP_TYPE_SYMLINK;
}

/* open.c: open something by its path. */
enum pp_verdict pp_fast_open(int descriptor, uint64_t path, uint32_t flags,
                             struct pp_fast_result *fast);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * link. The rules are those of decide.h.
 */
#include <linux/fcntl.h>

#include "core/deciders.h"
#include "core/name.h"

/* What link finds wrong with a new name in a real directory, if the file is virtual. */
static int64_t refuse_real_link(struct pp_call *call, const struct pp_name *entry)
{
    const int64_t error = pp_missing_directory(call, 1, entry);
    if (error)
        return error;
    if (!pp_missing(call, call->places[1].path))
        return -EEXIST;
    return entry->slash ? -ENOENT : -EXDEV;
}

enum pp_action pp_decide_link(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action old_action = PP_RUN;
    struct pp_name entry;
    const uint32_t flags = pp_flags(call, spec);
    const int new_descriptor = pp_second_descriptor(spec, call->args);

    if (pp_has_other_flags(call, spec, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) ||
        pp_read_path(call, 0, spec->path) || pp_read_path(call, 1, spec->second_path))
        return PP_RUN;
    if (!call->given[0][0] && !(flags & AT_EMPTY_PATH))
        return PP_RUN;
    const int old_is_virtual =
        !pp_resolve_path(call, 0, pp_descriptor(call, spec), spec->path,
                         flags & AT_SYMLINK_FOLLOW ? 0 : PP_NOFOLLOW, &old_action);
    if (old_action == PP_ASK || old_action == PP_RETURN)
        return old_action;
    if (pp_find_directory(call, 1, new_descriptor, spec->second_path, &entry))
        return entry.action;
    if (!entry.is_virtual && !old_is_virtual)
        return entry.is_mount_point ? pp_return(call, -EEXIST)
               : call->change_count ? PP_CHANGE
                                    : PP_RUN;
    if (!old_is_virtual) {
        const int is_path = call->given[0][0] && call->places[0].path[0] == '/';
        const int64_t error = is_path ? pp_missing(call, call->places[0].path) : 0;
        if (error)
            return pp_return(call, error);
    }
    int64_t error = pp_refuse_new(call, 1, new_descriptor, 0, &entry);
    if (!error && entry.action == PP_ASK)
        return PP_ASK;
    if (!error)
        error = refuse_real_link(call, &entry);
    return pp_return(call, error);
}

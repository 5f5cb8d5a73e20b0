/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * mount and its like: nothing can be mounted on something virtual, or from there, since the kernel
 * has no such place. What is real is the kernel's. The rules are those of decide.h.
 */
#include <linux/fcntl.h>
#include <linux/mount.h>

#include "core/deciders.h"

/* Whether the call's second path names a place, and not the kind of a file system or a device. */
static int has_second_place(const struct pp_call *call, const struct pp_spec *spec)
{
    if (spec->second_path == PP_NONE)
        return 0;
    return spec->second_descriptor != PP_NONE || call->args[3] & (MS_BIND | MS_MOVE);
}

enum pp_action pp_decide_mount(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if (!pp_resolve_call(call, spec, &action))
        return pp_return(call, -EPERM);
    /* The call can't be made with another path: it would be noticed once more. */
    if (action != PP_RUN)
        return action == PP_CHANGE ? pp_return(call, -EPERM) : action;
    if (!has_second_place(call, spec) || pp_read_path(call, 1, spec->second_path) ||
        !call->given[1][0])
        return PP_RUN;
    if (!pp_resolve_path(call, 1, pp_second_descriptor(spec, call->args), spec->second_path, 0,
                         &action))
        return pp_return(call, -EPERM);
    return action == PP_CHANGE ? pp_return(call, -EPERM) : action;
}

/* Without OPEN_TREE_CLONE it is an open with O_PATH. */
enum pp_action pp_decide_open_tree(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if (pp_resolve_call(call, spec, &action))
        return action;
    return pp_flags(call, spec) & OPEN_TREE_CLONE ? pp_return(call, -EPERM)
                                                  : pp_use_view(call, spec);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * chmod, chown, utime, setxattr, truncate: calls that would change a file. Nothing virtual can be
 * changed, but the errors have an order: those that the kernel finds before EROFS on a read-only
 * file system are found here, too. The rules are those of decide.h.
 */
#include <linux/fcntl.h>

#include "core/deciders.h"

enum pp_action pp_decide_modify(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;

    const int has_path = spec->path != PP_NONE && call->args[spec->path];
    if (pp_has_other_flags(call, spec, has_path ? AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH : 0) ||
        pp_resolve_call(call, spec, &action))
        return action;
    return pp_return(call, pp_is_path_only(call, spec) ? -EBADF : -EROFS);
}

enum pp_action pp_decide_truncate(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if ((int64_t)call->args[1] < 0 || pp_resolve_call(call, spec, &action))
        return (int64_t)call->args[1] < 0 ? PP_RUN : action;
    const uint32_t type = pp_type(&call->places[0]);
    if (type == PP_TYPE_DIRECTORY)
        return pp_return(call, -EISDIR);
    return pp_return(call, type == PP_TYPE_REGULAR ? -EROFS : -EINVAL);
}

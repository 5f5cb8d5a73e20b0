/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * unlink, rmdir: calls that remove a name. The rules are those of decide.h.
 */
#include <linux/fcntl.h>

#include "core/deciders.h"
#include "core/name.h"

static enum pp_action decide_remove(struct pp_call *call, const struct pp_spec *spec,
                                    int removes_directory)
{
    struct pp_name entry;

    if (pp_has_other_flags(call, spec, AT_REMOVEDIR) || pp_read_path(call, 0, spec->path))
        return PP_RUN;
    if (pp_find_directory(call, 0, pp_descriptor(call, spec), spec->path, &entry))
        return entry.action;
    if (!entry.is_virtual && entry.is_mount_point)
        return pp_return(call, removes_directory ? -EBUSY : -EISDIR);
    if (!entry.is_virtual)
        return entry.action;
    if (entry.last == PP_LAST_NAME)
        return pp_return(call, -EROFS);
    if (!removes_directory)
        return pp_return(call, -EISDIR);
    return pp_return(call, entry.last == PP_LAST_DOT ? -EINVAL : -ENOTEMPTY);
}

enum pp_action pp_decide_unlink(struct pp_call *call, const struct pp_spec *spec)
{
    return decide_remove(call, spec, (pp_flags(call, spec) & AT_REMOVEDIR) != 0);
}

enum pp_action pp_decide_rmdir(struct pp_call *call, const struct pp_spec *spec)
{
    return decide_remove(call, spec, 1);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * file_getattr, file_setattr: the flags of an inode, as chattr sets them. There are none, and views
 * are not to get any. The rules are those of decide.h.
 */
#include <linux/fcntl.h>

#include "core/deciders.h"

#define SIZE_MIN 24u /* of struct file_attr, in the first kernel that had these calls */
#define SIZE_MAX_HERE 4096u

static enum pp_action refuse(struct pp_call *call, const struct pp_spec *spec, int64_t error)
{
    enum pp_action action;
    const uint64_t size = call->args[spec->value];

    if (pp_has_other_flags(call, spec, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) || size < SIZE_MIN ||
        size > SIZE_MAX_HERE)
        return PP_RUN;
    return pp_resolve_call(call, spec, &action) ? action : pp_return(call, error);
}

enum pp_action pp_decide_get_flags(struct pp_call *call, const struct pp_spec *spec)
{
    return refuse(call, spec, -EOPNOTSUPP);
}

enum pp_action pp_decide_set_flags(struct pp_call *call, const struct pp_spec *spec)
{
    return refuse(call, spec, -EROFS);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * rename. The rules are those of decide.h.
 */

#include "core/deciders.h"
#include "core/name.h"

#define RENAME_NOREPLACE 1u
#define RENAME_EXCHANGE 2u
#define RENAME_WHITEOUT 4u
#define RENAME_ALL 7u

enum pp_action pp_decide_rename(struct pp_call *call, const struct pp_spec *spec)
{
    struct pp_name entries[2];
    const uint32_t flags = pp_flags(call, spec);
    const int paths[2] = {spec->path, spec->second_path};
    const int descriptors[2] = {
        pp_descriptor(call, spec),
        pp_second_descriptor(spec, call->args),
    };

    if (pp_has_other_flags(call, spec, RENAME_ALL) ||
        (flags & RENAME_EXCHANGE && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)))
        return PP_RUN;
    for (int i = 0; i < 2; i++)
        if (pp_read_path(call, i, paths[i]))
            return PP_RUN;
    for (int i = 0; i < 2; i++)
        if (pp_find_directory(call, i, descriptors[i], paths[i], &entries[i]))
            return entries[i].action;
    if (!entries[0].is_virtual && !entries[1].is_virtual) {
        if (entries[0].is_mount_point || entries[1].is_mount_point)
            return pp_return(call, -EBUSY);
        return call->change_count ? PP_CHANGE : PP_RUN;
    }
    for (int i = 0; i < 2; i++) {
        const int64_t error =
            entries[i].is_virtual ? 0 : pp_missing_directory(call, i, &entries[i]);
        if (error)
            return pp_return(call, error);
    }
    if (entries[0].is_virtual != entries[1].is_virtual ||
        call->places[0].mount->number != call->places[1].mount->number)
        return pp_return(call, -EXDEV);
    if (entries[0].last != PP_LAST_NAME || entries[1].last != PP_LAST_NAME)
        return pp_return(call, -EBUSY);
    return pp_return(call, -EROFS);
}

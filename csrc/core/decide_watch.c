/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * inotify_add_watch, fanotify_mark: a view is watched; nothing ever happens to it.
 * name_to_handle_at: virtual files have no handles.
 * The rules are those of decide.h.
 */
#include "core/deciders.h"

enum pp_action pp_decide_watch(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    return pp_resolve_call(call, spec, &action) ? action : pp_use_view(call, spec);
}

enum pp_action pp_decide_name_to_handle(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    return pp_resolve_call(call, spec, &action) ? action : pp_return(call, -EOPNOTSUPP);
}

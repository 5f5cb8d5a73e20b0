/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * inotify, fanotify, and what works on no virtual file. The rules are those of decide.h.
 */
#include "core/deciders.h"

enum pp_action pp_decide_watch(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    return pp_look_up(call, spec, &action) ? action : pp_use_view(call, spec);
}

enum pp_action pp_decide_unsupported(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    return pp_look_up(call, spec, &action) ? action : pp_return(call, -spec->result);
}

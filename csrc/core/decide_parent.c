/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * getppid: a run's own process is the parent of the command and of orphans; that is not to be seen.
 * The rules are those of decide.h.
 */
#include "core/deciders.h"

enum pp_action pp_decide_parent(struct pp_call *call, const struct pp_spec *spec)
{
    (void)spec;
    const int64_t parent = call->task->operations->parent(call->task);
    return parent < 0 ? PP_RUN : pp_return(call, parent);
}

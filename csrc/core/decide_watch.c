/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * inotify_add_watch, fanotify_mark: a view is watched; nothing ever happens to it.
 * name_to_handle_at: virtual files have no handles.
 * The rules are those of decide.h.
 */
#include "core/deciders.h"

/* What is wrong with the call's first argument, which should be of inotify or fanotify: the kernel
 * looks at that before it looks for the path. */
static int64_t instance_error(struct pp_call *call)
{
    static const char anonymous[] = "anon_inode:";
    char *what = call->file;
    const int64_t length =
        call->task->operations->link(call->task, (int)call->args[0], what, sizeof anonymous - 1);

    if (length < 0)
        return -EBADF;
    return length == sizeof anonymous - 1 && pp_starts_with(what, anonymous, sizeof anonymous - 1)
               ? 0
               : -EINVAL;
}

enum pp_action pp_decide_watch(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if (!pp_resolve_call(call, spec, &action))
        return pp_use_view(call, spec);
    const int64_t error = action == PP_RETURN ? instance_error(call) : 0;
    return error ? pp_return(call, error) : action;
}

enum pp_action pp_decide_name_to_handle(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    return pp_resolve_call(call, spec, &action) ? action : pp_return(call, -EOPNOTSUPP);
}

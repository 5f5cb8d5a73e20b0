/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * mkdir, mknod, symlink: calls that make a name. The rules are those of decide.h.
 */

#include "core/deciders.h"
#include "core/name.h"

/* What mknod finds wrong with the type before it looks at the path. */
static int64_t refuse_type(uint32_t mode)
{
    switch (mode & PP_TYPE_MASK) {
    case 0:
    case PP_TYPE_REGULAR:
    case PP_TYPE_FIFO:
    case PP_TYPE_SOCKET:
    case PP_TYPE_CHARACTER:
    case PP_TYPE_BLOCK:
        return 0;
    default:
        return (mode & PP_TYPE_MASK) == PP_TYPE_DIRECTORY ? -EPERM : -EINVAL;
    }
}

static enum pp_action decide_create(struct pp_call *call, const struct pp_spec *spec,
                                    int may_have_slash)
{
    struct pp_name entry;
    const int descriptor = pp_descriptor(call, spec);

    if (pp_read_path(call, 0, spec->path))
        return PP_RUN;
    if (pp_find_directory(call, 0, descriptor, spec->path, &entry))
        return entry.action;
    const int64_t error = pp_refuse_new(call, 0, descriptor, may_have_slash, &entry);
    return error ? pp_return(call, error) : entry.action;
}

enum pp_action pp_decide_mkdir(struct pp_call *call, const struct pp_spec *spec)
{
    return decide_create(call, spec, 1);
}

enum pp_action pp_decide_mknod(struct pp_call *call, const struct pp_spec *spec)
{
    const int64_t error = refuse_type((uint32_t)call->args[spec->value]);
    return error ? pp_return(call, error) : decide_create(call, spec, 0);
}

enum pp_action pp_decide_symlink(struct pp_call *call, const struct pp_spec *spec)
{
    /* The kernel reads the target first. */
    const int64_t length = call->task->operations->read_text(call->task, call->args[spec->input],
                                                             call->given[1], PP_PATH_MAX);
    if (length <= 0)
        return pp_return(call, length ? length : -ENOENT);
    return decide_create(call, spec, 0);
}

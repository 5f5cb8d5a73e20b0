/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * mkdir, mknod, symlink: calls that make a name. The rules are those of decide.h.
 */
#include <asm/unistd.h>

#include "core/deciders.h"
#include "core/name.h"

/* What mknod thinks of the type before it looks at the path. */
static int64_t refuse_type(const struct pp_call *call)
{
    const uint64_t mode = call->args[call->number == __NR_mknod ? 1 : 2];

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

enum pp_action pp_decide_create(struct pp_call *call, const struct pp_spec *spec)
{
    struct pp_name entry;
    const int number = call->number;
    const int is_mkdir = number == __NR_mkdir || number == __NR_mkdirat;
    const int is_mknod = number == __NR_mknod || number == __NR_mknodat;

    if (is_mknod && refuse_type(call))
        return pp_return(call, refuse_type(call));
    if (number == __NR_symlink || number == __NR_symlinkat) { /* the target comes first */
        const int64_t length = call->task->operations->read_text(call->task, call->args[0],
                                                                 call->given[1], PP_PATH_MAX);
        if (length <= 0)
            return pp_return(call, length ? length : -ENOENT);
    }
    const int descriptor = pp_descriptor(call, spec);
    if (pp_read_path(call, 0, spec->path))
        return PP_RUN;
    if (pp_find_directory(call, 0, descriptor, spec->path, &entry))
        return entry.action;
    const int64_t error = pp_refuse_new(call, 0, descriptor, is_mkdir, &entry);
    return error ? pp_return(call, error) : entry.action;
}

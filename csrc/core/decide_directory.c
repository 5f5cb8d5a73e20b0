/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * getdents, getcwd, chdir, chroot: listings, and the directories that paths start from. The rules
 * are those of decide.h.
 */

#include "core/deciders.h"
#include "core/kernel_structs.h"

enum pp_action pp_decide_getdents(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    struct pp_place *place = &call->places[0];
    const int descriptor = pp_descriptor(call, spec);
    uint64_t capacity = (uint32_t)call->args[spec->size];

    if (pp_resolve_call(call, spec, &action))
        return action;
    const struct pp_walk *walk = &place->walk;
    const uint64_t parent_inode = pp_parent_inode(walk->snapshot, walk->record);
    switch (pp_walk_enter(&place->walk)) {
    case PP_FOUND:
        break;
    case PP_NEED_CATALOG:
        return pp_ask(call, place, PP_NEEDS_CATALOG);
    default:
        return pp_return(call, -EIO);
    }
    if (pp_type(place) != PP_TYPE_DIRECTORY)
        return PP_RUN;
    int64_t cursor = call->task->operations->seek(call->task, descriptor, -1);
    if (cursor < 0)
        return pp_return(call, cursor);
    if (capacity > sizeof call->buffer)
        capacity = sizeof call->buffer;
    const struct pp_found directory = {walk->index, walk->record, walk->hash};
    const int64_t size = pp_list(&directory, parent_inode,
                                 spec->options & PP_SPEC_OLD_DIRENT ? PP_DIRENT_OLD : PP_DIRENT_64,
                                 &cursor, call->buffer, capacity);
    if (size <= 0)
        return pp_return(call, size);
    const int error = call->task->operations->write(call->task, call->args[spec->output],
                                                    call->buffer, (size_t)size);
    if (error)
        return pp_return(call, error);
    const int64_t moved = call->task->operations->seek(call->task, descriptor, cursor);
    return pp_return(call, moved < 0 ? moved : size);
}

enum pp_action pp_decide_getcwd(struct pp_call *call, const struct pp_spec *spec)
{
    struct pp_place *place = &call->places[0];

    const int64_t length =
        call->task->operations->link(call->task, PP_CWD, call->file, PP_PATH_MAX - 1);
    if (length < 0)
        return PP_RUN;
    call->file[length] = 0;
    const int64_t shown = pp_shown(call->space, call->file, place->path, PP_PATH_MAX);
    if (shown < 0)
        return PP_RUN;
    if ((uint64_t)shown + 1 > call->args[spec->size])
        return pp_return(call, -ERANGE);
    return pp_answer(call, call->args[spec->output], place->path, (size_t)shown + 1, shown + 1);
}

enum pp_action pp_decide_chdir(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if (pp_resolve_call(call, spec, &action))
        return action;
    if (pp_type(&call->places[0]) != PP_TYPE_DIRECTORY)
        return pp_return(call, -ENOTDIR);
    return pp_use_view(call, spec);
}

enum pp_action pp_decide_chroot(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    return pp_resolve_call(call, spec, &action) ? action : pp_return(call, -EPERM);
}

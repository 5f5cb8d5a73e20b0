/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * getdents, getcwd, chdir: listings and the working directory. The rules are those of decide.h.
 */
#include <asm/unistd.h>

#include "core/deciders.h"
#include "core/kernel_structs.h"

enum pp_action pp_decide_entries(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    struct pp_place *place = &call->places[0];
    const int descriptor = (int)call->args[0];
    uint64_t capacity = (uint32_t)call->args[2];

    if (pp_look_up(call, spec, &action))
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
                                 call->number == __NR_getdents64 ? PP_ENTRIES_64 : PP_ENTRIES_OLD,
                                 &cursor, call->buffer, capacity);
    if (size <= 0)
        return pp_return(call, size);
    const int error = call->task->operations->write(call->task, call->args[spec->result],
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
    if ((uint64_t)shown + 1 > call->args[1])
        return pp_return(call, -ERANGE);
    return pp_answer(call, call->args[spec->result], place->path, (size_t)shown + 1, shown + 1);
}

enum pp_action pp_decide_chdir(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;

    if (pp_look_up(call, spec, &action))
        return action;
    if (pp_type(&call->places[0]) != PP_TYPE_DIRECTORY)
        return pp_return(call, -ENOTDIR);
    return pp_use_view(call, spec);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * stat, statx, access, readlink, statfs: calls that are answered from a record. The rules are those
 * of decide.h.
 */
#include <linux/fcntl.h>

#include "core/deciders.h"
#include "core/kernel_structs.h"

enum pp_action pp_decide_stat(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;
    struct stat status;

    /* With an empty path it is an fstat: the kernel ignores other flags then. */
    if (pp_has_other_flags(call, spec, PP_STAT_FLAGS) && pp_flags(call, spec) & AT_EMPTY_PATH &&
        (!call->args[spec->path] || (!pp_read_path(call, 0, spec->path) && !call->given[0][0])))
        call->args[spec->flags] &= PP_STAT_FLAGS;
    if (pp_has_other_flags(call, spec, PP_STAT_FLAGS | PP_STATX_SYNC_FLAGS) ||
        pp_resolve_call(call, spec, &action))
        return action;
    const struct pp_walk *walk = &call->places[0].walk;
    pp_fill_stat(&status, call->places[0].mount, walk->snapshot, walk->record);
    return pp_answer(call, call->args[spec->output], &status, sizeof status, 0);
}

enum pp_action pp_decide_statx(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;
    struct statx status;

    if (pp_has_other_flags(call, spec, PP_STAT_FLAGS | PP_STATX_SYNC_FLAGS) ||
        (pp_flags(call, spec) & PP_STATX_SYNC_FLAGS) == PP_STATX_SYNC_FLAGS ||
        call->args[spec->value] & PP_STATX_RESERVED || pp_resolve_call(call, spec, &action))
        return action;
    const struct pp_walk *walk = &call->places[0].walk;
    pp_fill_statx(&status, call->places[0].mount, walk->snapshot, walk->record);
    return pp_answer(call, call->args[spec->output], &status, sizeof status, 0);
}

enum pp_action pp_decide_access(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action = PP_RUN;
    const uint64_t mode = (uint32_t)call->args[spec->value];

    if (mode > PP_ACCESS_MODES ||
        pp_has_other_flags(call, spec, AT_SYMLINK_NOFOLLOW | PP_EACCESS_FLAG | AT_EMPTY_PATH) ||
        pp_resolve_call(call, spec, &action))
        return action;
    return pp_return(call, pp_access(call->places[0].walk.record, (uint32_t)mode));
}

/* What /proc says of descriptors, working directories and programs, as programs are to see it. */
static enum pp_action translate_link(struct pp_call *call, uint64_t address, uint64_t size)
{
    const struct pp_place *place = &call->places[0];

    if (place->where != PP_REAL || !pp_starts_with(place->path, "/proc/", 6))
        return PP_RUN;
    const int64_t length =
        call->task->operations->read_link(call->task, place->path, call->file, PP_PATH_MAX - 1);
    if (length <= 0)
        return PP_RUN;
    call->file[length] = 0;
    const int64_t shown = pp_shown(call->space, call->file, call->buffer, PP_PATH_MAX);
    if (shown < 0)
        return PP_RUN;
    const uint64_t fitting = (uint64_t)shown < size ? (uint64_t)shown : size;
    return pp_answer(call, address, call->buffer, fitting, (int64_t)fitting);
}

enum pp_action pp_decide_readlink(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    const uint64_t address = call->args[spec->output];
    const int64_t capacity = (int)call->args[spec->size];

    if (capacity <= 0)
        return PP_RUN;
    if (pp_resolve_call(call, spec, &action))
        return action == PP_RUN ? translate_link(call, address, (uint64_t)capacity) : action;
    const struct pp_walk *walk = &call->places[0].walk;
    if (pp_type(&call->places[0]) != PP_TYPE_SYMLINK)
        return pp_return(call, call->given[0][0] ? -EINVAL : -ENOENT);
    const char *target = pp_record_target(walk->record);
    size_t length = walk->record->target_length;
    if (walk->record->flags & PP_VARIANT) {
        length = pp_expand(target, length, walk->snapshot->environment, call->buffer,
                           sizeof call->buffer);
        target = call->buffer;
        length = length < sizeof call->buffer ? length : sizeof call->buffer;
    }
    const uint64_t fitting = length < (uint64_t)capacity ? length : (uint64_t)capacity;
    return pp_answer(call, address, target, fitting, (int64_t)fitting);
}

enum pp_action pp_decide_statfs(struct pp_call *call, const struct pp_spec *spec)
{
    enum pp_action action;
    struct statfs status;

    if (pp_resolve_call(call, spec, &action))
        return action;
    pp_fill_statfs(&status, call->places[0].mount, call->places[0].walk.snapshot);
    return pp_answer(call, call->args[spec->output], &status, sizeof status, 0);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/decide.h"

#include <linux/fcntl.h>

#include "core/deciders.h"

/* No pointers to deciders: the shim is loaded without anybody to relocate addresses in it. */
static const struct pp_spec specs[PP_NUMBERS_END] = {PP_SPECS};

const struct pp_spec *pp_spec_of(int number)
{
    return number >= 0 && number < PP_NUMBERS_END && specs[number].operation != PP_OP_NONE
               ? &specs[number]
               : NULL;
}

int pp_is_trapped(int number)
{
    const struct pp_spec *spec = pp_spec_of(number);
    return spec && spec->handling == PP_DECIDED;
}

int pp_concerns_shim(int number)
{
    const struct pp_spec *spec = pp_spec_of(number);
    return spec && (spec->handling == PP_DECIDED || spec->options & PP_SPEC_SHIM);
}

int pp_changes(const struct pp_spec *spec)
{
    switch (spec->operation) {
    case PP_OP_CREAT:
    case PP_OP_MODIFY:
    case PP_OP_SET_FLAGS:
    case PP_OP_TRUNCATE:
    case PP_OP_MKDIR:
    case PP_OP_MKNOD:
    case PP_OP_SYMLINK:
    case PP_OP_UNLINK:
    case PP_OP_RMDIR:
    case PP_OP_RENAME:
    case PP_OP_LINK:
        return 1;
    default:
        return 0;
    }
}

static enum pp_action decide(struct pp_call *call, const struct pp_spec *spec)
{
    switch (spec->operation) {
#define DECIDER(name, operation)                                                                   \
    case operation:                                                                                \
        return pp_decide_##name(call, spec);
        PP_DECIDERS(DECIDER)
#undef DECIDER
    default:
        return PP_RUN;
    }
}

enum pp_action pp_decide(struct pp_call *call)
{
    const struct pp_spec *spec = pp_spec_of(call->number);

    call->change_count = 0;
    call->asking = NULL;
    const enum pp_action action = spec ? decide(call, spec) : PP_RUN;
    /* The changed call would have no place for the cookie. Programs know what to do if a kernel is
     * older than such a call. */
    if (action == PP_CHANGE && spec->count > PP_COOKIE_ARGUMENT)
        return pp_return(call, -ENOSYS);
    return action;
}

/* What the deciders share */

int pp_read_path(struct pp_call *call, int which, int argument)
{
    return call->task->operations->read_text(call->task, call->args[argument], call->given[which],
                                             PP_PATH_MAX) < 0
               ? -1
               : 0;
}

enum pp_action pp_ask(struct pp_call *call, struct pp_place *place, enum pp_need need)
{
    place->need = need;
    call->asking = place;
    return PP_ASK;
}

enum pp_action pp_settle(struct pp_call *call, struct pp_place *place, int path_argument)
{
    switch (place->where) {
    case PP_FAILED:
        return pp_return(call, -place->error);
    case PP_MISSING:
        call->asking = place;
        return PP_ASK;
    case PP_MOVED:
        call->changes[call->change_count++] =
            (struct pp_change){path_argument, (uint32_t)pp_length(place->path) + 1, place->path};
        return PP_CHANGE;
    default:
        return PP_RUN;
    }
}

int pp_resolve_path(struct pp_call *call, int which, int descriptor, int path_argument,
                    uint32_t walk, enum pp_action *action)
{
    struct pp_place *place = &call->places[which];

    pp_resolve(place, call->space, call->task, descriptor, call->given[which], walk);
    if (place->where == PP_VIRTUAL)
        return 0;
    *action = pp_settle(call, place, path_argument);
    return -1;
}

/* Whether the call has NULL for a path, and is about the descriptor's file then. */
static int takes_null(const struct pp_call *call, const struct pp_spec *spec, uint32_t flags)
{
    if (call->args[spec->path])
        return 0;
    return spec->options & PP_SPEC_NULL_PATH ||
           (flags & AT_EMPTY_PATH && spec->options & PP_SPEC_NULL_IF_EMPTY_PATH);
}

int pp_resolve_call(struct pp_call *call, const struct pp_spec *spec, enum pp_action *action)
{
    const uint32_t flags = pp_flags(call, spec);
    const int descriptor = pp_descriptor(call, spec);
    const int may_be_empty = flags & AT_EMPTY_PATH || spec->options & PP_SPEC_EMPTY_PATH;

    *action = PP_RUN;
    call->given[0][0] = 0;
    call->places[0].where = PP_REAL; /* and nothing that an earlier call has left there */
    call->places[0].path[0] = 0;
    if (spec->path == PP_NONE || takes_null(call, spec, flags)) {
        if (descriptor < 0 && !(flags & AT_EMPTY_PATH) && !(spec->options & PP_SPEC_CWD))
            return -1;
    } else {
        if (pp_read_path(call, 0, spec->path))
            return -1;
        if (!call->given[0][0] && !may_be_empty)
            return -1;
    }
    const int nofollow = !call->given[0][0] || pp_is_nofollow(spec, flags);
    return pp_resolve_path(call, 0, descriptor, spec->path, nofollow ? PP_NOFOLLOW : 0, action);
}

int64_t pp_view_path(const struct pp_call *call, const struct pp_place *place, char *output,
                     size_t capacity)
{
    const struct pp_walk *walk = &place->walk;
    const int64_t length =
        pp_view_of(call->space, place->mount, walk->path, walk->path_length, output, capacity);
    return length < 0 ? -ENAMETOOLONG : length;
}

enum pp_action pp_use_view(struct pp_call *call, const struct pp_spec *spec)
{
    struct pp_place *place = &call->places[0];

    const int64_t length = pp_view_path(call, place, call->file, PP_PATH_MAX);
    if (length < 0)
        return pp_return(call, length);
    call->changes[call->change_count++] =
        (struct pp_change){spec->path, (uint32_t)length + 1, call->file};
    call->asking = place;
    place->need = PP_NEEDS_VIEW;
    return PP_CHANGE;
}

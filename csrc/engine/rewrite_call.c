/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/rewrite_call.h"

#include <errno.h>
#include <string.h>

#include "engine/tracee.h"
#include "task/memory.h"

static size_t aligned(size_t size)
{
    return (size + 7u) & ~(size_t)7;
}

/* Put the new data into the task's memory, and its addresses into `args`: 0 or -errno. */
static int write_changes(const struct pp_tracee *tracee, const struct pp_handover *call,
                         uint64_t args[6])
{
    uint64_t place = tracee->memory;

    for (uint32_t i = 0; i < call->change_count; i++) {
        const struct pp_handover_change *change = &call->changes[i];
        const int error = pp_memory_write(tracee->task, place, change->data, change->size);
        if (error)
            return error;
        args[change->argument] = place;
        place += aligned(change->size);
    }
    return 0;
}

/* Whatever fails here has gone: the caller ends it. */
static enum pp_rewriting run(struct pp_tracee *tracee, const struct pp_handover *call)
{
    uint64_t args[6];
    size_t size = 0;
    int64_t result;

    for (uint32_t i = 0; i < call->change_count; i++)
        size += aligned(call->changes[i].size);
    int error = pp_tracee_map(tracee, size, 0);
    if (error > 0)
        return PP_GONE;
    memcpy(args, call->args, sizeof args);
    args[5] = tracee->tracer->cookie;
    if (error == 0)
        error = write_changes(tracee, call, args);
    if (error)
        result = error;
    else if (pp_tracee_call(tracee, &tracee->saved, call->number, args, &result))
        return PP_GONE;
    pp_tracee_return(tracee, result);
    return PP_REWRITTEN;
}

enum pp_rewriting pp_rewrite_call(struct pp_tracer *tracer, struct pp_handover *call)
{
    struct pp_tracee tracee;

    const int error = pp_tracee_begin(&tracee, tracer, call);
    const enum pp_rewriting outcome = error == 0       ? run(&tracee, call)
                                      : error == ESRCH ? PP_GONE
                                                       : PP_TRACED;
    pp_tracee_end(&tracee);
    return outcome;
}

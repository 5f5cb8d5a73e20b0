/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A worker: one call, and how far it has got. Only engines and hooks include this. The rules
 * are those of engine.h.
 */
#ifndef PYPARROT_WORKER_H
#define PYPARROT_WORKER_H

#include "engine/engine.h"
#include "engine/engine_memory.h"
#include "task/remote.h"

/* How far the worker's call has got. */
enum pp_stage {
    PP_STAGE_NO_CALL,
    PP_STAGE_RECEIVED, /* the hook has not seen it */
    PP_STAGE_DECIDE,   /* it is to be decided, or decided anew */
    PP_STAGE_GIVE,     /* `view` is to be given: the hook has seen that, too */
};

/* An engine puts this at the beginning of its own struct. */
struct pp_worker {
    struct pp_remote_task task; /* first: the task's operations get the worker by it */
    struct pp_engine *engine;
    enum pp_stage stage;
    int view;             /* open here, for PP_STAGE_GIVE */
    int asked, made;      /* needs, and views among them, since the call came in */
    uint64_t instruction; /* the address behind the call's instruction */
    struct pp_event event;
    struct pp_worker_slot *slot; /* what outlives this process of it */
    struct pp_call call;
};

static inline pid_t pp_task_number(const struct pp_worker *worker)
{
    return worker->task.number;
}

/* Fill in a worker that is all zero, with this slot in the engine memory. */
void pp_worker_init(struct pp_worker *worker, struct pp_engine *engine, uint32_t number);

/* For engines: a call has come in. Its arguments are in `call.args` already. */
void pp_worker_received(struct pp_worker *worker, pid_t task, int number, uint64_t instruction);

/* For engines: a worker begins to wait for a call, and has got one (shortage.c). */
void pp_worker_is_idle(struct pp_worker *worker);
void pp_worker_is_busy(struct pp_worker *worker);

/* For hooks: the ends of a call, counted. The descriptor is closed. */
void pp_worker_return(struct pp_worker *worker, int64_t value);
void pp_worker_give_file(struct pp_worker *worker, int descriptor, int flags);

/* For hooks: give Python an event before the call goes on, at most one for each call. */
void pp_worker_tell(struct pp_worker *worker, const struct pp_event *event);

#endif

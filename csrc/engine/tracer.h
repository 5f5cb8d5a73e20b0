/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tracer: a process of its own, whose threads make the calls that were handed over to it with
 * other arguments (rewrite_call.h, traced_task.h), and answer their notifications.
 *
 * It is not the supervisor, since a tracer's death leaves no time to put a task's registers in
 * order: what is most likely to be killed must not be the tracer. Rules that hold here:
 *  - One thread has one call from beginning to end, and one more thread waits for the next call,
 *    as long as there may be more of them: a call that blocks (a FIFO, a slow disk) keeps no other
 *    one waiting.
 *  - Threads never end. They are the process's only ones that trace, and it has no children but
 *    such of its first thread.
 *  - What is not in the handover the tracer does not know: it has no part in decisions.
 */
#ifndef PYPARROT_TRACER_H
#define PYPARROT_TRACER_H

#include "engine/engine_memory.h"
#include "engine/mapping_pool.h"

/* cffi: begin */

/* Begin to serve a run's handovers: 0, or -errno. `*killed` is the number of tasks that have died
 * with the tracer before this one. Once in a process. */
int pp_tracer_start(struct pp_engine_memory *memory, int listener, uint64_t cookie, int *killed);

/* cffi: end */

struct pp_tracer {
    struct pp_engine_memory *memory;
    struct pp_mapping_pool *mappings;
    uint64_t cookie;
    int listener;

    uint32_t idle;    /* threads that wait for a call */
    uint32_t threads; /* all of them */
    int is_short;     /* no more could be had; that was said */
};

/* Whether the task still waits for the answer to its call. */
int pp_tracer_is_waiting(const struct pp_tracer *tracer, const struct pp_handover *call);

/* The answers to a call: it returns a value, or -errno; the kernel makes it as it is. */
void pp_tracer_return(const struct pp_tracer *tracer, const struct pp_handover *call,
                      int64_t value);
void pp_tracer_let_run(const struct pp_tracer *tracer, const struct pp_handover *call);

/* Give the task a descriptor, closed by exec, of a file that is open here, while it waits: its
 * number there, or -errno. */
int pp_tracer_add_file(const struct pp_tracer *tracer, const struct pp_handover *call,
                       int descriptor);

#endif

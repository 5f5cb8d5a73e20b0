/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The notify engine: system calls come in as seccomp user notifications, and actions are carried
 * out from outside of the task (Linux 5.14 and newer).
 *
 * Rules that hold here:
 *  - Any number of workers serve one listener, a thread each, in parallel. A worker has one
 *    notification at a time, and memory of its own; they share what does not change, and counters.
 *  - That a task has gone is normal life: ENOENT, ESRCH and their like end the work on a call.
 *  - What is written to a task's memory is written only after the kernel has said that its call
 *    still waits: its number may be another process's by now.
 *  - A worker never waits for a task, but for the one that it operates on (rewrite_call.h).
 */
#ifndef PYPARROT_NOTIFY_H
#define PYPARROT_NOTIFY_H

#include "engine/rewrite_call.h"
#include "libc/libc_substitution.h"
#include "shim/shared_state.h"

/* cffi: begin */

struct pp_counters {
    uint64_t calls;    /* that came in */
    uint64_t ran;      /* let run as they were */
    uint64_t answered; /* with a value */
    uint64_t opened;   /* with a descriptor */
    uint64_t changed;  /* by surgery, execs too */
    uint64_t asked;    /* had to be fetched for first */
};

struct pp_engine {
    int listener;
    const struct pp_namespace *space;
    uint64_t cookie;
    struct pp_mapping_pool *mappings;
    int64_t mark;     /* seconds of unix time when all objects were modified, as their files say */
    int roots_differ; /* some task may have another root or mount namespace than we have */
    int tasks_differ; /* some task may have a filter of its own, or a tracer */
    int idle;         /* workers that wait for a notification */
    struct pp_substitution *substitution;
    struct pp_shared_state *state;  /* what shims are told, */
    struct pp_shared_usage *shared; /* and what they tell; NULL if there are none */
};

struct pp_worker;

/* A worker for an engine, which has to outlive it; NULL if there is no memory. */
struct pp_worker *pp_worker_new(struct pp_engine *engine);

/* Serve until something is needed that only Python can get: gives which (enum pp_need), and the
 * call is at hand. Called again, it decides that call anew. Gives PP_NEEDS_NOTHING at the end. */
int pp_worker_serve(struct pp_worker *worker);

/* End the call that waits with an error (an errno), since what it needs can't be had. */
void pp_worker_refuse(struct pp_worker *worker, int error);

struct pp_call *pp_worker_call(struct pp_worker *worker);
const struct pp_counters *pp_worker_counters(const struct pp_worker *worker);

/* Try all that the engine will do to a task: 0, or the errno of what `*what` names. */
int pp_probe(int task, const char **what);

/* Make the calling process the parent of its descendants' orphans. */
int pp_become_subreaper(void);

/* Ready the listener: answers wake tasks on the same CPU, where the kernel can do that. */
void pp_listener_prepare(int listener);

/* cffi: end */

#endif

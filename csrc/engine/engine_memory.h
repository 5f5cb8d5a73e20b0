/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Engine memory: what the supervisor and the tracer of a run share, and what outlives each of them.
 *
 * It is one anonymous shared mapping, made before any process of the run is forked, so all of them
 * have it at the same address. It holds the call that each worker has received, the calls that
 * were handed over to the tracer, flags and counters. Rules that hold here:
 *  - Supervisor and tracer may be killed at any instruction, and another one goes on with what it
 *    finds. There are no locks. What a word of state describes is written before that word is
 *    stored, and means nothing in any other state.
 *  - There are no pointers in it, and its size is fixed.
 *  - At one time at most one supervisor and one tracer live: the next begins when all threads of
 *    the one before have ended.
 *  - A worker's slot is written by that worker alone. Its notification is the kernel's copy, which
 *    is complete even if the worker is killed in its ioctl. It counts from the moment in which its
 *    id is not 0, until the id is 0 or the kernel says that it is not valid any more.
 *  - The state of a handover goes round in one circle, each step being one atomic store (or
 *    exchange, where threads compete), and each state has one writer:
 *
 *        FREE ──► FILLING ──► WAITING ──► TAKEN ──► HELD
 *         ▲    supervisor  supervisor  tracer   tracer│
 *         └─────────── tracer: the call has ended ────┘
 *
 *    The next supervisor frees what was FILLING: the call is in its worker's slot still. The next
 *    tracer serves what was TAKEN or HELD once more if the task still waits for its answer, and
 *    drops it otherwise: when the tracer ends, the kernel kills the tasks that it holds, whose
 *    registers were being changed.
 *  - What can't be done twice is written down in the worker's slot: before it is done, so that the
 *    next supervisor looks whether it was, and right behind it.
 *  - A worker clears its own notification only after WAITING is stored, so a call is in one of the
 *    two places at any time. A call that is in both is the tracer's.
 */
#ifndef PYPARROT_ENGINE_MEMORY_H
#define PYPARROT_ENGINE_MEMORY_H

#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdint.h>

#include "core/decide.h"
#include "engine/engine.h"
#include "task/remote.h"

/* cffi: begin */

#define PP_WORKERS_MAX 768u

struct pp_engine_memory;

/* For one run: NULL and errno if there is no memory. It is never freed. */
struct pp_engine_memory *pp_engine_memory_new(void);

/* What has happened so far, all workers of all supervisors together. */
void pp_engine_memory_count(const struct pp_engine_memory *memory, struct pp_counters *counters);

/* The tasks that are held by the tracer, or were when it was killed, and have died with it. */
int pp_engine_memory_held(const struct pp_engine_memory *memory);

/* All tasks have ended: the tracer, which is about to end, holds none. */
void pp_engine_memory_hold_none(struct pp_engine_memory *memory);

/* cffi: end */

#define PP_HANDOVERS_MAX 768u

/* A flag of open files that is set while a task has got one and has no answer yet. For reading it
 * means nothing else, and it can be taken off. */
#define PP_UNANSWERED O_APPEND

/* A worker's place. */
struct pp_worker_slot {
    struct seccomp_notif notification; /* id 0: there is none */
    /* What was done for it in the task, and must not be done twice. */
    uint32_t giving; /* the descriptor that it returns is put there, */
    uint32_t given;  /* and has this number, plus 1; 0: not yet */
    struct pp_moved moved;
    struct pp_counters counters;
};

enum pp_handover_state {
    PP_HANDOVER_FREE,
    PP_HANDOVER_FILLING, /* a worker writes it */
    PP_HANDOVER_WAITING, /* for a thread of the tracer */
    PP_HANDOVER_TAKEN,   /* by one; nothing was changed in the task's registers */
    PP_HANDOVER_HELD,    /* the task is held by ptrace, or just about to be */
};

struct pp_handover_change {
    int32_t argument;
    uint32_t size;
    char data[2 * PP_PATH_MAX];
};

/* A call that is to be made with other arguments: all that the tracer needs to know of it. */
struct pp_handover {
    uint64_t id; /* of its notification */
    int32_t task;
    int32_t number;
    uint64_t args[6];
    uint32_t is_exec;      /* `file` is to be run: */
    uint32_t words;        /* see struct pp_exec */
    uint32_t size;         /* of `text` */
    uint32_t change_count; /* else these are its arguments */
    uint64_t overwritten;  /* an address in the task where `written` stands for a moment, or 0 */
    char written[32];
    char given[PP_PATH_MAX + 1]; /* the first path as the program gave it */
    char file[2 * PP_PATH_MAX];
    char shown[PP_PATH_MAX + 1];
    char text[sizeof((struct pp_exec *)0)->text];
    int32_t error; /* see struct pp_exec, and so for these: */
    int32_t checks_first;
    uint32_t checked_size;
    char checked[sizeof((struct pp_exec *)0)->checked];
    char first[PP_PATH_MAX + 1]; /* what the first path leads to, if that is real; else empty */
    struct pp_handover_change changes[2];
};

struct pp_engine_memory {
    /* Set by workers, and never cleared. */
    int roots_differ; /* some task may have another root or mount namespace than this process */
    int tasks_differ; /* some task may have a filter of its own, or a tracer */

    uint32_t used;    /* handovers behind these were never used */
    uint32_t waiting; /* a futex: counts handovers that were published */
    uint32_t freed;   /* a futex: counts handovers that were freed while `wanted` was set */
    uint32_t wanted;  /* workers wait for a handover */
    uint32_t states[PP_HANDOVERS_MAX]; /* enum pp_handover_state */

    struct pp_worker_slot workers[PP_WORKERS_MAX];
    struct pp_handover handovers[PP_HANDOVERS_MAX];
};

/* The supervisor's side. Get a handover to fill in; NULL after a while in which none was free. */
struct pp_handover *pp_handover_begin(struct pp_engine_memory *memory);

/* It is filled in: the call is the tracer's from here on. */
void pp_handover_publish(struct pp_engine_memory *memory, struct pp_handover *handover);

/* Whether the call with this notification was handed over, and has not ended. */
int pp_handover_exists(const struct pp_engine_memory *memory, uint64_t id);

/* For a new supervisor, before its first worker: free what the last one has left half filled in,
 * and wake the tracer, which the last one may not have done. */
void pp_handover_forget_unpublished(struct pp_engine_memory *memory);

/* The tracer's side. The number of what was published, for pp_handover_wait. */
uint32_t pp_handover_published(const struct pp_engine_memory *memory);

/* Take a call that waits; NULL if there is none. */
struct pp_handover *pp_handover_take(struct pp_engine_memory *memory);

/* Sleep until something was published after `published`. */
void pp_handover_wait(struct pp_engine_memory *memory, uint32_t published);

/* The task is about to be held. */
void pp_handover_hold(struct pp_engine_memory *memory, struct pp_handover *handover);

/* Back to TAKEN: it is not held. */
void pp_handover_unhold(struct pp_engine_memory *memory, struct pp_handover *handover);

/* The call has ended. */
void pp_handover_free(struct pp_engine_memory *memory, struct pp_handover *handover);

/* For a new tracer, before its first thread: see to the calls that the last one had. `is_waiting`
 * says whether the task still waits for its answer: then the call is served once more. `end` is
 * called for one that has ended, whose task was not held. The number of tasks that were held, and
 * have died with the last tracer. */
int pp_handover_recover(struct pp_engine_memory *memory,
                        int (*is_waiting)(void *context, const struct pp_handover *handover),
                        void (*end)(void *context, struct pp_handover *handover), void *context);

#endif

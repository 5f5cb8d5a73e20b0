/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What an engine is: the way in which system calls come in and actions are carried out.
 *
 * An engine implements struct pp_engine_operations, and puts struct pp_engine at the beginning of
 * its own struct. Everything else (deciding, opening views, counting, hooks) is done by worker.c
 * over these operations. Rules that hold for every engine:
 *  - Any number of workers serve one engine, a thread each, in parallel. A worker has one call at a
 *    time, and memory of its own; they share what does not change, counters and flags.
 *  - That a task has gone is normal: ENOENT, ESRCH and their like end the work on a call, silently.
 *  - What is written to a task's memory is written only after the engine has said that the task
 *    still waits in its call: its number may be another process's by now.
 *  - The decision core (core/) calls none of the operations.
 *
 * Python makes the engine's struct and writes it before the first worker starts. Afterwards only
 * workers write, and only the fields that say so.
 */
#ifndef PYPARROT_ENGINE_H
#define PYPARROT_ENGINE_H

#include <stdint.h>
#include <sys/types.h>

#include "core/decide.h"
#include "shim/shared_state.h"
#include "task/family.h"

struct pp_worker;
struct pp_engine_memory;

struct pp_engine_operations {
    /* Wait for the next call: its number and arguments, the task and the address of its
     * instruction are in the worker then. 0, or -1 at the end. */
    int (*receive)(struct pp_worker *worker);

    /* Whether the task still waits in its call. */
    int (*is_waiting)(struct pp_worker *worker);

    /* The ends of a call. Exactly one of them is called for each. */

    /* The kernel makes it as it is. */
    void (*let_run)(struct pp_worker *worker);

    /* It returns a value, or -errno. */
    void (*return_value)(struct pp_worker *worker, int64_t value);

    /* It returns a new descriptor of a file that is open here, which gets these flags. 0, or
     * -errno: then it has not ended. The descriptor here is closed in any case, and before the task
     * goes on: it shares the open file with it, and the locks on that. The file is opened with
     * PP_UNANSWERED (engine_memory.h), of which the task sees nothing. */
    int (*give_file)(struct pp_worker *worker, int descriptor, int flags);

    /* It is made with `changes` of the call, or as the exec of `file` in the way that `exec` says:
     * soon, if not at once. 0, or -errno: then it has not ended. */
    int (*run_changed)(struct pp_worker *worker);
    int (*run_program)(struct pp_worker *worker);
};

/* cffi: begin */

/* What becomes of a call that a hook has seen. */
enum pp_hook_result {
    PP_HOOK_PASSED, /* it is a call like any other */
    PP_HOOK_ENDED,  /* the hook has ended it */
};

/* What sees calls beside the decision core. A hook may leave an event in the worker
 * (pp_worker_tell): Python gets it, and then the call goes on behind the hook. */
struct pp_hook {
    /* A call has come in, and nothing was decided about it. */
    enum pp_hook_result (*received)(struct pp_hook *hook, struct pp_worker *worker);

    /* An open view is about to be given to the task. It stays the caller's. */
    enum pp_hook_result (*opened)(struct pp_hook *hook, struct pp_worker *worker, int view);
};

struct pp_engine {
    const struct pp_engine_operations *operations;
    const struct pp_namespace *space;
    uint64_t cookie;
    int64_t mark;                    /* see view.h */
    struct pp_engine_memory *memory; /* what outlives this process; see engine_memory.h */
    struct pp_hook *hook;            /* NULL if there is none */
    struct pp_shared_state *state;   /* what shims read, */
    struct pp_shared_usage *shared;  /* and what they write; both NULL if there are none */
    struct pp_family family;

    /* Written by workers, atomically. */
    int idle;          /* workers that wait for a call */
    uint32_t received; /* counts calls */
    uint32_t is_short; /* no worker was idle: see shortage.c */
};

struct pp_counters {
    uint64_t calls;    /* that came in */
    uint64_t ran;      /* let run as they were */
    uint64_t answered; /* with a value */
    uint64_t opened;   /* with a descriptor */
    uint64_t changed;  /* with other arguments, execs too */
    uint64_t asked;    /* had to be fetched for first */
};

/* What a worker comes back to Python for. */
enum pp_event_kind {
    PP_EVENT_NONE,    /* never given to Python */
    PP_EVENT_END,     /* there are no more calls */
    PP_EVENT_NEED,    /* `need` has to be fetched before the worker's call can be decided */
    PP_EVENT_LIBRARY, /* a C library that was not inspected yet is open as `library`, */
    PP_EVENT_LINKER,  /* or a dynamic linker */
    PP_EVENT_LOG,     /* there is something to be said: `text` about `task` */
    PP_EVENT_SPARE,   /* the worker has no call, and there are enough others that wait for one */
};

struct pp_event {
    enum pp_event_kind kind;
    enum pp_need need;
    int library;      /* the receiver's to close */
    int task;         /* its number */
    const char *text; /* stays where it is */
};

/* Serve calls until something is to be done in Python. Called again, it goes on where it was; after
 * a need the worker's call is decided anew. The event holds until then. */
const struct pp_event *pp_worker_serve(struct pp_worker *worker);

/* End the worker's call with an error (an errno), since what it needs can't be had. */
void pp_worker_refuse(struct pp_worker *worker, int error);

/* Wait until no worker is left that could receive a call, and none has received one for a while:
 * all wait for something, such as a file system that does not answer. One more is needed then. */
void pp_engine_wait_for_shortage(struct pp_engine *engine);

/* Give back the memory that a worker has used, which is not served for a while. */
void pp_worker_rest(struct pp_worker *worker);

struct pp_call *pp_worker_call(struct pp_worker *worker);

/* Make the calling process the parent of its descendants' orphans: 0 or -errno. */
int pp_become_subreaper(void);

/* cffi: end */

#endif

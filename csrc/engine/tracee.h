/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A task that is held by ptrace for the moment in which its system call is rewritten.
 *
 * Rules that hold here:
 *  - Nothing of the task's own memory is ever written: neither the program's strings nor anything
 *    near its stack pointer, for stacks can be tiny. New arguments lie in a mapping of their own,
 *    which is taken away again, or stays in the pool (mapping_pool.h).
 *  - All signals are held back meanwhile; none is lost, for the kernel keeps them.
 *  - One thread does all of it from beginning to end (ptrace requires that), holds one task at a
 *    time, and waits for nothing but that task.
 *  - When this process ends, the tasks that it holds end with it: they can't go on as they are.
 *  - SIGKILL may end the task at any moment. Every pp_tracee_begin is followed by a pp_tracee_end,
 *    however it has gone: that returns the mapping to the pool, and waits for a task that was
 *    killed. Otherwise its own parent could not, and the thread would take the notice of that death
 *    for the next task's.
 */
#ifndef PYPARROT_TRACEE_H
#define PYPARROT_TRACEE_H

#include "arch/registers.h"
#include "engine/mapping_pool.h"
#include "engine/tracer.h"

struct pp_tracee {
    struct pp_tracer *tracer;
    struct pp_handover *call;
    pid_t task;
    int is_held;
    pp_registers saved;         /* as it stopped, behind its call */
    uint64_t signals;           /* the mask that it had */
    struct pp_mapping *mapping; /* the pool's, if that is where new arguments lie; else NULL */
    uint64_t memory;            /* where new arguments can be put */
    uint64_t mapped;            /* bytes of a mapping that is to be taken away again */
};

enum { PP_STOP_SYSCALL, PP_STOP_EXEC, PP_STOP_GONE = -1 };

/* Seize the call's task, and stop it behind its call: 0, or the errno; ESRCH if it has gone. */
int pp_tracee_begin(struct pp_tracee *tracee, struct pp_tracer *tracer, struct pp_handover *call);

/* The end, after pp_tracee_let_go or wherever something has failed. */
void pp_tracee_end(struct pp_tracee *tracee);

/* Get memory for `size` bytes of new arguments. `owner` is the process whose memory it is, if the
 * task is its vfork child; else 0. 0, -errno of the task's mmap, or 1 if the task has gone. */
int pp_tracee_map(struct pp_tracee *tracee, size_t size, pid_t owner);

/* Return the pool's mapping, if there is one: after an exec the task has no use for it, and the
 * process that it is in goes on. */
void pp_tracee_release_mapping(struct pp_tracee *tracee);

/* Let it run to the next stop of a system call or exec; what else stops it goes by. Gives one of
 * PP_STOP_…. */
int pp_tracee_go_on(struct pp_tracee *tracee);

/* These give 0, or -1 if the task has gone. */
int pp_tracee_get_registers(struct pp_tracee *tracee, pp_registers *registers);
int pp_tracee_set_registers(struct pp_tracee *tracee, const pp_registers *registers);

/* The result of the call that it has stopped behind. */
int pp_tracee_get_result(struct pp_tracee *tracee, int64_t *result);

/* Make the task run a system call, which is no exec, from where `at` has it. `result` may be NULL.
 */
int pp_tracee_call(struct pp_tracee *tracee, const pp_registers *at, int number,
                   const uint64_t args[6], int64_t *result);

/* One word of its code. */
int pp_tracee_peek(struct pp_tracee *tracee, uint64_t address, uint64_t *word);
int pp_tracee_poke(struct pp_tracee *tracee, uint64_t address, uint64_t word);

/* Back to the program, with the call's result. */
void pp_tracee_return(struct pp_tracee *tracee, int64_t result);

/* Let it run as it is. */
void pp_tracee_let_go(struct pp_tracee *tracee);

/* Whether a task can be held: 0, or the errno that says why not. */
int pp_try_seize(pid_t task);

#endif

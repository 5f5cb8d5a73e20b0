/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Let a task make its system call with other arguments.
 *
 * An answer to a notification cannot change arguments. So the task is seized for a moment with
 * ptrace, its notification is answered, and before it gets back to its program it is made to run
 * the call that we want; then it is let go. Rules that hold here:
 *  - Nothing of the task's own memory is ever written: neither the program's strings nor anything
 *    near its stack pointer, for stacks can be tiny. New strings lie in a mapping of their own,
 *    which is taken away again.
 *  - A vfork child runs on its parent's memory, and after its exec nobody could take a mapping
 * away. There one mapping stays, and is used again for the parent's next children.
 *  - All signals are held back meanwhile; none is lost, for the kernel keeps them.
 *  - One thread does a surgery from beginning to end (ptrace wants that), and waits for nothing but
 * the task that it holds.
 *  - The changed call carries a cookie in its sixth argument, which none of these calls uses. The
 *    filter lets it pass: there is no second notification.
 */
#ifndef PYPARROT_SURGERY_H
#define PYPARROT_SURGERY_H

#include <sys/types.h>

#include "core/decide.h"

enum pp_rewriting {
    PP_REWRITTEN, /* done; the task goes on */
    PP_GONE,      /* the task has ended meanwhile */
    PP_TRACED,    /* somebody else traces it (or we may not): nothing was done */
};

struct pp_mapping_pool; /* the mappings that stay */

struct pp_tracee {
    pid_t task;
    int listener;          /* where its notification … */
    uint64_t notification; /* … with this id waits */
    uint64_t cookie;
    struct pp_mapping_pool *mappings;
};

/* Run the call with `call->changes`. */
enum pp_rewriting pp_rewrite_call(const struct pp_tracee *tracee, struct pp_call *call);

/* Run the program in `call->file`, as `call->exec` wants it. */
enum pp_rewriting pp_rewrite_exec(const struct pp_tracee *tracee, struct pp_call *call);

/* Whether a task can be operated on: 0, or the errno that says why not. */
int pp_try_seize(pid_t task);

/* cffi: begin */

struct pp_mapping_pool *pp_mapping_pool_new(void);
void pp_mapping_pool_free(struct pp_mapping_pool *mappings);

/* cffi: end */

#endif

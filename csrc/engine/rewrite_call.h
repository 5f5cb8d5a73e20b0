/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Let a task make its system call with other arguments.
 *
 * An answer to a notification cannot change arguments. So the task is seized for a moment with
 * ptrace (tracee.h), its call is ended, and before it gets back to its program it is made to run
 * the changed call; then it is let go. It carries a cookie in its sixth
 * argument, which none of these calls uses. The filter lets it pass: there is no second
 * notification.
 */
#ifndef PYPARROT_REWRITE_CALL_H
#define PYPARROT_REWRITE_CALL_H

#include "engine/tracer.h"

enum pp_rewriting {
    PP_REWRITTEN, /* done; the task goes on */
    PP_GONE,      /* the task has ended meanwhile */
    PP_TRACED,    /* it has another tracer, or may not be traced: nothing was done */
};

/* Run a call with its `changes`. */
enum pp_rewriting pp_rewrite_call(struct pp_tracer *tracer, struct pp_handover *call);

/* Run the program in the call's `file` (rewrite_exec.c). */
enum pp_rewriting pp_rewrite_exec(struct pp_tracer *tracer, struct pp_handover *call);

#endif

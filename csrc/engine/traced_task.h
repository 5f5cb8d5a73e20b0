/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Let a task that has another tracer (gdb, strace) make its system call with another path.
 *
 * Two tracers cannot hold one task, so its call can't be rewritten by ptrace. Instead the task gets
 * a descriptor of the file, and the call runs with the descriptor's name in /proc, written over the
 * path that the program gave. Rules that hold here:
 *  - This is the one place that writes to a program's own memory, and only where the new name fits
 *    into the old one. The old one is put back as soon as the call has ended: the handover says
 *    where, so that the next tracer can do it if this one is killed.
 *  - Only programs that are being debugged come here.
 */
#ifndef PYPARROT_TRACED_TASK_H
#define PYPARROT_TRACED_TASK_H

#include "engine/tracer.h"

/* Run a call with the file `file` instead of the path in the given argument. Gives 0 if the call
 * has ended, or -errno if that can't be done. */
int pp_run_traced(const struct pp_tracer *tracer, struct pp_handover *call, int argument,
                  const char *file);

/* Put the old name back where the last tracer has not. */
void pp_restore_traced(struct pp_handover *call);

#endif

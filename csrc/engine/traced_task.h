/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Let a task that somebody else traces (gdb, strace) make its system call with another path.
 *
 * Two tracers cannot hold one task, so there is no surgery. Instead the task gets a descriptor of
 * the file, and the call runs with the descriptor's name in /proc, written over the path that the
 * program gave. Rules that hold here:
 *  - This is the one place that writes to a program's own memory, and only where the new name fits
 *    into the old one. The old one is put back as soon as the call has ended.
 *  - Debugged programs alone come here.
 */
#ifndef PYPARROT_HELD_H
#define PYPARROT_HELD_H

#include "engine/rewrite_call.h"

/* Run the call with the file `file` instead of the path in the given argument. Gives 0 if the
 * notification was answered, or -errno if that can't be done. */
int pp_run_traced(const struct pp_tracee *tracee, const struct pp_call *call, int argument,
                  const char *file);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whom the processes of a run are to take for their parents. The monitor, a process of the run's
 * own, is the parent of the command, and of all whose parents have ended. Neither is to be seen:
 *  - The command's parent is the frontend: that is what stands where the command would stand.
 *  - An orphan's is the process that would have inherited it without us: see reaper.h.
 */
#ifndef PYPARROT_FAMILY_H
#define PYPARROT_FAMILY_H

#include <stdint.h>
#include <sys/types.h>

#include "task/reaper.h"

/* cffi: begin */

/* Numbers of processes; `monitor` is 0 if nothing is to be hidden. */
struct pp_family {
    int frontend, monitor, command;
    struct pp_reaper *reaper;
};

/* cffi: end */

/* What getppid is to give to a task; -1 if that is what the kernel says. */
int64_t pp_family_parent(struct pp_family *family, pid_t task);

#endif

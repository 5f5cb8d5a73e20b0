/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Who inherits orphans where pyparrot was started: process 1, or the nearest subreaper above. It is
 * what an orphan inside of the run is to take for its parent.
 */
#ifndef PYPARROT_REAPER_H
#define PYPARROT_REAPER_H

#include <sys/types.h>

/* cffi: begin */

/* In memory that the frontend shares with supervisors. */
struct pp_reaper {
    int number; /* a futex; 0: not known yet */
    int asked;  /* whether somebody waits for it */
    int to_frontend;
};

/* Made by the frontend: supervisors ask through the pipe `to_frontend`. NULL without memory. */
struct pp_reaper *pp_reaper_new(int to_frontend);

/* Find it, in the frontend: a subreaper, which is none for that moment. */
void pp_reaper_find(struct pp_reaper *reaper);

/* cffi: end */

/* The number, in a supervisor: the frontend is asked the first time. */
pid_t pp_reaper_ask(struct pp_reaper *reaper);

#endif

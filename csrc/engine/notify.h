/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The notify engine: system calls come in as seccomp user notifications, and actions are carried
 * out from outside of the task (Linux 5.14 and newer). The rules are those of engine.h; a worker
 * never waits for a task: a call that has to be made with other arguments is handed over to the
 * tracer (tracer.h).
 */
#ifndef PYPARROT_NOTIFY_H
#define PYPARROT_NOTIFY_H

#include "engine/engine.h"

/* cffi: begin */

struct pp_notify {
    struct pp_engine engine; /* first */
    int listener;
    uint32_t workers; /* how many there are */
};

/* Make the engine ready, whose `listener` and whose engine's fields are filled in but for
 * `operations`. */
void pp_notify_prepare(struct pp_notify *notify);

/* How many workers have to be made, so that there is one for each call that a supervisor before
 * this one had received and not finished. Before the first of them. */
uint32_t pp_notify_under_way(struct pp_notify *notify);

/* A worker for an engine, which has to outlive it; NULL if there is no memory, or there are
 * PP_WORKERS_MAX. Not by several threads at once. */
struct pp_worker *pp_notify_worker_new(struct pp_notify *notify);

/* Try all that the engine will do to a task: 0, or the errno of what `*what` names. */
int pp_notify_probe(int task, const char **what);

/* cffi: end */

#endif

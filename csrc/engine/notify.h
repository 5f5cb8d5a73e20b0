/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The notify engine: system calls come in as seccomp user notifications, and actions are carried
 * out from outside of the task (Linux 5.14 and newer). The rules are those of engine.h; a worker
 * never waits for a task, but for the one whose call it rewrites (rewrite_call.h).
 */
#ifndef PYPARROT_NOTIFY_H
#define PYPARROT_NOTIFY_H

#include "engine/engine.h"

/* cffi: begin */

struct pp_notify {
    struct pp_engine engine; /* first */
    int listener;
};

/* Make the engine ready, whose `listener` and whose engine's fields are filled in but for
 * `operations`. */
void pp_notify_prepare(struct pp_notify *notify);

/* A worker for an engine, which has to outlive it; NULL if there is no memory. */
struct pp_worker *pp_notify_worker_new(struct pp_notify *notify);

/* Try all that the engine will do to a task: 0, or the errno of what `*what` names. */
int pp_notify_probe(int task, const char **what);

/* cffi: end */

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A dynamic linker that has many look-ups to make gets a shim of its own, while it runs
 * (shim/linker_image.h).
 *
 * Rules that hold here:
 *  - A linker is patched only while it starts a program and has not opened a libc: then there is
 * one thread, and no handler of a signal.
 *  - Its code is written only if it is what the image was made for: the build that its first page
 *    names, and all pages with sites, byte by byte; and only while the task waits in its call.
 *  - What can't be done is left: the linker goes on without a shim.
 */
#ifndef PYPARROT_LINKER_PATCH_H
#define PYPARROT_LINKER_PATCH_H

#include "engine/worker.h"
#include "libc/libc_substitution.h"

/* How far a linker is. */
enum {
    PP_LINKER_PLAIN,   /* nothing was done, */
    PP_LINKER_PATCHED, /* it has the bootstrap, */
    PP_LINKER_LEFT,    /* or it goes on as it is */
};

/* Whether a path is one that a linker makes of a directory in a list: it looks for the variants of
 * a library for certain CPUs first. */
int pp_is_search(const char *path);

/* Whether the linker has so many look-ups before it that a shim saves time. */
int pp_linker_is_worth_it(const struct pp_start *start, int is_search);

/* Write the bootstrap, at a call of the linker's that the worker has. An unknown linker is told of.
 */
void pp_linker_patch(struct pp_substitution *substitution, struct pp_worker *worker,
                     struct pp_start *start);

/* Make the linker's code what it was: the shim can't be used. */
void pp_linker_restore(struct pp_substitution *substitution, struct pp_worker *worker,
                       struct pp_start *start);

#endif

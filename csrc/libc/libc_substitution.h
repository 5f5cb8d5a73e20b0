/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the dynamic linker is given when a program starts: copies of libc that have the shim in
 * them.
 *
 * So every dynamically linked program has it, with any environment and whatever program has started
 * it, and it adds nothing to the program's variables or list of libraries. glibc's dynamic linker
 * looks for /etc/ld.so.preload before anything else; a call from that linker's own code that opens
 * a libc then gets the copy, once. Every other open, by the program itself too, gets the real file.
 *
 * It is a hook of an engine (engine.h), and sees calls before the decision core does. Python
 * writes struct pp_substitution: all fields but `starts`, `linkers_told` and `hook` before the hook
 * is registered, and `copies` and `linkers` afterwards as well: one is filled in, and then counted.
 */
#ifndef PYPARROT_LIBC_SUBSTITUTION_H
#define PYPARROT_LIBC_SUBSTITUTION_H

#include <stdint.h>

#include "engine/engine.h"
#include "shim/linker_image.h"

/* cffi: begin */

#define PP_COPIES_MAX 16u
#define PP_LINKERS_MAX 8u
#define PP_STARTS 1024u

/* A library, as stat knows it, and its patched copy. */
struct pp_copy {
    uint64_t device, inode, size;
    int64_t modified, changed; /* nanoseconds of unix time */
    const char *file;          /* the copy; NULL if there is nothing to be patched */
};

/* A dynamic linker that is known, and the image of a shim for it (shim/linker_image.h). */
struct pp_linker {
    const struct pp_linker_image *image; /* the whole file is in memory there */
    const char *file;
};

/* A process whose dynamic linker is at work. */
struct pp_start {
    uint64_t task;
    uint64_t address; /* in the linker's code */
    uint32_t calls;   /* that the linker has made by which it looks for libraries */
    /* How far it is with a shim of its own (linker_patch.h), */
    uint32_t stage;
    uint32_t linker, site; /* which linker it is, which site has the detour, */
    uint64_t base;         /* and where the linker lies */
};

struct pp_substitution {
    struct pp_hook hook; /* first */
    int state;           /* the shared state's file */
    int tells;           /* programs that go without a shim are to be reported */
    uint32_t filters;    /* how many filters a task of the session has; more are its own */
    uint32_t copies_count;
    uint32_t linkers_count;
    uint32_t linkers_told; /* how many unknown linkers were told of */
    struct pp_copy copies[PP_COPIES_MAX];
    struct pp_linker linkers[PP_LINKERS_MAX];
    struct pp_start starts[PP_STARTS];
};

/* Make it the hook of an engine, which has to have a shared state and usage. */
void pp_substitution_register(struct pp_substitution *substitution, struct pp_engine *engine);

/* cffi: end */

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the dynamic linker is given when a program starts: copies of libc that have the shim in
 * them.
 *
 * So every dynamically linked program has it, whatever its environment is and whoever has started
 * it, and nothing is to be seen of it among its variables or libraries. glibc's dynamic linker
 * looks for /etc/ld.so.preload before anything else; who opens a libc from that linker's own code
 * is given the copy, once. Everybody else, the program itself among them, sees the real file.
 */
#ifndef PYPARROT_LINKER_H
#define PYPARROT_LINKER_H

#include <stdint.h>

/* cffi: begin */

#define PP_COPIES_MAX 16u
#define PP_STARTS 1024u

/* A library, as stat knows it, and its patched copy. */
struct pp_copy {
    uint64_t device, inode, size;
    int64_t modified, changed; /* nanoseconds of unix time */
    const char *file;          /* the copy; NULL if there is nothing to be patched */
};

/* A process whose dynamic linker is at work: an address in the linker's code. */
struct pp_start {
    uint64_t task;
    uint64_t address;
};

struct pp_substitution {
    int state;        /* the shared state's file; -1 if there is no shim */
    int tells;        /* who has to go without is to be told of */
    uint32_t filters; /* how many filters a task of ours has; more are its own */
    uint32_t copies_count;
    struct pp_copy copies[PP_COPIES_MAX];
    struct pp_start starts[PP_STARTS];
};

/* cffi: end */

enum pp_serving {
    PP_NOT_SERVED, /* a call like any other */
    PP_SERVED,     /* answered */
    PP_UNPATCHED,  /* a library that nobody has looked at yet: it is open as the call's `answer` */
    PP_UNFIT,      /* a program that has to go without: `text` says why */
};

#endif

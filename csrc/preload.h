/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the dynamic linker gets to see when a program starts: the shim, and patched libraries.
 *
 * glibc's dynamic linker looks for /etc/ld.so.preload before anything else. It is told that there is
 * one, and that it names the shim; then it opens the shim's path, and is given a file of the session's
 * own. So every dynamically linked program has the shim, whatever its environment is and whoever has
 * started it, and nothing of it can be seen in the environment. The program itself sees the real files:
 * only calls from the dynamic linker's own code are answered so, from a program's start on.
 */
#ifndef PYPARROT_PRELOAD_H
#define PYPARROT_PRELOAD_H

#include <stdint.h>
#include <sys/types.h>

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

struct pp_preload {
    const char *library; /* the path that the shim is known by; NULL if there is no shim */
    int list;            /* the file that stands for /etc/ld.so.preload, */
    int shim;            /* and the one that stands for the shim */
    uint32_t filters;    /* how many filters a task of ours has; more are its own */
    uint32_t copies_count;
    struct pp_copy copies[PP_COPIES_MAX];
    struct pp_start starts[PP_STARTS];
};

enum pp_serving {
    PP_NOT_SERVED, /* a call like any other */
    PP_SERVED,     /* answered */
    PP_UNPATCHED,  /* a library that nobody has looked at yet: its path is in the call's `file` */
};

#endif

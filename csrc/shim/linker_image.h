/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The shim in a running dynamic linker: the file from which a task maps it.
 *
 * The kernel loads the dynamic linker, so it has no copy as libc has (pyparrot/libc/copy.py), and
 * each of its look-ups is trapped. One that has many to make gets the shim while it runs:
 *
 *   1. At one of its calls, while the task waits, the supervisor writes a bootstrap into what is
 * unused behind the linker's code, and a jump there behind the call's instruction
 * (libc/linker_patch.h).
 *   2. The bootstrap opens this file by its path, with the cookie, maps it, and calls
 * pp_linker_attach (linker.c) in it, which makes the sites jumps to their stubs.
 *
 * So the linker stays the file that it is, at its place; some of its pages become private. Each
 * step leaves code behind it that works, whatever becomes of the supervisor.
 *
 * The file is: this struct; stubs; the shim; behind that, where a task has the shim's memory
 * instead, the pages of the linker for which the file was made. Addresses are offsets in the file,
 * those of the linker's code from where the linker lies.
 */
#ifndef PYPARROT_LINKER_IMAGE_H
#define PYPARROT_LINKER_IMAGE_H

#include <stdint.h>

#include "core/decide.h"

/* cffi: begin */

#define PP_LINKER_MAGIC "pyparrot's link2"
#define PP_LINKER_PAGE 4096u
#define PP_LINKER_SITES_MAX 16u
#define PP_LINKER_BOOTSTRAP_MAX 168u

/* Modes of opens, as PP_SHARED_STATE_MODE: by which the shim in a linker says that it can't be
 * used, and by which it leaves the open of a libc to the supervisor. */
#define PP_LINKER_FAILED_MODE 0x70617273u
#define PP_LINKER_LIBC_MODE 0x70617274u

struct pp_linker_site {
    uint32_t address; /* in the linker: of the system call's instruction */
    uint32_t length;  /* how many bytes may be replaced */
    uint32_t stub;    /* in the image */
    uint32_t behind;  /* in the linker: where the detour is written, behind the instruction */
    uint8_t original[8], detour[8]; /* what stands there: before, and while it is attached */
    uint8_t bootstrap[PP_LINKER_BOOTSTRAP_MAX];
};

struct pp_linker_image {
    char magic[16];
    uint32_t memory, memory_size; /* the shim's memory: zeros */
    uint32_t base;                /* in that memory: the linker's address, for the stubs */
    uint32_t bootstrap;           /* in the linker: where the bootstrap is written */
    uint32_t room;   /* how many bytes are unused there: the image's path is behind it */
    uint32_t cookie; /* where in the bootstrap the cookie belongs */
    /* In the linker: the pages with its sites, which have to be what the file has at `pages_copy`,
     * behind the linker's first page, which names its build. */
    uint32_t pages, pages_size;
    uint32_t pages_copy;
    uint32_t sites_count;
    struct pp_linker_site sites[PP_LINKER_SITES_MAX];
};

/* Whether a linker's calls with this number are taken over: by these it looks for libraries. */
static inline int pp_is_look_up(int number)
{
    const struct pp_spec *spec = pp_spec_of(number);
    return spec && (spec->operation == PP_OP_OPEN || spec->operation == PP_OP_STAT);
}

/* cffi: end */

#endif

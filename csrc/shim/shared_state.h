/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The shared state: what the supervisor publishes to all shims of a session.
 *
 * It is a file of the session's own, which a shim asks for by PP_SHARED_STATE_PATH, and maps. Rules
 * that hold here:
 *  - The supervisor alone writes, or one that has taken over from it: the file is sealed, so that
 *    nobody can open it for writing. What lies behind the header is appended and never changes:
 * what is new is written first and then named by one word, which is stored last.
 *  - There are no pointers, but offsets from the shared state's beginning, 0 for none.
 *  - When the room is used up nothing new is published. A shim that lacks something leaves the
 *    call to the supervisor.
 */
#ifndef PYPARROT_SHARED_STATE_H
#define PYPARROT_SHARED_STATE_H

#include <stdint.h>

/* cffi: begin */

#define PP_SHARED_STATE_MAGIC "pyparrot's state"
#define PP_SHARED_STATE_SIZE (1u << 20)
#define PP_SHARED_STATE_PATH "/proc/pyparrot/state"
#define PP_SHARED_STATE_MODE 0x70617272u /* of the open: what no program would give */

enum {
    PP_SHARED_SHADOWS = 1,   /* a mount point is the path of something real, too */
    PP_SHARED_COUNTS = 2,    /* what is answered where is to be counted */
    PP_SHARED_CWD_APART = 4, /* some thread may have a working directory of its own */
};

/* What tells a file from all others that its path may lead to later, or in another PID namespace.
 */
struct pp_file_identity {
    uint64_t device, inode; /* inode 0: the path is enough */
    int64_t changed;        /* nanoseconds of unix time (ctime); 0: that does not count */
};

/* A catalog that the supervisor has mapped. */
struct pp_shared_catalog {
    uint32_t next;  /* the catalog that was published before it */
    uint32_t mount; /* the number of the mount that it belongs to */
    uint64_t root_hash;
    uint64_t touched; /* its first word in the touch map; 0 if it has none */
    uint32_t file;    /* its index file */
    uint32_t path;    /* of its root directory in the mount; not for shims */
    struct pp_file_identity identity;
};

struct pp_shared_state {
    char magic[16];
    uint64_t cookie;
    int64_t mark;          /* seconds of unix time when all views were modified */
    uint64_t views_device; /* st_dev of the directory of views */
    uint64_t filters;      /* counts the filters that programs have set for themselves */
    uint32_t flags;
    uint32_t generation;  /* of the table: another one each time */
    uint32_t directories; /* counts working directories that changed where no shim noticed */
    uint32_t table;    /* struct pp_mounts; 0: there is none, and all is left to the supervisor */
    uint32_t catalogs; /* the newest */
    uint32_t shared;   /* the file of struct pp_shared_usage; 0 if there is none */
    uint32_t views, views_length;
    uint32_t used;    /* of the shared state, the header included */
    uint32_t words;   /* of the touch map that were given to catalogs */
    uint32_t monitor; /* see struct pp_family */
    uint32_t owner;   /* the user whom all views belong to */
    struct pp_file_identity shared_identity;
};

/* Set some of its flags. Workers and Python do it side by side, and neither may lose a flag that
 * the other has set. */
static inline void pp_shared_state_set(struct pp_shared_state *state, uint32_t flags)
{
    __atomic_or_fetch(&state->flags, flags, __ATOMIC_RELEASE);
}

/* Some working directory has changed where no shim noticed. */
static inline void pp_shared_state_moved(struct pp_shared_state *state)
{
    __atomic_add_fetch(&state->directories, 1, __ATOMIC_RELEASE);
}

/* What all shims write: counters, and behind them the touch map. A word for each record
 * (pp_touch_word): the order of its first use, from 1 on, and PP_TOUCH_OPENED if it was opened. */
#define PP_SHARED_USAGE_SIZE                                                                       \
    (UINT64_C(16) << 20) /* of address space: a program may limit its own */
#define PP_TOUCH_OPENED UINT32_C(0x80000000)

#define PP_PROGRAMS 1024u

struct pp_shared_usage {
    uint32_t order; /* how many records were touched */
    uint32_t pipes; /* not 0: a virtual FIFO was opened, so a view may be open for writing */
    uint32_t padding[14];
    uint64_t answered; /* calls that the shims have answered, */
    uint64_t ran;      /* let run as they were, */
    uint64_t left;     /* left to the supervisor */
    uint64_t padding_too[5];
    /* Processes that run a program from its view, each at its number's place: it has the view's
     * name for AT_EXECFN, until the supervisor gives it its own. */
    uint32_t programs[PP_PROGRAMS];
    uint32_t words[];
};

/* cffi: end */

#endif

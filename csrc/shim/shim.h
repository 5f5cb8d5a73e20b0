/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The shim: it answers system calls inside of the process that makes them.
 *
 * It is a part of the patched copy of libc that the dynamic linker is given
 * (pyparrot/libc/copy.py). Sites in libc jump to it instead of into the kernel. It answers what it
 * knows, lets calls run that are about nothing virtual, and defers all others to the supervisor by
 * making the call as the program would have made it: the filter traps it. So it may give up
 * anywhere, and nothing depends on it but speed.
 *
 * Rules that hold here:
 *  - No libc, no thread-local storage, no vector registers, no descriptor that stays open. No
 *    addresses in data, since nothing relocates them.
 *  - A site may be reached anywhere: in signal handlers, between fork and exec, on a stack with
 *    1 KiB left, while other threads fork or exit. So the shim never waits for a lock: if something
 *    is busy, the call is deferred to the supervisor.
 *  - On the program's own stack at most 512 bytes are used (the red zone included). What needs more
 *    runs on a stack of the shim's own, with all signals blocked: a handler that never returns must
 *    not leave it, and a program that suspends its threads must not find one there.
 *  - Calls that may wait are made on the program's stack, with its own signal mask.
 *  - Descriptors and working directories are known by what they are (a file's inode and ctime),
 *    never by their number: other threads, and code that does not come by here, may change them.
 *  - A vfork child runs on its parent's memory, but has its own working directory and descriptors.
 *  - The program's pointers are followed as it gave them. NULL and what can't be an address is left
 *    to the kernel, which says EFAULT; any other bad pointer faults, as in the vDSO.
 *  - A call that the shim makes for itself carries the cookie in its sixth argument, so that the
 *    filter lets it pass. Once the program has a filter of its own the shim makes no calls but the
 *    program's.
 *  - A program's call is known by its operation (syscalls.tbl). The kernel's numbers (__NR_…) stand
 *    only where the shim itself makes a call.
 */
#ifndef PYPARROT_SHIM_H
#define PYPARROT_SHIM_H

#include <errno.h>

#include <asm/stat.h>
#include <asm/unistd.h>

#include "arch/gate.h"
#include "core/decide.h"
#include "shim/shared_state.h"
#include "shim/touch.h"

#define HIDDEN __attribute__((visibility("hidden")))
#define PP_STACK_SIZE 32768u
#define PP_CALL_CONTEXTS 6u
#define PP_SCRATCHES 16u
#define PP_CWD_MAX 1024u
#define PP_NOTHING_TO_LEARN INT32_MIN

/* What the fast path or the slow path has found out about a call. */
enum pp_verdict {
    PP_ANSWERED,  /* it returns `value` */
    PP_NATIVE,    /* it is not about anything virtual */
    PP_UNDECIDED, /* only the slow path can decide it */
    PP_DEFERRED,  /* the supervisor has to do it */
    PP_EXECUTE,   /* the program in the call context's call.file is to be run */
    PP_REDIRECT,  /* the call is to be made with the path that the call context's call has for it */
};

/* Where a path leads, or what a descriptor is. */
struct pp_location {
    const struct pp_mount *mount; /* NULL: something real */
    struct pp_found found;
};

/* A buffer for the fast path. */
struct pp_scratch {
    struct stat status;
    char path[PP_PATH_MAX + 64];
};

/* All that the decision core needs for one call, with a stack of its own. */
struct pp_call_context {
    struct pp_task task; /* first: the operations find the context by it */
    struct pp_task_operations operations;
    int unsure; /* the decision core was not told all that it asked for */
    int32_t *busy;
    const struct pp_entry *entry;
    int64_t value;
    enum pp_verdict verdict;
    int32_t learn; /* as in struct pp_result */
    struct pp_call call;
    char stack[PP_STACK_SIZE] __attribute__((aligned(16)));
};

/* When the working directory was found out: what it was then may be kept until one of them changes.
 */
struct pp_cwd_epoch {
    uint32_t forgotten;
    uint32_t directories; /* the shared state's */
};

/* What a fork must not copy: the thread that was busy with it is not in the child. */
struct pp_wiped {
    int32_t owner;    /* the process that all this belongs to; 0 until one has claimed it */
    int32_t building; /* a thread changes the tables */
    int32_t contexts[PP_CALL_CONTEXTS];
    int32_t scratches[PP_SCRATCHES];
    uint32_t cwd_forgotten; /* counts changes of the working directory */
    uint32_t cwd_version;   /* odd while what follows is written; 0 if it never was */
    struct pp_cwd_epoch cwd_epoch;
    struct pp_location cwd;
    uint32_t cwd_length; /* of its path as programs see it; 0 if that is not kept */
    char cwd_path[PP_CWD_MAX];
};

struct pp_shim {
    const struct pp_shared_state *state;
    struct pp_namespace space; /* .mounts is NULL until the tables are built */
    uint32_t generation;       /* of the shared state that they were built of */
    int is_quiet;              /* the program has a filter of its own */
    int is_linker;             /* it is in the dynamic linker, and not in a libc */
    struct pp_shared_usage *shared;
    struct pp_wiped *wiped;
    struct pp_scratch *scratches;
};

extern HIDDEN struct pp_shim pp_shim;

/* A call that the filter lets pass. */
static inline int64_t pp_gate(int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                              uint64_t e)
{
    return pp_system_call(number, a, b, c, d, e, pp_shim.state->cookie);
}

static inline int64_t pp_gate_entry(const struct pp_entry *entry)
{
    const uint64_t *args = entry->args;
    return pp_gate((int)entry->number, args[0], args[1], args[2], args[3], args[4]);
}

/* Whether the kernel would take this for an address of the program's. */
static inline int pp_is_address(uint64_t address)
{
    return address - 4096 < PP_ADDRESS_END - 4096;
}

/* Take one of `count` things that is not busy: its index, or -1 if there is none. */
static inline int pp_take(int32_t *busy, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int32_t free = 0;
        if (__atomic_load_n(&busy[i], __ATOMIC_RELAXED) == 0 &&
            __atomic_compare_exchange_n(&busy[i], &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return (int)i;
    }
    return -1;
}

static inline void pp_release(int32_t *busy)
{
    __atomic_store_n(busy, 0, __ATOMIC_RELEASE);
}

/* entry.S comes in here. */
int64_t pp_dispatch(const struct pp_entry *entry);
/* A call of the program's, or of a linker's that is like one. */
int64_t pp_dispatch_program(const struct pp_entry *entry);
/* linker.c: a call of the dynamic linker that this shim is in. */
int64_t pp_dispatch_linker(const struct pp_entry *entry);

/* A verdict with what belongs to it. It is returned in registers: a variable on the stack would
 * keep its place for as long as its function runs. */
struct pp_result {
    int64_t value;
    int32_t verdict; /* enum pp_verdict */
    int32_t learn;   /* the descriptor to be looked up first; PP_NOTHING_TO_LEARN if none */
};

/* What the fast path finds on its way. */
struct pp_fast_result {
    int64_t value;
    int32_t learn;
    struct pp_location location;
};

/* fast_path.c: what one or two look-ups can answer, on the program's stack. */
enum pp_verdict pp_fast_path(const struct pp_entry *entry, struct pp_fast_result *fast);

/* The view of `location` was opened: -1 if it is not what it was made as, and closed again. Fills
 * `status`. */
int64_t pp_verify_view(int64_t descriptor, const struct pp_location *location, struct stat *status);

/* slow_path.c: the whole decision core. `learn` is what the fast path did not know. If the result's
 * is anything else but PP_NOTHING_TO_LEARN, that is known now, and the fast path is to be taken
 * again. With PP_DEFERRED, the value is 1 if the call is about something virtual. */
struct pp_result pp_slow_path(const struct pp_entry *entry, int32_t learn);

/* tables.c: bring the tables up to date; -1 if another thread is doing it. */
int pp_tables_update(void);
/* Map what all shims share. */
void pp_tables_share(void);
/* Map what the shared state names: a mount's root catalog, or a nested one; -1 if it names none. */
int pp_tables_mount(const struct pp_mount *mount);
int pp_tables_catalog(const struct pp_mount *mount, uint64_t hash);

/* identity.c: what is known of the file with this status; 0 if nothing. */
int pp_identity_find(const struct stat *status, struct pp_location *location);
void pp_identity_keep(const struct stat *status, const struct pp_location *location);
/* Whether this process is the one that all this belongs to, and no vfork child of it. */
int pp_is_owner(void);
/* What the working directory is; 0 if that is not known. */
int pp_cwd_find(struct pp_location *location);
struct pp_cwd_epoch pp_cwd_now(void);
void pp_cwd_keep(struct pp_cwd_epoch epoch, const struct pp_location *location, const char *path);
/* Its path, if it is virtual and known, as getcwd gives it: the size, or 0. */
int64_t pp_cwd_path(char *output, uint64_t capacity);
void pp_cwd_forget(void);

/* own_task.c: the task operations on this very task. */
void pp_own_task_operations(struct pp_task_operations *operations);

/* start.c: whether there is a shared state. It is asked for when it is first needed. */
int pp_begin(void);
int pp_has_begun(void); /* the same, without asking */

/* Whether an open of a view has failed since it is not there, or something else is in its place or
 * above it: the supervisor makes it right. */
static inline int pp_view_is_missing(int64_t error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -ELOOP || error == -EACCES ||
           error == -ENXIO;
}

#endif

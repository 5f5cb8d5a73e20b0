/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A call comes in from a patched site: whether it is answered here, run as it is, or left to the
 * supervisor.
 */
#include <asm/unistd.h> /* for the calls that the shim itself makes */
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/stat.h>

#include "core/deciders.h"
#include "core/text.h"
#include "core/view.h"
#include "shim/shim.h"

#define TRIES 3

struct pp_shim pp_shim;

/* Make the call as the program does: if it is trapped, the supervisor does it. */
static int64_t make(const struct pp_entry *entry)
{
    const uint64_t *args = entry->args;
    return pp_system_call((int64_t)entry->number, args[0], args[1], args[2], args[3], args[4],
                          args[5]);
}

/* Count a call, in the counter at `offset` of what all shims share. */
static void count(size_t offset)
{
    if (pp_shim.shared && pp_shim.state->flags & PP_SHARED_COUNTS)
        __atomic_add_fetch((uint64_t *)(void *)((char *)pp_shim.shared + offset), 1,
                           __ATOMIC_RELAXED);
}

#define COUNT(name) count(offsetof(struct pp_shared_usage, name))

/* Leave the call to the supervisor. One about something virtual never waits for the program, so no
 * signal may interrupt it as the program sees it, even if a handler has run meanwhile. */
static int64_t defer(const struct pp_entry *entry, int is_virtual)
{
    int64_t value;
    do
        value = make(entry);
    while (value == -EINTR && is_virtual);
    COUNT(left);
    return value;
}

/* As soon as the program has a filter of its own, no calls but the program's are made: the filter
 * allows what those need. */
static int64_t watch_filter(const struct pp_entry *entry, int sets_filter)
{
    const int before = pp_shim.is_quiet;

    if (sets_filter)
        __atomic_store_n(&pp_shim.is_quiet, 1, __ATOMIC_SEQ_CST);
    const int64_t value = make(entry);
    if (value < 0)
        __atomic_store_n(&pp_shim.is_quiet, before, __ATOMIC_SEQ_CST);
    return value;
}

/* Calls that the decision core does not decide, or not here. */
static int64_t run_other(const struct pp_entry *entry, const struct pp_spec *spec)
{
    int64_t value;

    switch (spec ? spec->operation : PP_OP_NONE) {
    case PP_OP_PRCTL:
        return watch_filter(entry, entry->args[0] == PR_SET_SECCOMP);
    case PP_OP_SECCOMP:
        return watch_filter(entry, entry->args[0] == SECCOMP_SET_MODE_FILTER ||
                                       entry->args[0] == SECCOMP_SET_MODE_STRICT);
    case PP_OP_FCHDIR:
        value = make(entry);
        if (pp_shim.state)
            pp_cwd_forget();
        return value;
    default:
        return make(entry);
    }
}

/* Whether a call may change something if it is run. */
static int may_change(const struct pp_entry *entry)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);

    switch (spec->operation) {
    case PP_OP_OPEN:
        return (pp_flags_in(spec, entry->args) & (O_ACCMODE | O_CREAT | O_TRUNC)) != 0;
    case PP_OP_OPENAT2:
        return 1;
    default:
        return pp_changes(spec);
    }
}

/* What a path gives if it must not lead through certain links: -ELOOP if it does. A directory is
 * asked for, since most paths name something else: then there is no descriptor to be closed. */
static __attribute__((noinline)) int64_t try_path(uint64_t descriptor, uint64_t path,
                                                  uint64_t resolve)
{
    const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = resolve};
    const int64_t value = pp_gate(__NR_openat2, descriptor, path, (uint64_t)&how, sizeof how, 0);

    if (value >= 0)
        pp_gate(__NR_close, (uint64_t)value, 0, 0, 0, 0);
    return value;
}

/* Whether a path leads through a link in /proc; if that can't be found out, it may. */
static int is_magic(int start, uint64_t path)
{
    const int64_t value = try_path((uint64_t)start, path, RESOLVE_NO_MAGICLINKS);
    return value == -ELOOP || value == -ENOSYS || value == -EPERM || value == -EMFILE;
}

/* Whether a call is about a name in the very directory that it starts from: it makes, moves or
 * removes it, and follows no link on its way there. */
static int is_plain_name(const struct pp_spec *spec, const uint64_t *args)
{
    const char *path = (const char *)args[spec->path];

    switch (spec->operation) {
    case PP_OP_MKDIR:
    case PP_OP_MKNOD:
    case PP_OP_SYMLINK:
    case PP_OP_UNLINK:
    case PP_OP_RMDIR:
        while (*path && *path != '/')
            path++;
        return !*path;
    default:
        return 0;
    }
}

/* Whether a call's real paths may lead through /proc to a view, which must not be changed: by a
 * symlink of the program's own to a descriptor, or to its working directory. */
static __attribute__((noinline)) int crosses_magic_link(const struct pp_entry *entry)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);
    const uint64_t *args = entry->args;

    if (spec->path == PP_NONE || !pp_is_address(args[spec->path]) || is_plain_name(spec, args))
        return 0;
    if (is_magic(pp_first_descriptor(spec, args), args[spec->path]))
        return 1;
    return spec->second_path != PP_NONE && pp_is_address(args[spec->second_path]) &&
           is_magic(pp_second_descriptor(spec, args), args[spec->second_path]);
}

/* Whether a call that failed may have come upon a symlink that leads to something virtual. */
static __attribute__((noinline)) int may_cross_symlink(const struct pp_entry *entry)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);

    if (spec->path == PP_NONE || !pp_is_address(entry->args[spec->path]))
        return 0;
    if (spec->second_path != PP_NONE || pp_has_dots((const char *)entry->args[spec->path]))
        return 1;
    const uint64_t start = (uint64_t)pp_first_descriptor(spec, entry->args);
    const int64_t value = try_path(start, entry->args[spec->path], RESOLVE_NO_SYMLINKS);
    return value != -ENOENT && value != -ENOTDIR;
}

/* Whether the answer is that of a view: a real symlink has led to one, through /proc. */
static int is_of_view(const struct pp_entry *entry, int64_t value)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);

    if (value != 0 || spec->path == PP_NONE)
        return 0;
    switch (spec->operation) {
    case PP_OP_STAT:
        return pp_has_mark((int64_t)((const struct stat *)entry->args[spec->output])->st_mtime,
                           pp_shim.state->mark);
    case PP_OP_STATX:
        return pp_has_mark(((const struct statx *)entry->args[spec->output])->stx_mtime.tv_sec,
                           pp_shim.state->mark);
    default:
        return 0;
    }
}

static __attribute__((noinline)) int64_t run_native(const struct pp_entry *entry,
                                                    int took_slow_path)
{
    const int64_t value = pp_gate_entry(entry);

    if (!took_slow_path && (((value == -ENOENT || value == -ENOTDIR) && may_cross_symlink(entry)) ||
                            is_of_view(entry, value))) {
        const struct pp_result result = pp_slow_path(entry, PP_NOTHING_TO_LEARN);
        if (result.verdict == PP_DEFERRED)
            return defer(entry, result.value == 1);
        if (result.verdict == PP_ANSWERED)
            return result.value;
    }
    COUNT(ran);
    return value;
}

/* The fast path's result in registers, so that its stack is free again. */
static __attribute__((noinline)) struct pp_result take_fast_path(const struct pp_entry *entry)
{
    struct pp_fast_result fast;
    const enum pp_verdict verdict = pp_fast_path(entry, &fast);
    return (struct pp_result){fast.value, (int32_t)verdict, fast.learn};
}

static int64_t run_changing(const struct pp_entry *entry);

/* What the fast path has not settled. */
static __attribute__((noinline)) int64_t go_on(const struct pp_entry *entry,
                                               struct pp_result result)
{
    int took_slow_path = 0;

    for (int tries = 0; result.verdict == PP_UNDECIDED && tries < TRIES; tries++) {
        result = pp_slow_path(entry, result.learn);
        took_slow_path = result.learn == PP_NOTHING_TO_LEARN;
        if (took_slow_path)
            break;
        result = take_fast_path(entry);
    }
    switch (result.verdict) {
    case PP_ANSWERED:
        COUNT(answered);
        return result.value;
    case PP_NATIVE:
        return !took_slow_path && may_change(entry) ? run_changing(entry)
                                                    : run_native(entry, took_slow_path);
    default:
        return defer(entry, result.value == 1);
    }
}

/* A call that may change something has to be looked at before it is made. */
static __attribute__((noinline)) int64_t run_changing(const struct pp_entry *entry)
{
    if (!crosses_magic_link(entry))
        return run_native(entry, 0);
    return go_on(entry, (struct pp_result){0, PP_UNDECIDED, PP_NOTHING_TO_LEARN});
}

static inline __attribute__((always_inline)) int64_t decide(const struct pp_entry *entry)
{
    const struct pp_result result = take_fast_path(entry);

    if (result.verdict == PP_NATIVE)
        return may_change(entry) ? run_changing(entry) : run_native(entry, 0);
    if (result.verdict != PP_ANSWERED)
        return go_on(entry, result);
    COUNT(answered);
    return result.value;
}

static __attribute__((noinline)) int64_t change_directory(const struct pp_entry *entry)
{
    const int64_t value = decide(entry);
    pp_cwd_forget();
    return value;
}

/* The supervisor has to hear of it. */
static __attribute__((noinline)) int64_t change_root(const struct pp_entry *entry)
{
    const int64_t value = make(entry);
    pp_cwd_forget();
    return value;
}

/* Only what the monitor is the parent of has to be told another one (core/decide_parent.c). */
static __attribute__((noinline)) int64_t get_parent(const struct pp_entry *entry)
{
    const int64_t value = pp_gate_entry(entry);
    return value == pp_shim.state->monitor ? defer(entry, 0) : value;
}

int64_t pp_dispatch_program(const struct pp_entry *entry)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);

    if (!spec || spec->handling != PP_DECIDED || spec->count > PP_COOKIE_ARGUMENT)
        return run_other(entry, spec);
    /* What is between fork and exec is hardly worth a beginning. */
    const int ends = spec->operation == PP_OP_EXEC;
    if (pp_shim.is_quiet || (ends ? !pp_has_begun() : !pp_begin()))
        return make(entry);
    if (spec->operation == PP_OP_CHROOT)
        return change_root(entry);
    if (spec->operation == PP_OP_CHDIR)
        return change_directory(entry);
    if (spec->operation == PP_OP_PARENT)
        return get_parent(entry);
    return decide(entry);
}

int64_t pp_dispatch(const struct pp_entry *entry)
{
    return pp_shim.is_linker ? pp_dispatch_linker(entry) : pp_dispatch_program(entry);
}

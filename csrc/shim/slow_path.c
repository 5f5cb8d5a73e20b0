/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The slow path: the whole decision core, on a stack of the shim's own, with the program's signals
 * blocked meanwhile.
 */
#include <asm/signal.h>
#include <asm/unistd.h> /* for the calls that the shim itself makes */
#include <linux/fcntl.h>

#include "core/deciders.h"
#include "shim/shim.h"

#define LOADER "/ld-linux"
#define REDIRECTED_MAX 512u /* of the program's stack, for a path */
#define TRIES 64            /* no path leads through more catalogs that have to be mapped first */

static struct pp_call_context contexts[PP_CALL_CONTEXTS];

/* Map what the decision core asks for, if the shared state names it. */
static int supply(const struct pp_place *place)
{
    switch (place->need) {
    case PP_NEEDS_CATALOG:
        return pp_tables_catalog(place->mount, place->walk.hash);
    case PP_NEEDS_MOUNT:
        return pp_mount_snapshot(&pp_shim.space, place->mount) ? -1 : pp_tables_mount(place->mount);
    default:
        return -1;
    }
}

/* Finding out what a descriptor, or the working directory, is */

/* Whether real paths from a directory on may lead to what only the decision core understands:
 * through /proc, or to a mount point in it. */
static int may_lead_to_view(const struct pp_mounts *mounts, const char *path)
{
    if (pp_starts_with(path, "/proc", 5) || pp_starts_with(path, "/dev", 4))
        return 1;
    const size_t length = path[1] ? pp_length(path) : 0;
    for (uint64_t slot = 0; slot <= mounts->mask; slot++) {
        const struct pp_mount *mount = pp_mount_at(mounts, slot);
        if (mount && mount->path_length > length && pp_starts_with(mount->path, path, length) &&
            mount->path[length] == '/')
            return 1;
    }
    return 0;
}

/* Whether a file with this status is the view of one path only. */
static int is_one(const struct stat *status)
{
    const uint32_t type = status->st_mode & PP_TYPE_MASK;
    return type == PP_TYPE_DIRECTORY || (type == PP_TYPE_REGULAR && status->st_nlink <= 2);
}

/* Find out what a descriptor is, and keep it (identity.c). Whether it is known from now on. */
static int learn(struct pp_call_context *context, int descriptor)
{
    struct pp_place *place = &context->call.places[0];
    struct stat *status = (void *)context->call.buffer;
    const struct pp_cwd_epoch epoch = pp_cwd_now();
    struct pp_location location = {0};

    if (descriptor != PP_CWD &&
        (pp_gate(__NR_fstat, (uint64_t)descriptor, (uint64_t)status, 0, 0, 0) < 0 ||
         !is_one(status)))
        return 0;
    for (int i = 0; i < TRIES; i++) {
        pp_resolve(place, context->call.space, &context->task, descriptor, "", PP_NOFOLLOW);
        if (place->where != PP_MISSING || supply(place))
            break;
    }
    if (context->unsure)
        return 0;
    if (place->where == PP_VIRTUAL) {
        const struct pp_walk *walk = &place->walk;
        location = (struct pp_location){place->mount, {walk->index, walk->record, walk->hash}};
    } else if (place->where != PP_REAL || place->path[0] != '/' ||
               may_lead_to_view(context->call.space->mounts, place->path)) {
        return 0;
    }
    if (descriptor == PP_CWD) {
        if (location.mount && pp_type_of(location.found.record) != PP_TYPE_DIRECTORY)
            return 0;
        pp_cwd_keep(epoch, &location, place->walk.path);
        return 1;
    }
    pp_identity_keep(status, &location);
    return 1;
}

/* Carrying out */

static enum pp_verdict open_view(struct pp_call_context *context)
{
    struct pp_call *call = &context->call;
    const struct pp_walk *walk = &call->asking->walk;
    const struct pp_location location = {call->asking->mount,
                                         {walk->index, walk->record, walk->hash}};
    const uint32_t type = pp_type_of(walk->record);

    if (type != PP_TYPE_DIRECTORY && type != PP_TYPE_REGULAR)
        return PP_DEFERRED; /* it might wait */
    context->value = pp_gate(__NR_openat, (uint64_t)AT_FDCWD, (uint64_t)call->file,
                             (uint64_t)call->open_flags, 0, 0);
    if (pp_view_is_missing(context->value))
        return PP_DEFERRED;
    pp_touch(pp_shim.shared, &location.found, PP_TOUCH_OPENED);
    return context->value >= 0 && pp_verify_view(context->value, &location, (void *)call->buffer)
               ? PP_DEFERRED
               : PP_ANSWERED;
}

/* Whether all that is to be changed of a call is its path, which then stands for what the call is
 * about: it can be made here. It may wait, as the open of a FIFO does, or of a device that a link
 * leads to. */
static int is_redirected(const struct pp_call *call)
{
    const struct pp_spec *spec = pp_spec_of(call->number);

    if (call->change_count != 1 || call->changes[0].argument != spec->path ||
        call->changes[0].size > REDIRECTED_MAX || spec->second_path != PP_NONE)
        return 0;
    switch (spec->operation) {
    case PP_OP_OPEN:
    case PP_OP_CREAT:
    case PP_OP_STAT:
    case PP_OP_STATX:
    case PP_OP_ACCESS:
        return 1;
    default:
        return 0;
    }
}

static enum pp_verdict change(struct pp_call_context *context)
{
    struct pp_call *call = &context->call;

    if (is_redirected(call))
        return PP_REDIRECT;
    if (pp_spec_of(call->number)->operation != PP_OP_CHDIR || !call->asking ||
        call->asking->need != PP_NEEDS_VIEW)
        return PP_DEFERRED;
    context->value = pp_gate(__NR_chdir, (uint64_t)call->changes[0].data, 0, 0, 0, 0);
    return context->value == -ENOENT || context->value == -ENOTDIR ? PP_DEFERRED : PP_ANSWERED;
}

/* Whether a program can be run from its view as it is: it has the very name that it was started by,
 * and glibc's dynamic linker, so that the supervisor hears of it before it begins. */
static int is_simple(const struct pp_call *call)
{
    const struct pp_exec *exec = &call->exec;
    const struct pp_place *place = &call->places[0];
    const char *loader = exec->loader;

    if (exec->words || !loader || place->where != PP_VIRTUAL || !pp_shim.shared)
        return 0;
    while (*loader && !pp_starts_with(loader, LOADER, sizeof LOADER - 1))
        loader++;
    const uint64_t head = place->mount->path_length;
    return *loader && pp_starts_with(exec->shown, place->mount->path, head) &&
           pp_equal(exec->shown + head, place->walk.path);
}

static int64_t run(void *argument)
{
    struct pp_call_context *context = argument;
    struct pp_call *call = &context->call;

    context->verdict = PP_DEFERRED;
    if (pp_tables_update())
        return 0;
    if (context->learn != PP_NOTHING_TO_LEARN && learn(context, context->learn))
        return 0;
    context->learn = PP_NOTHING_TO_LEARN;
    for (int i = 0; i < TRIES; i++) {
        const enum pp_action action = pp_decide(call);
        if (context->unsure)
            return 0;
        switch (action) {
        case PP_RUN:
            context->verdict = PP_NATIVE;
            return 0;
        case PP_RETURN:
            context->value = call->value;
            context->verdict = PP_ANSWERED;
            if (call->places[0].where == PP_VIRTUAL && context->value >= 0) {
                const struct pp_walk *walk = &call->places[0].walk;
                pp_touch(pp_shim.shared, &(struct pp_found){walk->index, walk->record, walk->hash},
                         0);
            }
            return 0;
        case PP_OPEN:
            context->verdict = open_view(context);
            return 0;
        case PP_CHANGE:
            context->verdict = change(context);
            return 0;
        case PP_EXEC:
            context->verdict = is_simple(call) ? PP_EXECUTE : PP_DEFERRED;
            return 0;
        case PP_ASK:
            if (supply(call->asking))
                return 0;
        }
    }
    return 0;
}

static void set_mask(const uint64_t *mask, uint64_t *before)
{
    pp_gate(__NR_rt_sigprocmask, SIG_SETMASK, (uint64_t)mask, (uint64_t)before, sizeof *mask, 0);
}

/* Run the program in call.file. The context holds its name, and is free again once it runs. A vfork
 * child that has succeeded can't free it: the kernel does, in the parent's memory, when the child
 * gives up that memory (set_tid_address). */
static __attribute__((noinline)) int64_t execute(struct pp_call_context *context,
                                                 const struct pp_entry *entry)
{
    const uint64_t *argv = entry->args + pp_spec_of((int)entry->number)->argv;
    const int is_borrowed = !pp_is_owner();
    const uint32_t process = (uint32_t)pp_gate(__NR_getpid, 0, 0, 0, 0, 0);

    if (is_borrowed)
        pp_gate(__NR_set_tid_address, (uint64_t)context->busy, 0, 0, 0, 0);
    __atomic_store_n(&pp_shim.shared->programs[process % PP_PROGRAMS], process, __ATOMIC_RELAXED);
    const int64_t value =
        pp_gate(__NR_execve, (uint64_t)context->call.file, argv[0], argv[1], 0, 0);
    if (is_borrowed)
        pp_gate(__NR_set_tid_address, 0, 0, 0, 0, 0);
    return value;
}

/* Make the call with another path, as the program would: its signals may interrupt it, and a
 * handler may never come back. So the path stands on the program's stack, and the context is free.
 */
static __attribute__((noinline)) int64_t redirect(struct pp_call_context *context)
{
    const struct pp_change change = context->call.changes[0];
    struct pp_entry entry = {.number = (uint64_t)context->call.number};
    char path[REDIRECTED_MAX];

    __builtin_memcpy(path, change.data, change.size);
    __builtin_memcpy(entry.args, context->call.args, sizeof entry.args);
    entry.args[change.argument] = (uint64_t)path;
    pp_release(context->busy);
    return pp_gate_entry(&entry);
}

static struct pp_result defer(int is_virtual)
{
    return (struct pp_result){is_virtual, PP_DEFERRED, PP_NOTHING_TO_LEARN};
}

struct pp_result pp_slow_path(const struct pp_entry *entry, int32_t learned)
{
    /* A fault by a bad pointer of the program's is to reach the program's handler. */
    const uint64_t held = ~(UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGBUS - 1));
    uint64_t before;

    const int which = pp_take(pp_shim.wiped->contexts, PP_CALL_CONTEXTS);
    if (which < 0)
        return defer(0);
    struct pp_call_context *context = &contexts[which];
    set_mask(&held, &before);
    pp_own_task_operations(&context->operations);
    context->task.operations = &context->operations;
    context->unsure = 0;
    context->busy = &pp_shim.wiped->contexts[which];
    context->learn = learned;
    context->call.number = (int)entry->number;
    __builtin_memcpy(context->call.args, entry->args, sizeof entry->args);
    context->call.space = &pp_shim.space;
    context->call.task = &context->task;
    context->call.attribute_fetched = 0;
    context->call.places[0].where = PP_REAL;
    pp_on_stack(context->stack + PP_STACK_SIZE, run, context);
    struct pp_result result = {context->value, (int32_t)context->verdict, context->learn};
    if (context->verdict == PP_DEFERRED)
        result.value = context->call.places[0].where == PP_VIRTUAL &&
                       pp_type(&context->call.places[0]) != PP_TYPE_FIFO;
    set_mask(&before, NULL);
    if (context->verdict == PP_REDIRECT) {
        result.value = redirect(context);
        result.verdict = result.value == -ENOENT ? PP_DEFERRED : PP_ANSWERED;
        if (result.verdict == PP_DEFERRED)
            result.value = 0;
        return result;
    }
    if (context->verdict == PP_EXECUTE) {
        result.value = execute(context, entry);
        result.verdict = result.value == -ENOENT ? PP_DEFERRED : PP_ANSWERED;
    }
    pp_release(context->busy);
    return result;
}

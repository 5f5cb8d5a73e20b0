/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The whole brain, on a stack of ours, with the program's signals held back meanwhile.
 */
#include <asm/signal.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>

#include "core/deciders.h"
#include "shim/shim.h"

#define LOADER "/ld-linux"
#define TRIES 64 /* a path leads through no more catalogs that have to be put at hand */

static struct pp_desk desks[PP_DESKS];

/* Put at hand what the brain asks for, if the board has it. */
static int supply(const struct pp_place *place)
{
    switch (place->need) {
    case PP_NEEDS_CATALOG:
        return pp_tables_catalog(place->mount, place->walk.hash);
    case PP_NEEDS_MOUNT:
        return place->mount->snapshot ? -1 : pp_tables_mount(place->mount);
    default:
        return -1;
    }
}

/* Learning what a descriptor, or the working directory, is */

/* Whether real paths from a directory on may lead to what only the brain understands: through
 * /proc, or to a mount point in it. */
static int is_devious(const struct pp_mounts *mounts, const char *path)
{
    if (pp_starts_with(path, "/proc", 5) || pp_starts_with(path, "/dev", 4))
        return 1;
    const size_t length = path[1] ? pp_length(path) : 0;
    for (uint64_t slot = 0; slot <= mounts->mask; slot++) {
        const struct pp_mount *mount = mounts->slots[slot].mount;
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

/* Whether it is known from now on. */
static int learn(struct pp_desk *desk, int descriptor)
{
    struct pp_place *place = &desk->call.places[0];
    struct stat *status = (void *)desk->call.buffer;
    const struct pp_cwd_epoch epoch = pp_cwd_now();
    struct pp_spot spot = {0};

    if (descriptor != PP_CWD &&
        (pp_gate(__NR_fstat, (uint64_t)descriptor, (uint64_t)status, 0, 0, 0) < 0 ||
         !is_one(status)))
        return 0;
    for (int i = 0; i < TRIES; i++) {
        pp_resolve(place, desk->call.space, &desk->task, descriptor, "", PP_NOFOLLOW);
        if (place->where != PP_MISSING || supply(place))
            break;
    }
    if (desk->unsure)
        return 0;
    if (place->where == PP_VIRTUAL) {
        const struct pp_walk *walk = &place->walk;
        spot = (struct pp_spot){place->mount, {walk->index, walk->record, walk->hash}};
    } else if (place->where != PP_REAL || place->path[0] != '/' ||
               is_devious(desk->call.space->mounts, place->path)) {
        return 0;
    }
    if (descriptor == PP_CWD) {
        if (spot.mount && pp_type_of(spot.found.record) != PP_TYPE_DIRECTORY)
            return 0;
        pp_cwd_keep(epoch, &spot, place->walk.path);
        return 1;
    }
    pp_identity_keep(status, &spot);
    return 1;
}

/* Carrying out */

static enum pp_verdict open_view(struct pp_desk *desk)
{
    struct pp_call *call = &desk->call;
    const struct pp_walk *walk = &call->asking->walk;
    const struct pp_spot spot = {call->asking->mount, {walk->index, walk->record, walk->hash}};
    const uint32_t type = pp_type_of(walk->record);

    if (type != PP_TYPE_DIRECTORY && type != PP_TYPE_REGULAR)
        return PP_LEFT; /* it might wait */
    desk->value = pp_gate(__NR_openat, (uint64_t)AT_FDCWD, (uint64_t)call->file,
                          (uint64_t)call->open_flags, 0, 0);
    if (desk->value == -ENOENT)
        return PP_LEFT;
    pp_touch(pp_shim.shared, &spot.found, PP_TOUCH_OPENED);
    return desk->value >= 0 && pp_verify_view(desk->value, &spot, (void *)call->buffer) ? PP_LEFT
                                                                                        : PP_DONE;
}

static enum pp_verdict change(struct pp_desk *desk)
{
    struct pp_call *call = &desk->call;

    if (call->number != __NR_chdir || !call->asking || call->asking->need != PP_NEEDS_VIEW)
        return PP_LEFT;
    desk->value = pp_gate(__NR_chdir, (uint64_t)call->changes[0].data, 0, 0, 0, 0);
    return desk->value == -ENOENT || desk->value == -ENOTDIR ? PP_LEFT : PP_DONE;
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
    struct pp_desk *desk = argument;
    struct pp_call *call = &desk->call;

    desk->verdict = PP_LEFT;
    if (pp_tables_update())
        return 0;
    if (desk->learn != PP_NOTHING_TO_LEARN && learn(desk, desk->learn))
        return 0;
    desk->learn = PP_NOTHING_TO_LEARN;
    for (int i = 0; i < TRIES; i++) {
        const enum pp_action action = pp_decide(call);
        if (desk->unsure)
            return 0;
        switch (action) {
        case PP_RUN:
            desk->verdict = PP_NATIVE;
            return 0;
        case PP_RETURN:
            desk->value = call->value;
            desk->verdict = PP_DONE;
            if (call->places[0].where == PP_VIRTUAL && desk->value >= 0) {
                const struct pp_walk *walk = &call->places[0].walk;
                pp_touch(pp_shim.shared, &(struct pp_found){walk->index, walk->record, walk->hash},
                         0);
            }
            return 0;
        case PP_OPEN:
            desk->verdict = open_view(desk);
            return 0;
        case PP_CHANGE:
            desk->verdict = change(desk);
            return 0;
        case PP_EXEC:
            desk->verdict = is_simple(call) ? PP_EXECUTE : PP_LEFT;
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

/* Run the program in call.file. The desk has its name, and is not needed any more once it runs: of
 * a vfork child that has succeeded the kernel itself says so, to the parent. */
static __attribute__((noinline)) int64_t execute(struct pp_desk *desk, const struct pp_entry *entry)
{
    const int is_at = (int)entry->number == __NR_execveat;
    const uint64_t *args = entry->args + is_at;
    const int is_borrowed = !pp_is_owner();
    const uint32_t process = (uint32_t)pp_gate(__NR_getpid, 0, 0, 0, 0, 0);

    if (is_borrowed)
        pp_gate(__NR_set_tid_address, (uint64_t)desk->busy, 0, 0, 0, 0);
    __atomic_store_n(&pp_shim.shared->programs[process % PP_PROGRAMS], process, __ATOMIC_RELAXED);
    const int64_t value = pp_gate(__NR_execve, (uint64_t)desk->call.file, args[1], args[2], 0, 0);
    if (is_borrowed)
        pp_gate(__NR_set_tid_address, 0, 0, 0, 0, 0);
    return value;
}

static struct pp_result leave(int is_virtual)
{
    return (struct pp_result){is_virtual, PP_LEFT, PP_NOTHING_TO_LEARN};
}

struct pp_result pp_think(const struct pp_entry *entry, int32_t learned)
{
    /* What a bad pointer of the program's leads to is the program's. */
    const uint64_t held = ~(UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGBUS - 1));
    uint64_t before;

    const int which = pp_take(pp_shim.wiped->desks, PP_DESKS);
    if (which < 0)
        return leave(0);
    struct pp_desk *desk = &desks[which];
    set_mask(&held, &before);
    pp_self_operations(&desk->operations);
    desk->task.operations = &desk->operations;
    desk->unsure = 0;
    desk->busy = &pp_shim.wiped->desks[which];
    desk->learn = learned;
    desk->call.number = (int)entry->number;
    __builtin_memcpy(desk->call.args, entry->args, sizeof entry->args);
    desk->call.space = &pp_shim.space;
    desk->call.task = &desk->task;
    desk->call.asked = 0;
    desk->call.places[0].where = PP_REAL;
    pp_on_stack(desk->stack + PP_STACK_SIZE, run, desk);
    struct pp_result result = {desk->value, (int32_t)desk->verdict, desk->learn};
    if (desk->verdict == PP_LEFT)
        result.value = desk->call.places[0].where == PP_VIRTUAL;
    set_mask(&before, NULL);
    if (desk->verdict == PP_EXECUTE) {
        result.value = execute(desk, entry);
        result.verdict = result.value == -ENOENT ? PP_LEFT : PP_DONE;
    }
    pp_release(desk->busy);
    return result;
}

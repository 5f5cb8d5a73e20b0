/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The steps of a call, the same for every engine: received, seen by the hook, decided, carried out.
 * The rules are those of engine.h.
 */
#include "engine/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file_types.h"
#include "core/view.h"
#include "shim/touch.h"
#include "task/descriptors.h"

#define MADE_MAX 100   /* views that are made for one call */
#define ASKED_MAX 8192 /* of all needs of one call: a path has no more components */
#define IDLE_AT_MOST 8 /* workers that wait for a call */

static int is_waiting(struct pp_remote_task *task)
{
    struct pp_worker *worker = (struct pp_worker *)task;
    return worker->engine->operations->is_waiting(worker);
}

void pp_worker_init(struct pp_worker *worker, struct pp_engine *engine, uint32_t number)
{
    worker->task.task.operations = &pp_remote_operations;
    worker->task.is_waiting = is_waiting;
    worker->task.family = &engine->family;
    worker->task.roots_differ = &engine->memory->roots_differ;
    worker->slot = &engine->memory->workers[number];
    worker->task.moved = &worker->slot->moved;
    worker->engine = engine;
    worker->view = -1;
    worker->call.space = engine->space;
    worker->call.task = &worker->task.task;
}

struct pp_call *pp_worker_call(struct pp_worker *worker)
{
    return &worker->call;
}

int pp_become_subreaper(void)
{
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) ? -errno : 0;
}

/* The ends of a call */

void pp_worker_return(struct pp_worker *worker, int64_t value)
{
    worker->slot->counters.answered++;
    worker->engine->operations->return_value(worker, value);
}

void pp_worker_give_file(struct pp_worker *worker, int descriptor, int flags)
{
    worker->slot->counters.opened++;
    const int error = worker->engine->operations->give_file(worker, descriptor, flags);
    if (error)
        pp_worker_return(worker, error);
}

static void let_run(struct pp_worker *worker)
{
    worker->slot->counters.ran++;
    worker->engine->operations->let_run(worker);
}

static void run_otherwise(struct pp_worker *worker, enum pp_action action)
{
    const struct pp_engine_operations *operations = worker->engine->operations;

    worker->slot->counters.changed++;
    const int error =
        action == PP_EXEC ? operations->run_program(worker) : operations->run_changed(worker);
    if (error)
        pp_worker_return(worker, error);
}

/* Events */

void pp_worker_tell(struct pp_worker *worker, const struct pp_event *event)
{
    worker->event = *event;
}

static enum pp_event_kind need(struct pp_worker *worker, enum pp_need what)
{
    worker->slot->counters.asked++;
    if (++worker->asked > ASKED_MAX ||
        ((what == PP_NEEDS_VIEW || what == PP_NEEDS_PROGRAM) && ++worker->made > MADE_MAX)) {
        pp_worker_return(worker, -EIO); /* it is gone or spoilt as soon as it is there */
        return PP_EVENT_NONE;
    }
    worker->event = (struct pp_event){.kind = PP_EVENT_NEED, .need = what};
    return PP_EVENT_NEED;
}

/* Carrying out. These give what has to be done in Python before the call can end, if anything. */

static int has_status(const struct pp_worker *worker, const struct stat *status)
{
    const struct pp_view_status seen = {status->st_mode, (uint64_t)status->st_size,
                                        status->st_mtim.tv_sec};
    /* What others can write to, or have made, is none of ours. (Of a link all have all rights.) */
    if (status->st_uid != geteuid() ||
        (!S_ISLNK(status->st_mode) && status->st_mode & (S_IWGRP | S_IWOTH)))
        return 0;
    return pp_view_is_intact(worker->call.asking->walk.record, seen, worker->engine->mark);
}

static int is_intact(const struct pp_worker *worker, int view)
{
    struct stat status;
    return fstat(view, &status) == 0 && has_status(worker, &status);
}

/* The same of a view that the task is to find by its path. */
static int is_intact_at(const struct pp_worker *worker, const char *path)
{
    struct stat status;
    return fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           has_status(worker, &status);
}

static enum pp_event_kind give_view(struct pp_worker *worker)
{
    pp_worker_give_file(worker, worker->view, worker->call.open_flags);
    worker->view = -1;
    return PP_EVENT_NONE;
}

/* Whether the open of a view has failed for what lay there, though it is intact now: that may have
 * come since, by another worker or another run. (ENXIO is what an intact FIFO gives.) */
static int is_about_view(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EACCES;
}

static enum pp_event_kind open_view(struct pp_worker *worker)
{
    const struct pp_call *call = &worker->call;
    struct pp_hook *hook = worker->engine->hook;

    /* What was damaged in the cache may be a FIFO now: no open waits here. The task gets the flags
     * that it has given. */
    const int view =
        PP_DESCRIPTOR(open(call->file, call->open_flags | O_CLOEXEC | O_NONBLOCK | PP_UNANSWERED));
    if (view < 0) {
        const int error = errno;
        if (is_about_view(error) || !is_intact_at(worker, call->file))
            return need(worker, PP_NEEDS_VIEW);
        pp_worker_return(worker, -error);
        return PP_EVENT_NONE;
    }
    if (!is_intact(worker, view)) {
        close(view);
        unlink(call->file);
        return need(worker, PP_NEEDS_VIEW);
    }
    const struct pp_walk *walk = &call->asking->walk;
    pp_touch(worker->engine->shared, &(struct pp_found){walk->index, walk->record, walk->hash},
             PP_TOUCH_OPENED);
    if (hook && hook->opened(hook, worker, view) == PP_HOOK_ENDED) {
        close(view);
        return PP_EVENT_NONE;
    }
    worker->view = view;
    worker->stage = PP_STAGE_GIVE;
    return worker->event.kind == PP_EVENT_NONE ? give_view(worker) : worker->event.kind;
}

/* Say that a view may be open for writing from now on (shim/fast_path.c). */
static void notice_pipe(const struct pp_worker *worker)
{
    const struct pp_place *place = worker->call.asking;
    struct pp_shared_usage *shared = worker->engine->shared;

    if (shared && place && place->where == PP_VIRTUAL &&
        (place->walk.record->mode & PP_TYPE_MASK) == PP_TYPE_FIFO)
        __atomic_store_n(&shared->pipes, 1, __ATOMIC_RELAXED);
}

static enum pp_event_kind carry_out(struct pp_worker *worker, enum pp_action action)
{
    struct pp_call *call = &worker->call;

    if (action == PP_OPEN || action == PP_CHANGE)
        notice_pipe(worker);
    switch (action) {
    case PP_RETURN:
        pp_worker_return(worker, call->value);
        break;
    case PP_OPEN:
        return open_view(worker);
    case PP_CHANGE:
        if (call->asking && call->asking->need == PP_NEEDS_VIEW &&
            !is_intact_at(worker, call->changes[0].data))
            return need(worker, PP_NEEDS_VIEW);
        run_otherwise(worker, action);
        break;
    case PP_EXEC:
        run_otherwise(worker, action);
        break;
    case PP_ASK:
        return need(worker, call->asking->need);
    default:
        let_run(worker);
    }
    return PP_EVENT_NONE;
}

/* Some calls change what other calls mean. */
static void take_notice(struct pp_worker *worker)
{
    struct pp_engine *engine = worker->engine;
    struct pp_shared_state *state = engine->state;
    const struct pp_spec *spec = pp_spec_of(worker->call.number);
    const uint64_t flags = worker->call.args[0];

    switch (spec ? spec->operation : PP_OP_NONE) {
    case PP_OP_UNSHARE:
        if (state && flags & (CLONE_FS | CLONE_NEWNS | CLONE_NEWUSER))
            pp_shared_state_set(state, PP_SHARED_CWD_APART);
        if (!(flags & (CLONE_NEWNS | CLONE_NEWUSER)))
            break;
        /* fall through */
    case PP_OP_CLONE: /* only those that make a mount namespace get here */
    case PP_OP_CHROOT:
    case PP_OP_PIVOT_ROOT:
    case PP_OP_MOUNT: /* a namespace of its own shows only now: clone3's flags are not looked at */
    case PP_OP_SETNS:
        __atomic_store_n(&engine->memory->roots_differ, 1, __ATOMIC_RELAXED);
        /* fall through */
    case PP_OP_CHDIR:
        if (state)
            pp_shared_state_moved(state);
        break;
    case PP_OP_PRCTL: /* only what sets a filter gets here */
    case PP_OP_SECCOMP:
        if (state)
            __atomic_add_fetch(&state->filters, 1, __ATOMIC_RELEASE);
        /* fall through */
    case PP_OP_PTRACE:
        __atomic_store_n(&engine->memory->tasks_differ, 1, __ATOMIC_RELAXED);
        break;
    }
}

void pp_worker_received(struct pp_worker *worker, pid_t task, int number, uint64_t instruction)
{
    worker->task.number = task;
    worker->instruction = instruction;
    worker->call.number = number;
    worker->call.attribute_fetched = 0;
    worker->made = worker->asked = 0;
    worker->slot->counters.calls++;
    worker->stage = PP_STAGE_RECEIVED;
    take_notice(worker);
}

/* Whether the worker's thread may end: threads come when all others are busy. */
static int is_spare(const struct pp_worker *worker)
{
    return __atomic_load_n(&worker->engine->idle, __ATOMIC_RELAXED) >= IDLE_AT_MOST;
}

void pp_worker_rest(struct pp_worker *worker)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t start = ((uintptr_t)&worker->call + page - 1) & ~(page - 1);
    const uintptr_t end = (uintptr_t)(&worker->call + 1) & ~(page - 1);

    madvise((void *)start, end - start, MADV_DONTNEED);
    worker->call.space = worker->engine->space;
    worker->call.task = &worker->task.task;
}

/* One step on the way of a call. */
static enum pp_event_kind step(struct pp_worker *worker)
{
    struct pp_engine *engine = worker->engine;
    enum pp_event_kind kind = PP_EVENT_NONE;

    switch (worker->stage) {
    case PP_STAGE_NO_CALL:
        if (is_spare(worker))
            return PP_EVENT_SPARE;
        return engine->operations->receive(worker) ? PP_EVENT_END : PP_EVENT_NONE;
    case PP_STAGE_RECEIVED:
        worker->stage = PP_STAGE_DECIDE;
        if (engine->hook && engine->hook->received(engine->hook, worker) == PP_HOOK_ENDED)
            worker->stage = PP_STAGE_NO_CALL;
        return worker->event.kind;
    case PP_STAGE_DECIDE:
        kind = carry_out(worker, pp_decide(&worker->call));
        break;
    case PP_STAGE_GIVE:
        kind = give_view(worker);
        break;
    }
    if (kind == PP_EVENT_NONE)
        worker->stage = PP_STAGE_NO_CALL;
    return kind;
}

const struct pp_event *pp_worker_serve(struct pp_worker *worker)
{
    worker->event.kind = PP_EVENT_NONE;
    enum pp_event_kind kind;
    do
        kind = step(worker);
    while (kind == PP_EVENT_NONE);
    worker->event.kind = kind;
    return &worker->event;
}

void pp_worker_refuse(struct pp_worker *worker, int error)
{
    pp_worker_return(worker, -error);
    worker->stage = PP_STAGE_NO_CALL;
}

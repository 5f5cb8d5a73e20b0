/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libc/libc_substitution.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/text.h"
#include "engine/worker.h"
#include "libc/linker_patch.h"
#include "task/proc.h"

#define LIST "/etc/ld.so.preload"
#define LINKER_SIZE 0x30000u /* the code of a dynamic linker is no larger */
#define LINKER_FLAGS (O_RDONLY | O_CLOEXEC)

static int ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

static int64_t read_path(struct pp_worker *worker, int argument)
{
    struct pp_call *call = &worker->call;
    return call->task->operations->read_text(call->task, call->args[argument], call->given[0],
                                             PP_PATH_MAX);
}

/* Processes that start */

static struct pp_start *start_of(struct pp_substitution *substitution,
                                 const struct pp_worker *worker)
{
    return &substitution->starts[(unsigned)pp_task_number(worker) % PP_STARTS];
}

static int has_begun(struct pp_substitution *substitution, const struct pp_worker *worker)
{
    return __atomic_load_n(&start_of(substitution, worker)->task, __ATOMIC_ACQUIRE) ==
           (uint64_t)pp_task_number(worker);
}

static void begin(struct pp_substitution *substitution, const struct pp_worker *worker)
{
    struct pp_start *start = start_of(substitution, worker);
    __atomic_store_n(&start->address, worker->instruction, __ATOMIC_RELAXED);
    start->calls = 0;
    start->stage = PP_LINKER_PLAIN;
    __atomic_store_n(&start->task, (uint64_t)pp_task_number(worker), __ATOMIC_RELEASE);
}

/* The program has its libc, or goes without a shim. */
static void end(struct pp_substitution *substitution, const struct pp_worker *worker)
{
    __atomic_store_n(&start_of(substitution, worker)->task, 0, __ATOMIC_RELAXED);
}

/* Whether the call comes from the code of a dynamic linker that has begun. */
static int is_linker(struct pp_substitution *substitution, const struct pp_worker *worker)
{
    const struct pp_start *start = start_of(substitution, worker);

    return has_begun(substitution, worker) &&
           worker->instruction - __atomic_load_n(&start->address, __ATOMIC_RELAXED) + LINKER_SIZE <
               2 * LINKER_SIZE;
}

static int is_limited(pid_t task, int resource)
{
    struct rlimit limit;
    return prlimit(task, resource, NULL, &limit) || limit.rlim_cur != RLIM_INFINITY;
}

/* Why the program may have no shim; NULL if it may. A program with little memory is not to find
 * less of it than without a shim; a filter of its own may not allow what a shim does; and a tracer
 * wants to see its calls. */
static const char *unfitness(const struct pp_substitution *substitution,
                             const struct pp_worker *worker)
{
    const pid_t task = pp_task_number(worker);

    if (is_limited(task, RLIMIT_AS) || is_limited(task, RLIMIT_DATA))
        return "its memory is limited";
    if (!__atomic_load_n(&worker->engine->memory->tasks_differ, __ATOMIC_RELAXED))
        return NULL;
    char status[4096];
    pp_proc_read(task, "status", status, sizeof status);
    const char *filters = strstr(status, "\nSeccomp_filters:");
    const char *tracer = strstr(status, "\nTracerPid:");
    if (!filters || strtoul(filters + 17, NULL, 10) > substitution->filters)
        return "it has a seccomp filter of its own";
    return !tracer || strtoul(tracer + 11, NULL, 10) ? "it is traced" : NULL;
}

/* Files */

/* Give the task the file at a path of this process. */
static enum pp_hook_result give(struct pp_worker *worker, const char *path)
{
    const int opened = open(path, LINKER_FLAGS | PP_UNANSWERED);
    if (opened < 0)
        return PP_HOOK_PASSED;
    pp_worker_give_file(worker, opened, LINKER_FLAGS);
    return PP_HOOK_ENDED;
}

/* Give the task a new open file of the shared state. */
static enum pp_hook_result give_state(const struct pp_substitution *substitution,
                                      struct pp_worker *worker)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", substitution->state);
    return give(worker, path);
}

static int is_libc(const char *path)
{
    return strncmp(pp_base_name(path), "libc.so.", 8) == 0;
}

static int64_t nanoseconds(const struct timespec *time)
{
    return time->tv_sec * INT64_C(1000000000) + time->tv_nsec;
}

static const struct pp_copy *find_copy(const struct pp_substitution *substitution,
                                       const struct stat *status)
{
    const uint32_t count = __atomic_load_n(&substitution->copies_count, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < count; i++) {
        const struct pp_copy *copy = &substitution->copies[i];
        if (copy->inode == status->st_ino && copy->device == status->st_dev &&
            copy->size == (uint64_t)status->st_size &&
            copy->modified == nanoseconds(&status->st_mtim) &&
            copy->changed == nanoseconds(&status->st_ctim))
            return copy;
    }
    return NULL;
}

/* Have Python inspect a libc that has no copy yet. It gets an open file of it, since the task's
 * root may be another one. */
static void tell_of_library(struct pp_worker *worker, int libc)
{
    if (worker->event.kind != PP_EVENT_NONE)
        return;
    const int library = fcntl(libc, F_DUPFD_CLOEXEC, 0);
    if (library >= 0)
        pp_worker_tell(worker, &(struct pp_event){.kind = PP_EVENT_LIBRARY, .library = library});
}

static void tell_of_unfitness(struct pp_worker *worker, const char *why)
{
    pp_worker_tell(worker, &(struct pp_event){
                               .kind = PP_EVENT_LOG, .task = pp_task_number(worker), .text = why});
}

/* Give the task the copy of the libc that is open here, which stays the caller's. Once in a
 * program: another libc in it (dlmopen) would not know what happens in the first. */
static enum pp_hook_result give_copy(struct pp_substitution *substitution, struct pp_worker *worker,
                                     int libc)
{
    struct stat status;

    const char *why = unfitness(substitution, worker);
    if (why) {
        end(substitution, worker);
        if (substitution->tells)
            tell_of_unfitness(worker, why);
        return PP_HOOK_PASSED;
    }
    if (fstat(libc, &status) || !S_ISREG(status.st_mode))
        return PP_HOOK_PASSED;
    const struct pp_copy *copy = find_copy(substitution, &status);
    if (copy && copy->file && give(worker, copy->file) == PP_HOOK_ENDED) {
        end(substitution, worker);
        return PP_HOOK_ENDED;
    }
    if (!copy && substitution->copies_count < PP_COPIES_MAX)
        tell_of_library(worker, libc);
    return PP_HOOK_PASSED;
}

/* A libc that is opened by its path as a real file; one in a repository comes by `opened`. */
static enum pp_hook_result give_real_copy(struct pp_substitution *substitution,
                                          struct pp_worker *worker)
{
    const int libc = pp_remote_open_file(&worker->task, worker->call.given[0]);
    if (libc < 0)
        return PP_HOOK_PASSED;
    const enum pp_hook_result result = pp_proc_may_read(pp_task_number(worker), libc)
                                           ? give_copy(substitution, worker, libc)
                                           : PP_HOOK_PASSED;
    close(libc);
    return result;
}

/* Whether a relative path would start at the working directory. */
static int is_from_cwd(const struct pp_call *call, const struct pp_spec *spec)
{
    return spec->descriptor == PP_NONE || (int)call->args[spec->descriptor] == AT_FDCWD;
}

/* A linker that has many look-ups to make gets a shim of its own. */
static void see_look_up(struct pp_substitution *substitution, struct pp_worker *worker,
                        int is_search)
{
    struct pp_start *start = start_of(substitution, worker);

    start->calls++;
    if (start->stage != PP_LINKER_PLAIN || !pp_linker_is_worth_it(start, is_search))
        return;
    start->stage = PP_LINKER_LEFT;
    if (!unfitness(substitution, worker))
        pp_linker_patch(substitution, worker, start);
}

/* The shim that the linker has got can't be used there. */
static enum pp_hook_result see_failure(struct pp_substitution *substitution,
                                       struct pp_worker *worker)
{
    struct pp_start *start = start_of(substitution, worker);

    if (start->stage == PP_LINKER_PATCHED)
        pp_linker_restore(substitution, worker, start);
    pp_worker_return(worker, -ENOENT);
    return PP_HOOK_ENDED;
}

/* Whether a dynamic linker that has begun opens a library: by its own call, or by one of the shim
 * in it. */
static int opens_library(struct pp_substitution *substitution, const struct pp_worker *worker,
                         const struct pp_spec *spec)
{
    return is_linker(substitution, worker) ||
           (worker->call.args[spec->flags + 1] == PP_LINKER_LIBC_MODE &&
            has_begun(substitution, worker));
}

/* open or openat; openat2, whose flags are in memory, is no call of a dynamic linker. */
static enum pp_hook_result see_open(struct pp_substitution *substitution, struct pp_worker *worker,
                                    const struct pp_spec *spec)
{
    const struct pp_call *call = &worker->call;
    const char *path = call->given[0];

    if (spec->flags == PP_NONE || call->args[spec->flags] != LINKER_FLAGS ||
        !is_from_cwd(call, spec))
        return PP_HOOK_PASSED;
    const uint64_t mode = call->args[spec->flags + 1];
    if (mode == PP_SHARED_STATE_MODE && read_path(worker, spec->path) >= 0 &&
        strcmp(path, PP_SHARED_STATE_PATH) == 0)
        return give_state(substitution, worker);
    if (mode == PP_LINKER_FAILED_MODE && has_begun(substitution, worker))
        return see_failure(substitution, worker);
    if (!opens_library(substitution, worker, spec) || read_path(worker, spec->path) < 0)
        return PP_HOOK_PASSED;
    if (is_linker(substitution, worker))
        see_look_up(substitution, worker, pp_is_search(path));
    return path[0] == '/' && is_libc(path) ? give_real_copy(substitution, worker) : PP_HOOK_PASSED;
}

static void write_name(struct pp_worker *worker)
{
    struct pp_call *call = &worker->call;

    const uint64_t address = pp_proc_execfn(pp_task_number(worker));
    if (!address ||
        call->task->operations->read_text(call->task, address, call->file, PP_PATH_MAX) < 0)
        return;
    const int64_t length = pp_shown(call->space, call->file, call->buffer, PP_PATH_MAX);
    if (length >= 0 && (size_t)length <= strlen(call->file))
        call->task->operations->write(call->task, address, call->buffer, (size_t)length + 1);
}

/* Let a program that runs from its view know itself by its own name. */
static void name_program(struct pp_worker *worker)
{
    uint32_t process = (uint32_t)pp_task_number(worker);
    uint32_t *place = &worker->engine->shared->programs[process % PP_PROGRAMS];

    if (__atomic_load_n(place, __ATOMIC_RELAXED) != process)
        return;
    write_name(worker);
    /* Only now: if this process is killed before, the next supervisor sees the call once more. */
    __atomic_compare_exchange_n(place, &process, 0, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

/* The linker's first call: access, or faccessat on a CPU without it. It is answered like any
 * other. */
static void see_access(struct pp_substitution *substitution, struct pp_worker *worker,
                       const struct pp_spec *spec)
{
    const struct pp_call *call = &worker->call;

    if (spec->flags != PP_NONE || call->args[spec->value] != R_OK || !is_from_cwd(call, spec) ||
        read_path(worker, spec->path) < 0 || !ends_with(call->given[0], LIST))
        return;
    begin(substitution, worker);
    name_program(worker);
}

/* The hook */

static enum pp_hook_result received(struct pp_hook *hook, struct pp_worker *worker)
{
    struct pp_substitution *substitution = (struct pp_substitution *)hook;
    const struct pp_spec *spec = pp_spec_of(worker->call.number);

    switch (spec ? spec->operation : PP_OP_NONE) {
    case PP_OP_ACCESS:
        see_access(substitution, worker, spec);
        return PP_HOOK_PASSED;
    case PP_OP_OPEN:
        return see_open(substitution, worker, spec);
    case PP_OP_STAT:
        if (is_linker(substitution, worker))
            see_look_up(substitution, worker, 0);
        return PP_HOOK_PASSED;
    default:
        return PP_HOOK_PASSED;
    }
}

static enum pp_hook_result opened(struct pp_hook *hook, struct pp_worker *worker, int view)
{
    struct pp_substitution *substitution = (struct pp_substitution *)hook;

    if (worker->call.open_flags != LINKER_FLAGS ||
        !opens_library(substitution, worker, pp_spec_of(worker->call.number)) ||
        !is_libc(worker->call.given[0]))
        return PP_HOOK_PASSED;
    return give_copy(substitution, worker, view);
}

void pp_substitution_register(struct pp_substitution *substitution, struct pp_engine *engine)
{
    substitution->hook = (struct pp_hook){.received = received, .opened = opened};
    engine->hook = &substitution->hook;
}

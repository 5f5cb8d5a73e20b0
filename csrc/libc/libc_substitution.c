/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libc/libc_substitution.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/text.h"
#include "engine/worker.h"
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

static struct pp_start *start_of(const struct pp_worker *worker)
{
    return &worker->engine->substitution->starts[(unsigned)pp_task_number(worker) % PP_STARTS];
}

static void begin(const struct pp_worker *worker)
{
    struct pp_start *start = start_of(worker);
    __atomic_store_n(&start->address, worker->notification.data.instruction_pointer,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&start->task, (uint64_t)pp_task_number(worker), __ATOMIC_RELEASE);
}

/* Whether the call comes from the code of a dynamic linker that has begun. */
static int is_linker(const struct pp_worker *worker)
{
    const struct pp_start *start = start_of(worker);
    const uint64_t address = worker->notification.data.instruction_pointer;

    return __atomic_load_n(&start->task, __ATOMIC_ACQUIRE) == (uint64_t)pp_task_number(worker) &&
           address - __atomic_load_n(&start->address, __ATOMIC_RELAXED) + LINKER_SIZE <
               2 * LINKER_SIZE;
}

static int is_limited(pid_t task, int resource)
{
    struct rlimit limit;
    return prlimit(task, resource, NULL, &limit) || limit.rlim_cur != RLIM_INFINITY;
}

/* Why the program may have no shim; NULL if it may. With little memory it shall not find less of it
 * than without us; a filter of its own may not allow what a shim does; and who traces it wants to
 * see its calls. */
static const char *unfitness(const struct pp_worker *worker)
{
    const struct pp_engine *engine = worker->engine;
    const pid_t task = pp_task_number(worker);

    if (is_limited(task, RLIMIT_AS) || is_limited(task, RLIMIT_DATA))
        return "its memory is limited";
    if (!__atomic_load_n(&engine->tasks_differ, __ATOMIC_RELAXED))
        return NULL;
    char status[4096];
    pp_proc_read(task, "status", status, sizeof status);
    const char *filters = strstr(status, "\nSeccomp_filters:");
    const char *tracer = strstr(status, "\nTracerPid:");
    if (!filters || strtoul(filters + 17, NULL, 10) > engine->substitution->filters)
        return "it has a seccomp filter of its own";
    return !tracer || strtoul(tracer + 11, NULL, 10) ? "it is traced" : NULL;
}

/* Files */

/* Give the task a new open file of one that we have open. */
static enum pp_serving give_again(struct pp_worker *worker, int descriptor)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    const int opened = open(path, LINKER_FLAGS);
    if (opened < 0)
        return PP_NOT_SERVED;
    worker->counters.opened++;
    pp_worker_give_file(worker, opened, LINKER_FLAGS);
    return PP_SERVED;
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

/* Give the task the copy of the libc that is open here, which is the caller's still if
 * PP_NOT_SERVED comes back. Once in a program: another libc in it (dlmopen) would not know what
 * happens in the first. */
static enum pp_serving serve_copy(struct pp_worker *worker, int libc)
{
    struct pp_call *call = &worker->call;
    const struct pp_substitution *substitution = worker->engine->substitution;
    struct stat status;

    const char *why = unfitness(worker);
    if (why) {
        __atomic_store_n(&start_of(worker)->task, 0, __ATOMIC_RELAXED);
        if (!substitution->tells || call->asked)
            return PP_NOT_SERVED;
        close(libc);
        strcpy(call->text, why);
        call->answer = pp_task_number(worker);
        return PP_UNFIT;
    }
    if (fstat(libc, &status) || !S_ISREG(status.st_mode))
        return PP_NOT_SERVED;
    const struct pp_copy *copy = find_copy(substitution, &status);
    const int opened = copy && copy->file ? open(copy->file, LINKER_FLAGS) : -1;
    if (opened >= 0) {
        close(libc);
        __atomic_store_n(&start_of(worker)->task, 0, __ATOMIC_RELAXED);
        worker->counters.opened++;
        pp_worker_give_file(worker, opened, LINKER_FLAGS);
        return PP_SERVED;
    }
    if (copy || substitution->copies_count >= PP_COPIES_MAX || call->asked)
        return PP_NOT_SERVED;
    /* Whoever looks at it has it through us: the task's root may be another one. */
    call->answer = libc;
    return PP_UNPATCHED;
}

static enum pp_serving serve_libc(struct pp_worker *worker)
{
    const int real = pp_remote_open(worker->call.task, worker->call.given[0], O_RDONLY, 0);
    if (real < 0)
        return PP_NOT_SERVED; /* one in a repository comes later: pp_substitution_replace */
    const enum pp_serving serving = serve_copy(worker, real);
    if (serving == PP_NOT_SERVED)
        close(real);
    return serving;
}

static enum pp_serving serve_open(struct pp_worker *worker)
{
    const struct pp_call *call = &worker->call;
    const char *path = call->given[0];
    const int is_at = call->number == SYS_openat;

    if (call->args[is_at + 1] != LINKER_FLAGS || (is_at && (int)call->args[0] != AT_FDCWD))
        return PP_NOT_SERVED;
    if (call->args[is_at + 2] == PP_SHARED_STATE_MODE && read_path(worker, is_at) >= 0 &&
        strcmp(path, PP_SHARED_STATE_PATH) == 0)
        return give_again(worker, worker->engine->substitution->state);
    if (!is_linker(worker) || read_path(worker, is_at) < 0 || path[0] != '/' || !is_libc(path))
        return PP_NOT_SERVED;
    return serve_libc(worker);
}

/* A program that runs from its view shall know itself by its own name. */
static void name_program(struct pp_worker *worker)
{
    struct pp_call *call = &worker->call;
    struct pp_shared_usage *shared = worker->engine->shared;
    const uint32_t process = (uint32_t)pp_task_number(worker);
    uint32_t *place = &shared->programs[process % PP_PROGRAMS];

    if (__atomic_load_n(place, __ATOMIC_RELAXED) != process)
        return;
    __atomic_store_n(place, 0, __ATOMIC_RELAXED);
    const uint64_t address = pp_proc_execfn((pid_t)process);
    if (!address ||
        call->task->operations->read_text(call->task, address, call->file, PP_PATH_MAX) < 0)
        return;
    const int64_t length = pp_shown(call->space, call->file, call->buffer, PP_PATH_MAX);
    if (length >= 0 && (size_t)length <= strlen(call->file))
        call->task->operations->write(call->task, address, call->buffer, (size_t)length + 1);
}

/* It is answered like any other call. */
static void notice_access(struct pp_worker *worker)
{
    if (worker->call.args[1] != R_OK || read_path(worker, 0) < 0 ||
        !ends_with(worker->call.given[0], LIST))
        return;
    begin(worker);
    name_program(worker);
}

enum pp_serving pp_substitution_serve(struct pp_worker *worker)
{
    if (worker->engine->substitution->state < 0)
        return PP_NOT_SERVED;
    switch (worker->call.number) {
    case SYS_access:
        notice_access(worker);
        return PP_NOT_SERVED;
    case SYS_open:
    case SYS_openat:
        return serve_open(worker);
    default:
        return PP_NOT_SERVED;
    }
}

enum pp_serving pp_substitution_replace(struct pp_worker *worker, int view)
{
    if (worker->engine->substitution->state < 0 || worker->call.open_flags != LINKER_FLAGS ||
        !is_linker(worker) || !is_libc(worker->call.given[0]))
        return PP_NOT_SERVED;
    return serve_copy(worker, view);
}

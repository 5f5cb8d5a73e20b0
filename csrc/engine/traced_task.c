/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/traced_task.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "task/proc.h"

#define NAME_MAX_SIZE 32
#define YIELDS 1000
#define WAIT_MS 200

/* /proc/PID/mem also writes where the program itself may not: constants are read-only. */
static int open_memory(pid_t task)
{
    return pp_proc_open(task, "mem", O_RDWR);
}

/* Whether the task is in the system call, or about to be; its tracer may stop it on the way. */
static int is_in_call(pid_t task, int number)
{
    char text[128];
    pp_proc_read(task, "syscall", text, sizeof text);
    return strncmp(text, "running", 7) == 0 || (text[0] && strtol(text, NULL, 10) == number);
}

/* Whether the kernel has read the name: the call is over, or has had its effect. */
static int is_done(const struct pp_worker *worker, const char *file)
{
    const struct pp_call *call = &worker->call;
    const pid_t task = pp_task_number(worker);
    char link[PP_PATH_MAX];

    if (pp_spec_of(call->number)->operation == PP_OP_CHDIR) {
        const ssize_t size = pp_proc_link(task, "cwd", link, sizeof link - 1);
        link[size > 0 ? size : 0] = 0;
        if (strcmp(link, file) == 0)
            return 1;
    }
    return !is_in_call(task, call->number);
}

/* Put the old name back soon, since the program may read it again. After an exec the task has
 * another memory, and what is written goes to the old one, which only a vfork parent still has. */
static void restore(const struct pp_worker *worker, int memory, uint64_t address, const char *old,
                    const char *name, size_t size, const char *file)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    char now[NAME_MAX_SIZE];

    /* The answer has put the task on this very CPU, where it waits until this thread yields. */
    sched_yield();
    for (int i = 0; i < YIELDS + WAIT_MS && !is_done(worker, file); i++) {
        if (i < YIELDS)
            sched_yield();
        else
            nanosleep(&pause, NULL);
    }
    /* Only if the new name still stands there: the program may have written something else. */
    if (pread(memory, now, size, (off_t)address) == (ssize_t)size && memcmp(now, name, size) == 0 &&
        pwrite(memory, old, size, (off_t)address) != (ssize_t)size)
        return; /* the memory has gone, and the name with it */
}

/* Whether the path that the program gave leads the kernel to the file by itself: from a working
 * directory in the same view. */
static int leads_there(const struct pp_worker *worker, const char *file)
{
    const struct pp_call *call = &worker->call;
    const struct pp_spec *spec = pp_spec_of(call->number);
    const int is_execveat = spec->operation == PP_OP_EXEC && spec->descriptor != PP_NONE;
    char path[2 * PP_PATH_MAX];
    struct stat given, wanted;

    if (call->given[0][0] == '/' || !call->given[0][0] || is_execveat)
        return 0;
    snprintf(path, sizeof path, "/proc/%d/cwd/%s", pp_task_number(worker), call->given[0]);
    return stat(path, &given) == 0 && stat(file, &wanted) == 0 && given.st_dev == wanted.st_dev &&
           given.st_ino == wanted.st_ino;
}

/* Put the name of the descriptor that the task was given over the path in its memory, and let the
 * call run: 0 or -errno. */
static int run_with_descriptor(struct pp_worker *worker, uint64_t address, int given,
                               const char *file)
{
    const struct pp_engine_operations *operations = worker->engine->operations;
    char name[NAME_MAX_SIZE], old[NAME_MAX_SIZE];
    int result = -EPERM;

    const size_t size = (size_t)snprintf(name, sizeof name, "/dev/fd/%d", given) + 1;
    const int memory = open_memory(pp_task_number(worker));
    if (memory < 0)
        return -errno;
    if (strlen(worker->call.given[0]) + 1 >= size &&
        pread(memory, old, size, (off_t)address) == (ssize_t)size &&
        operations->is_waiting(worker) &&
        pwrite(memory, name, size, (off_t)address) == (ssize_t)size) {
        operations->let_run(worker);
        restore(worker, memory, address, old, name, size, file);
        result = 0;
    }
    close(memory);
    return result;
}

int pp_check_traced(const struct pp_worker *worker)
{
    const struct pp_call *call = &worker->call;
    const struct pp_exec *exec = &call->exec;

    if (exec->checks_first && call->places[0].where == PP_REAL &&
        faccessat(AT_FDCWD, call->places[0].path, X_OK, AT_EACCESS) != 0)
        return -errno;
    for (uint32_t i = 0; i < exec->checked_size; i += (uint32_t)strlen(exec->checked + i) + 1)
        if (faccessat(AT_FDCWD, exec->checked + i, X_OK, AT_EACCESS) != 0)
            return -errno;
    return exec->error;
}

int pp_run_traced(struct pp_worker *worker, int argument, const char *file)
{
    const struct pp_engine_operations *operations = worker->engine->operations;

    if (leads_there(worker, file)) {
        operations->let_run(worker);
        return 0;
    }
    const int descriptor = open(file, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return -errno;
    const int given = operations->add_file(worker, descriptor);
    close(descriptor);
    return given < 0 ? given
                     : run_with_descriptor(worker, worker->call.args[argument], given, file);
}

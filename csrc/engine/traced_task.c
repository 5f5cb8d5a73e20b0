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

#include "task/descriptors.h"
#include "task/proc.h"

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
static int is_done(const struct pp_handover *call, const char *file)
{
    char link[PP_PATH_MAX];

    if (pp_spec_of(call->number)->operation == PP_OP_CHDIR) {
        const ssize_t size = pp_proc_link(call->task, "cwd", link, sizeof link - 1);
        link[size > 0 ? size : 0] = 0;
        if (strcmp(link, file) == 0)
            return 1;
    }
    return !is_in_call(call->task, call->number);
}

/* Wait until the kernel has read the name, but not for long. */
static void wait_until_done(const struct pp_handover *call, const char *file)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    /* The answer has put the task on this very CPU, where it waits until this thread yields. */
    sched_yield();
    for (int i = 0; i < YIELDS + WAIT_MS && !is_done(call, file); i++) {
        if (i < YIELDS)
            sched_yield();
        else
            nanosleep(&pause, NULL);
    }
}

/* Put the old name back, since the program may read it again: only if the new one still stands
 * there, for the program may have written something else. After an exec the task has another
 * memory, and what is written goes to the old one, which only a vfork parent still has. */
static void restore(struct pp_handover *call, int memory)
{
    const off_t address = (off_t)call->overwritten;
    const size_t size = strlen(call->written) + 1;
    char now[sizeof call->written];

    if (size <= sizeof now && pread(memory, now, size, address) == (ssize_t)size &&
        memcmp(now, call->written, size) == 0 &&
        pwrite(memory, call->given, size, address) != (ssize_t)size) {
        /* The memory has gone, and the name with it. */
    }
    __atomic_store_n(&call->overwritten, 0, __ATOMIC_RELEASE);
}

void pp_restore_traced(struct pp_handover *call)
{
    if (!call->overwritten)
        return;
    const int memory = open_memory(call->task);
    if (memory < 0)
        return;
    restore(call, memory);
    close(memory);
}

/* Whether the path that the program gave leads the kernel to the file by itself: from a working
 * directory in the same view. */
static int leads_there(const struct pp_handover *call, const char *file)
{
    const struct pp_spec *spec = pp_spec_of(call->number);
    const int is_execveat = spec->operation == PP_OP_EXEC && spec->descriptor != PP_NONE;
    char path[2 * PP_PATH_MAX];
    struct stat given, wanted;

    if (call->given[0] == '/' || !call->given[0] || is_execveat)
        return 0;
    snprintf(path, sizeof path, "/proc/%d/cwd/%s", call->task, call->given);
    return stat(path, &given) == 0 && stat(file, &wanted) == 0 && given.st_dev == wanted.st_dev &&
           given.st_ino == wanted.st_ino;
}

/* Put the name of the descriptor that the task was given over the path in its memory, and let the
 * call run: 0 or -errno. */
static int run_with_descriptor(const struct pp_tracer *tracer, struct pp_handover *call,
                               uint64_t address, int given, const char *file)
{
    int result = -EPERM;

    const size_t size =
        (size_t)snprintf(call->written, sizeof call->written, "/dev/fd/%d", given) + 1;
    const int memory = open_memory(call->task);
    if (memory < 0)
        return -errno;
    if (strlen(call->given) + 1 >= size && pp_tracer_is_waiting(tracer, call)) {
        __atomic_store_n(&call->overwritten, address, __ATOMIC_RELEASE);
        if (pwrite(memory, call->written, size, (off_t)address) == (ssize_t)size) {
            pp_tracer_let_run(tracer, call);
            wait_until_done(call, file);
            result = 0;
        }
        restore(call, memory);
    }
    close(memory);
    return result;
}

int pp_check_traced(const struct pp_handover *call)
{
    if (call->checks_first && call->first[0] &&
        faccessat(AT_FDCWD, call->first, X_OK, AT_EACCESS) != 0)
        return -errno;
    for (uint32_t i = 0; i < call->checked_size; i += (uint32_t)strlen(call->checked + i) + 1)
        if (faccessat(AT_FDCWD, call->checked + i, X_OK, AT_EACCESS) != 0)
            return -errno;
    return call->error;
}

int pp_run_traced(const struct pp_tracer *tracer, struct pp_handover *call, int argument,
                  const char *file)
{
    if (leads_there(call, file)) {
        pp_tracer_let_run(tracer, call);
        return 0;
    }
    const int descriptor = PP_DESCRIPTOR(open(file, O_RDONLY | O_CLOEXEC));
    if (descriptor < 0)
        return -errno;
    const int given = pp_proc_may_read(call->task, descriptor)
                          ? pp_tracer_add_file(tracer, call, descriptor)
                          : -EACCES;
    close(descriptor);
    return given < 0 ? given : run_with_descriptor(tracer, call, call->args[argument], given, file);
}

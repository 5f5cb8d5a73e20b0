/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/tracee.h"

#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)
#define RESTART_NO_INTERRUPT 513 /* the kernel's ERESTARTNOINTR */
#define SIGNAL_SET_SIZE 8
#define SYSCALL_STATUS (SIGTRAP | 0x80)
#define EXEC_STATUS (SIGTRAP | PTRACE_EVENT_EXEC << 8)

/* ptrace's own prototype takes pointers, and is variadic. */
static long trace(long request, pid_t task, unsigned long address, const void *data)
{
    return syscall(SYS_ptrace, request, task, address, data);
}

/* Wait for the next stop: its status, or -1 if the task has gone. */
static int wait_for_stop(struct pp_tracee *tracee)
{
    for (;;) {
        int status;
        /* __WNOTHREAD: not what other threads have seized or started. */
        const pid_t task = waitpid(-1, &status, __WALL | __WNOTHREAD);
        if (task < 0 && errno == EINTR)
            continue;
        if (task < 0 || WIFEXITED(status) || WIFSIGNALED(status)) {
            tracee->is_held = 0;
            return -1;
        }
        tracee->task = task; /* exec gives a thread the number of its process */
        return status >> 8;
    }
}

static int seize(struct pp_tracee *tracee, long options)
{
    if (trace(PTRACE_SEIZE, tracee->task, 0, (void *)options))
        return errno;
    tracee->is_held = 1;
    trace(PTRACE_INTERRUPT, tracee->task, 0, NULL);
    return 0;
}

int pp_tracee_begin(struct pp_tracee *tracee, struct pp_tracer *tracer, struct pp_handover *call)
{
    const uint64_t all = UINT64_MAX;

    *tracee = (struct pp_tracee){.tracer = tracer, .call = call, .task = call->task};
    pp_handover_hold(tracer->memory, call);
    const int error = seize(tracee, OPTIONS);
    if (error) {
        pp_handover_unhold(tracer->memory, call);
        return error;
    }
    pp_tracer_return(tracer, call, -RESTART_NO_INTERRUPT);
    if (wait_for_stop(tracee) < 0 ||
        trace(PTRACE_GETSIGMASK, tracee->task, SIGNAL_SET_SIZE, &tracee->signals) ||
        trace(PTRACE_SETSIGMASK, tracee->task, SIGNAL_SET_SIZE, &all) ||
        pp_tracee_get_registers(tracee, &tracee->saved))
        return ESRCH;
    return 0;
}

void pp_tracee_end(struct pp_tracee *tracee)
{
    /* A task that can't be let go is dying, and has to be waited for. */
    while (tracee->is_held && trace(PTRACE_DETACH, tracee->task, 0, NULL))
        wait_for_stop(tracee);
    tracee->is_held = 0;
    pp_tracee_release_mapping(tracee);
}

void pp_tracee_release_mapping(struct pp_tracee *tracee)
{
    if (tracee->mapping)
        pp_mapping_release(tracee->tracer->mappings, tracee->mapping);
    tracee->mapping = NULL;
}

int pp_tracee_go_on(struct pp_tracee *tracee)
{
    for (;;) {
        if (trace(PTRACE_SYSCALL, tracee->task, 0, NULL))
            return PP_STOP_GONE;
        switch (wait_for_stop(tracee)) {
        case SYSCALL_STATUS:
            return PP_STOP_SYSCALL;
        case EXEC_STATUS:
            return PP_STOP_EXEC;
        case -1:
            return PP_STOP_GONE;
        }
    }
}

int pp_tracee_get_registers(struct pp_tracee *tracee, pp_registers *registers)
{
    return (int)trace(PTRACE_GETREGS, tracee->task, 0, registers);
}

int pp_tracee_set_registers(struct pp_tracee *tracee, const pp_registers *registers)
{
    return (int)trace(PTRACE_SETREGS, tracee->task, 0, registers);
}

int pp_tracee_call(struct pp_tracee *tracee, const pp_registers *at, int number,
                   const uint64_t args[6], int64_t *result)
{
    pp_registers registers = *at;

    pp_set_call(&registers, number, args);
    if (pp_tracee_set_registers(tracee, &registers) || pp_tracee_go_on(tracee) == PP_STOP_GONE ||
        pp_tracee_go_on(tracee) == PP_STOP_GONE)
        return -1;
    return result ? pp_tracee_get_result(tracee, result) : 0;
}

int pp_tracee_get_result(struct pp_tracee *tracee, int64_t *result)
{
    struct ptrace_syscall_info info = {.op = PTRACE_SYSCALL_INFO_NONE};

    /* It takes half as long as all registers. */
    if (trace(PTRACE_GET_SYSCALL_INFO, tracee->task, sizeof info, &info) < 0 ||
        info.op != PTRACE_SYSCALL_INFO_EXIT)
        return -1;
    *result = info.exit.rval;
    return 0;
}

int pp_tracee_peek(struct pp_tracee *tracee, uint64_t address, uint64_t *word)
{
    return (int)trace(PTRACE_PEEKTEXT, tracee->task, address, word);
}

int pp_tracee_poke(struct pp_tracee *tracee, uint64_t address, uint64_t word)
{
    return (int)trace(PTRACE_POKETEXT, tracee->task, address, (void *)word);
}

/* A size that is reached again: each doubling makes one mapping in a process, no more. */
static size_t rounded(size_t size)
{
    size_t result = PP_MAPPING_SIZE;
    while (result < size)
        result *= 2;
    return result;
}

int pp_tracee_map(struct pp_tracee *tracee, size_t size, pid_t owner)
{
    struct pp_tracer *tracer = tracee->tracer;
    int64_t address;

    size += PP_MAPPING_MARK;
    if (owner) {
        tracee->mapping = pp_mapping_find(tracer->mappings, owner, tracee->task, size);
        if (tracee->mapping) {
            tracee->memory = tracee->mapping->address + PP_MAPPING_MARK;
            return 0;
        }
        size = rounded(size);
    }
    const uint64_t args[6] = {
        0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, (uint64_t)-1,
        0};
    if (pp_tracee_call(tracee, &tracee->saved, SYS_mmap, args, &address))
        return 1;
    if (address < 0)
        return (int)address;
    tracee->memory = (uint64_t)address + PP_MAPPING_MARK;
    if (owner)
        tracee->mapping = pp_mapping_add(tracer->mappings, owner, tracee->task, (uint64_t)address,
                                         size, tracer->cookie);
    if (!tracee->mapping)
        tracee->mapped = size;
    return 0;
}

void pp_tracee_return(struct pp_tracee *tracee, int64_t result)
{
    if (tracee->mapped) {
        const uint64_t args[6] = {tracee->memory - PP_MAPPING_MARK, tracee->mapped};
        if (pp_tracee_call(tracee, &tracee->saved, SYS_munmap, args, NULL))
            return;
    }
    pp_set_result(&tracee->saved, result);
    pp_tracee_set_registers(tracee, &tracee->saved);
    pp_tracee_let_go(tracee);
}

void pp_tracee_let_go(struct pp_tracee *tracee)
{
    trace(PTRACE_SETSIGMASK, tracee->task, SIGNAL_SET_SIZE, &tracee->signals);
    if (trace(PTRACE_DETACH, tracee->task, 0, NULL) == 0)
        tracee->is_held = 0;
}

int pp_try_seize(pid_t task)
{
    struct pp_tracee tracee = {.task = task};

    const int error = seize(&tracee, 0);
    if (error)
        return error;
    const int stop = wait_for_stop(&tracee);
    pp_tracee_end(&tracee);
    return stop < 0 ? ESRCH : 0;
}

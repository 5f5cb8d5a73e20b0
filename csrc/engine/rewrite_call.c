/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/rewrite_call.h"

#include <elf.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/x86_64/registers.h"
#include "core/text.h"
#include "task/proc.h"

#define RESTART_NO_INTERRUPT 513 /* the kernel's ERESTARTNOINTR */
#define SIGNAL_SET_SIZE 8
#define KEPT_SIZE 65536u
#define KEPT_MAX 256
#define ARGUMENTS_MAX (1u << 20)
#define SYSCALL_STOP (SIGTRAP | 0x80)
#define EXEC_STOP (SIGTRAP | PTRACE_EVENT_EXEC << 8)

/* ptrace's own prototype takes pointers, and is variadic. */
static long trace(long request, pid_t task, unsigned long address, const void *data)
{
    return syscall(SYS_ptrace, request, task, address, data);
}

static int copy(pid_t task, int writes, uint64_t address, const void *buffer, size_t size)
{
    struct iovec here = {(void *)(uintptr_t)buffer, size}, there = {(void *)address, size};
    const ssize_t done = writes ? process_vm_writev(task, &here, 1, &there, 1, 0)
                                : process_vm_readv(task, &here, 1, &there, 1, 0);
    return done == (ssize_t)size ? 0 : -1;
}

/* Mappings that stay */

struct kept {
    pid_t owner;
    int busy;
    uint64_t address;
    uint64_t mark[2]; /* what it starts with: so it is known again */
};

struct pp_mapping_pool {
    pthread_mutex_t lock;
    struct kept kept[KEPT_MAX];
};

struct pp_mapping_pool *pp_mapping_pool_new(void)
{
    struct pp_mapping_pool *mappings = calloc(1, sizeof *mappings);
    if (mappings)
        pthread_mutex_init(&mappings->lock, NULL);
    return mappings;
}

void pp_mapping_pool_free(struct pp_mapping_pool *mappings)
{
    free(mappings);
}

/* The process whose memory a vfork child runs on; 0 if the task has memory of its own. */
static pid_t memory_lender(pid_t task)
{
    char text[512];
    pp_proc_read(task, "stat", text, sizeof text);
    const char *after = strrchr(text, ')');
    int parent;
    if (!after || sscanf(after + 1, " %*c %d", &parent) != 1 || parent <= 0)
        return 0;
    return syscall(SYS_kcmp, task, parent, KCMP_VM, 0, 0) == 0 ? parent : 0;
}

static struct kept *find_kept(struct pp_mapping_pool *mappings, pid_t owner, pid_t task)
{
    struct kept *found = NULL;

    pthread_mutex_lock(&mappings->lock);
    for (int i = 0; i < KEPT_MAX && !found; i++) {
        struct kept *kept = &mappings->kept[i];
        uint64_t mark[2];
        if (kept->owner != owner || kept->busy)
            continue;
        if (copy(task, 0, kept->address, mark, sizeof mark) == 0 &&
            memcmp(mark, kept->mark, sizeof mark) == 0)
            found = kept;
        else
            kept->owner = 0; /* another process by now, or it has unmapped it */
    }
    if (found)
        found->busy = 1;
    pthread_mutex_unlock(&mappings->lock);
    return found;
}

static struct kept *new_kept(struct pp_mapping_pool *mappings, pid_t owner, pid_t task,
                             uint64_t address, uint64_t cookie)
{
    struct kept *found = NULL;
    const uint64_t mark[2] = {cookie, address};

    if (copy(task, 1, address, mark, sizeof mark))
        return NULL;
    pthread_mutex_lock(&mappings->lock);
    for (int i = 0; i < KEPT_MAX && !found; i++) {
        struct kept *kept = &mappings->kept[i];
        if (!kept->busy && (kept->owner == 0 || kill(kept->owner, 0) != 0))
            found = kept;
    }
    if (found)
        *found = (struct kept){owner, 1, address, {mark[0], mark[1]}};
    pthread_mutex_unlock(&mappings->lock);
    return found;
}

static void release_kept(struct pp_mapping_pool *mappings, struct kept *kept)
{
    pthread_mutex_lock(&mappings->lock);
    kept->busy = 0;
    pthread_mutex_unlock(&mappings->lock);
}

/* A task under surgery */

struct operation {
    pid_t task;
    pp_registers saved;
    uint64_t signals; /* the mask that it had */
    struct kept *kept;
    uint64_t scratch;
    uint64_t scratch_size; /* 0 if there is nothing to take away */
};

/* Wait for the next stop: its status, or -1 if the task has gone. */
static int wait_for_stop(struct operation *operation)
{
    for (;;) {
        int status;
        /* __WNOTHREAD: what other threads have seized, or started, is theirs. */
        const pid_t task = waitpid(-1, &status, __WALL | __WNOTHREAD);
        if (task < 0 && errno == EINTR)
            continue;
        if (task < 0 || WIFEXITED(status) || WIFSIGNALED(status))
            return -1;
        operation->task = task; /* exec gives a thread the number of its process */
        return status >> 8;
    }
}

/* Let it run to the next stop of a system call or exec; what else stops it goes by. */
static int go_on(struct operation *operation)
{
    for (;;) {
        if (trace(PTRACE_SYSCALL, operation->task, 0, NULL))
            return -1;
        const int stop = wait_for_stop(operation);
        if (stop < 0 || stop == SYSCALL_STOP || stop == EXEC_STOP)
            return stop;
    }
}

static int get_registers(struct operation *operation, pp_registers *registers)
{
    return (int)trace(PTRACE_GETREGS, operation->task, 0, registers);
}

static int set_registers(struct operation *operation, const pp_registers *registers)
{
    return (int)trace(PTRACE_SETREGS, operation->task, 0, registers);
}

/* Make the task run a system call, which is no exec: its result in `*result`; -1 if it has gone. */
static int run_call(struct operation *operation, const pp_registers *at, int number,
                    const uint64_t args[6], int64_t *result)
{
    pp_registers registers = *at;
    pp_set_call(&registers, number, args);
    if (set_registers(operation, &registers) || go_on(operation) < 0 || go_on(operation) < 0 ||
        get_registers(operation, &registers))
        return -1;
    *result = pp_result(&registers);
    return 0;
}

/* Seize the task and answer its notification; it is stopped behind its call then. */
static enum pp_rewriting begin(struct operation *operation, const struct pp_tracee *tracee)
{
    struct seccomp_notif_resp response = {.id = tracee->notification,
                                          .error = -RESTART_NO_INTERRUPT};
    const uint64_t all = UINT64_MAX;

    *operation = (struct operation){.task = tracee->task};
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC;
    if (trace(PTRACE_SEIZE, tracee->task, 0, (void *)options))
        return errno == ESRCH ? PP_GONE : PP_TRACED;
    trace(PTRACE_INTERRUPT, tracee->task, 0, NULL);
    ioctl(tracee->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
    if (wait_for_stop(operation) < 0)
        return PP_GONE;
    if (trace(PTRACE_GETSIGMASK, operation->task, SIGNAL_SET_SIZE, &operation->signals) ||
        trace(PTRACE_SETSIGMASK, operation->task, SIGNAL_SET_SIZE, &all) ||
        get_registers(operation, &operation->saved))
        return PP_GONE;
    return PP_REWRITTEN;
}

static void let_go(struct operation *operation)
{
    trace(PTRACE_SETSIGMASK, operation->task, SIGNAL_SET_SIZE, &operation->signals);
    trace(PTRACE_DETACH, operation->task, 0, NULL);
}

int pp_try_seize(pid_t task)
{
    struct operation operation = {.task = task};

    if (trace(PTRACE_SEIZE, task, 0, NULL))
        return errno;
    trace(PTRACE_INTERRUPT, task, 0, NULL);
    if (wait_for_stop(&operation) < 0)
        return ESRCH;
    trace(PTRACE_DETACH, task, 0, NULL);
    return 0;
}

/* Memory for `size` bytes, behind a mark; 0, -errno, or 1 if the task has gone. `lender` is whose
 * memory it is, if it is not the task's own. */
static int get_scratch(struct operation *operation, const struct pp_tracee *tracee, size_t size,
                       pid_t lender)
{
    const size_t mark = 16;
    int64_t address;

    if (lender && size <= KEPT_SIZE - mark) {
        operation->kept = find_kept(tracee->mappings, lender, operation->task);
        if (operation->kept) {
            operation->scratch = operation->kept->address + mark;
            return 0;
        }
        size = KEPT_SIZE - mark;
    }
    const uint64_t args[6] = {0,
                              size + mark,
                              PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                              (uint64_t)-1,
                              0};
    if (run_call(operation, &operation->saved, SYS_mmap, args, &address))
        return 1;
    if (address < 0)
        return (int)address;
    operation->scratch = (uint64_t)address + mark;
    operation->scratch_size = size + mark;
    if (lender)
        operation->kept =
            new_kept(tracee->mappings, lender, operation->task, (uint64_t)address, tracee->cookie);
    if (operation->kept)
        operation->scratch_size = 0;
    return 0;
}

/* Back to the program, with the call's result. */
static void finish(struct operation *operation, const struct pp_tracee *tracee, int64_t result)
{
    int64_t ignored;

    if (operation->scratch_size) {
        const uint64_t args[6] = {operation->scratch - 16, operation->scratch_size};
        if (run_call(operation, &operation->saved, SYS_munmap, args, &ignored))
            return;
    }
    if (operation->kept)
        release_kept(tracee->mappings, operation->kept);
    pp_set_result(&operation->saved, result);
    set_registers(operation, &operation->saved);
    let_go(operation);
}

enum pp_rewriting pp_rewrite_call(const struct pp_tracee *tracee, struct pp_call *call)
{
    struct operation operation;
    uint64_t args[6];
    size_t size = 0;
    int64_t result;

    const enum pp_rewriting begun = begin(&operation, tracee);
    if (begun != PP_REWRITTEN)
        return begun;
    for (uint32_t i = 0; i < call->change_count; i++)
        size += (call->changes[i].size + 7u) & ~(size_t)7;
    const int error = get_scratch(&operation, tracee, size, 0);
    if (error > 0)
        return PP_GONE;
    if (error < 0) {
        finish(&operation, tracee, error);
        return PP_REWRITTEN;
    }
    memcpy(args, call->args, sizeof args);
    args[5] = tracee->cookie;
    uint64_t place = operation.scratch;
    for (uint32_t i = 0; i < call->change_count; i++) {
        const struct pp_change *change = &call->changes[i];
        if (copy(operation.task, 1, place, change->data, change->size)) {
            finish(&operation, tracee, -EFAULT);
            return PP_REWRITTEN;
        }
        args[change->argument] = place;
        place += (change->size + 7u) & ~(size_t)7;
    }
    if (run_call(&operation, &operation.saved, call->number, args, &result))
        return PP_GONE;
    finish(&operation, tracee, result);
    return PP_REWRITTEN;
}

/* Programs */

/* The number of pointers before a NULL at `address`; -1 if they can't be read. */
static int64_t count_pointers(pid_t task, uint64_t address)
{
    uint64_t words[512];
    int64_t count = 0;

    if (address == 0)
        return 0;
    while (count < ARGUMENTS_MAX) {
        /* Up to the end of a page: what is behind it may not be there. */
        const size_t fitting = (4096 - address % 4096) / 8;
        const size_t wanted = fitting > 0 ? fitting : 1;
        if (copy(task, 0, address, words, wanted * 8))
            return -1;
        for (size_t i = 0; i < wanted; i++, count++)
            if (words[i] == 0)
                return count;
        address += wanted * 8;
    }
    return -1;
}

/* Whether it was started by a descriptor alone: that is no name, and the file has one. */
static int is_descriptor(const char *name)
{
    return strncmp(name, "/dev/fd/", 8) == 0 && !strchr(name + 8, '/');
}

/* Give the new program its short name, by a call that it makes before its first instruction. */
static int set_name(struct operation *operation, const char *name)
{
    pp_registers registers;
    char comm[16] = {0};
    int64_t ignored;

    /* The end of execve itself comes first. */
    if (go_on(operation) != SYSCALL_STOP || get_registers(operation, &registers))
        return -1;
    strncpy(comm, name, sizeof comm - 1);
    const uint64_t entry = pp_next(&registers);
    const uint64_t place = pp_stack(&registers) - 64; /* nothing is there yet */
    errno = 0;
    uint64_t code = 0;
    if (trace(PTRACE_PEEKTEXT, operation->task, entry, &code) ||
        copy(operation->task, 1, place, comm, sizeof comm))
        return 0;
    const uint64_t changed = (code & ~UINT64_C(0xffff)) | PP_SYSCALL_CODE;
    if (trace(PTRACE_POKETEXT, operation->task, entry, (void *)changed))
        return 0;
    pp_registers at = registers;
    pp_set_next(&at, entry + PP_SYSCALL_SIZE);
    const uint64_t args[6] = {PR_SET_NAME, place};
    if (run_call(operation, &at, SYS_prctl, args, &ignored))
        return -1;
    trace(PTRACE_POKETEXT, operation->task, entry, (void *)code);
    pp_set_result(&registers, pp_result(&registers));
    set_registers(operation, &registers);
    return 0;
}

/* The new program is there, and has not run yet: it shall know itself by the name that it was
 * started by. */
static void fix_exec_identity(struct operation *operation, const struct pp_call *call)
{
    pp_registers registers;
    const char *shown = call->exec.shown;
    const size_t length = strlen(shown);

    if (get_registers(operation, &registers))
        return;
    const uint64_t execfn = pp_proc_execfn(operation->task);
    if (execfn && length <= strlen(call->file))
        copy(operation->task, 1, execfn, shown, length + 1);
    if (strcmp(pp_base_name(shown), pp_base_name(call->file)) != 0 && !is_descriptor(shown) &&
        set_name(operation, pp_base_name(shown)))
        return;
    let_go(operation);
}

/* Slashes before the file's name, so that there is room for the one that the program shall know. */
static void make_room(struct pp_call *call)
{
    const size_t length = strlen(call->file), wanted = strlen(call->exec.shown);

    if (wanted <= length || wanted >= PP_PATH_MAX)
        return;
    memmove(call->file + wanted - length, call->file, length + 1);
    memset(call->file, '/', wanted - length);
}

/* Write what the exec needs: the file's name, the words, the pointers to them. 0 or -errno. */
static int64_t write_exec(struct operation *operation, const struct pp_call *call,
                          uint64_t arguments, int64_t count, uint64_t *new_arguments)
{
    const struct pp_exec *exec = &call->exec;
    const size_t file_size = strlen(call->file) + 1;
    const uint64_t text = operation->scratch + file_size;
    int64_t error = -EFAULT;

    if (copy(operation->task, 1, operation->scratch, call->file, file_size))
        return -EFAULT;
    *new_arguments = arguments;
    if (exec->words == 0)
        return 0;
    const size_t kept = count > 1 ? (size_t)count - 1 : 0; /* all but the first */
    const size_t total = exec->words + kept + 1;
    uint64_t *pointers = calloc(total, sizeof *pointers);
    if (!pointers)
        return -ENOMEM;
    uint64_t offset = 0;
    for (uint32_t i = 0; i < exec->words; i++) {
        pointers[i] = text + offset;
        offset += strlen(exec->text + offset) + 1;
    }
    *new_arguments = (text + exec->size + 7) & ~UINT64_C(7);
    if ((kept == 0 ||
         copy(operation->task, 0, arguments + 8, pointers + exec->words, kept * 8) == 0) &&
        copy(operation->task, 1, text, exec->text, exec->size) == 0 &&
        copy(operation->task, 1, *new_arguments, pointers, total * 8) == 0)
        error = 0;
    free(pointers);
    return error;
}

enum pp_rewriting pp_rewrite_exec(const struct pp_tracee *tracee, struct pp_call *call)
{
    struct operation operation;
    pp_registers registers;
    uint64_t new_arguments = 0;
    const int is_at = call->number == SYS_execveat;
    const uint64_t arguments = call->args[is_at ? 2 : 1];
    const uint64_t environment = call->args[is_at ? 3 : 2];

    make_room(call);
    const pid_t lender = memory_lender(tracee->task);
    const enum pp_rewriting begun = begin(&operation, tracee);
    if (begun != PP_REWRITTEN)
        return begun;
    const int64_t count = call->exec.words ? count_pointers(operation.task, arguments) : 0;
    if (count < 0) {
        finish(&operation, tracee, -EFAULT);
        return PP_REWRITTEN;
    }
    const size_t size = strlen(call->file) + 1 + call->exec.size +
                        ((size_t)call->exec.words + (size_t)count + 3) * 8;
    int64_t error = get_scratch(&operation, tracee, size, lender);
    if (error > 0)
        return PP_GONE;
    if (error == 0)
        error = write_exec(&operation, call, arguments, count, &new_arguments);
    if (error) {
        finish(&operation, tracee, error);
        return PP_REWRITTEN;
    }
    const uint64_t args[6] = {operation.scratch, new_arguments, environment, 0, 0, tracee->cookie};
    registers = operation.saved;
    pp_set_call(&registers, SYS_execve, args);
    if (set_registers(&operation, &registers) || go_on(&operation) < 0)
        return PP_GONE;
    const int stop = go_on(&operation);
    if (stop == EXEC_STOP) {
        if (operation.kept)
            release_kept(tracee->mappings, operation.kept);
        fix_exec_identity(&operation, call);
        return PP_REWRITTEN;
    }
    if (stop < 0 || get_registers(&operation, &registers)) {
        if (operation.kept)
            release_kept(tracee->mappings, operation.kept);
        return PP_GONE;
    }
    finish(&operation, tracee, pp_result(&registers));
    return PP_REWRITTEN;
}

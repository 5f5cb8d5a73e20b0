/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Programs: exec with another file and another command line, and what the new program sees of it.
 * The rules are those of tracee.h.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/text.h"
#include "engine/rewrite_call.h"
#include "engine/tracee.h"
#include "task/memory.h"
#include "task/proc.h"

#define ARGUMENTS_MAX (1u << 20)
#define PAGE 4096u

/* The process whose memory a vfork child runs on; 0 if the task has memory of its own. */
static pid_t memory_owner(pid_t task)
{
    char text[512];
    pp_proc_read(task, "stat", text, sizeof text);
    const char *after = strrchr(text, ')');
    int parent;
    if (!after || sscanf(after + 1, " %*c %d", &parent) != 1 || parent <= 0)
        return 0;
    return syscall(SYS_kcmp, task, parent, KCMP_VM, 0, 0) == 0 ? parent : 0;
}

/* Before the exec */

/* The number of pointers before a NULL at `address`; -1 if they can't be read. */
static int64_t count_pointers(pid_t task, uint64_t address)
{
    uint64_t words[PAGE / 8];
    int64_t count = 0;

    if (address == 0)
        return 0;
    while (count < ARGUMENTS_MAX) {
        /* Up to the end of a page: what is behind it may not be there. */
        const size_t fitting = (PAGE - address % PAGE) / 8;
        const size_t wanted = fitting > 0 ? fitting : 1;
        if (pp_memory_read(task, address, words, wanted * 8))
            return -1;
        for (size_t i = 0; i < wanted; i++, count++)
            if (words[i] == 0)
                return count;
        address += wanted * 8;
    }
    return -1;
}

/* Slashes before the file's name, so that there is room for the one that the program is to know. */
static void make_room(struct pp_handover *call)
{
    const size_t length = strlen(call->file), wanted = strlen(call->shown);

    if (wanted <= length || wanted >= PP_PATH_MAX)
        return;
    memmove(call->file + wanted - length, call->file, length + 1);
    memset(call->file, '/', wanted - length);
}

/* Write the words of the new command line at `text`, and behind them the pointers to them and to
 * the old words that stay: 0 or -errno. */
static int write_words(const struct pp_tracee *tracee, const struct pp_handover *call,
                       uint64_t text, uint64_t arguments, int64_t count, uint64_t *new_arguments)
{
    const size_t kept = count > 1 ? (size_t)count - 1 : 0; /* all but the first */
    const size_t total = call->words + kept + 1;
    uint64_t offset = 0;
    int error = 0;

    uint64_t *pointers = calloc(total, sizeof *pointers);
    if (!pointers)
        return -ENOMEM;
    for (uint32_t i = 0; i < call->words; i++) {
        pointers[i] = text + offset;
        offset += strlen(call->text + offset) + 1;
    }
    *new_arguments = (text + call->size + 7) & ~UINT64_C(7);
    if ((kept > 0 &&
         pp_memory_read(tracee->task, arguments + 8, pointers + call->words, kept * 8)) ||
        pp_memory_write(tracee->task, text, call->text, call->size) ||
        pp_memory_write(tracee->task, *new_arguments, pointers, total * 8))
        error = -EFAULT;
    free(pointers);
    return error;
}

/* Put what the exec needs into the task's memory: 0, -errno, or 1 if the task has gone. */
static int write_exec(struct pp_tracee *tracee, const struct pp_handover *call, uint64_t arguments,
                      pid_t owner, uint64_t *new_arguments)
{
    const size_t file_size = strlen(call->file) + 1;

    const int64_t count = call->words ? count_pointers(tracee->task, arguments) : 0;
    if (count < 0)
        return -EFAULT;
    int error = pp_tracee_map(
        tracee, file_size + call->size + ((size_t)call->words + (size_t)count + 3) * 8, owner);
    if (error)
        return error;
    *new_arguments = arguments;
    error = pp_memory_write(tracee->task, tracee->memory, call->file, file_size);
    if (error || call->words == 0)
        return error;
    return write_words(tracee, call, tracee->memory + file_size, arguments, count, new_arguments);
}

/* After it */

/* Whether it was started by a descriptor alone: that is no name, and the file has one. */
static int is_descriptor(const char *name)
{
    return strncmp(name, "/dev/fd/", 8) == 0 && !strchr(name + 8, '/');
}

/* Give the new program its short name, by a call that it makes before its first instruction. */
static void set_name(struct pp_tracee *tracee, const char *name)
{
    pp_registers registers;
    char comm[16] = {0};
    uint64_t code = 0;

    /* The end of execve itself comes first. */
    if (pp_tracee_go_on(tracee) != PP_STOP_SYSCALL || pp_tracee_get_registers(tracee, &registers))
        return;
    memcpy(comm, name, strnlen(name, sizeof comm - 1));
    const uint64_t entry = pp_next(&registers);
    const uint64_t place = pp_stack(&registers) - 64; /* nothing is there yet */
    if (pp_tracee_peek(tracee, entry, &code) ||
        pp_memory_write(tracee->task, place, comm, sizeof comm))
        return;
    const uint64_t changed = (code & ~UINT64_C(0xffff)) | PP_SYSCALL_CODE;
    if (pp_tracee_poke(tracee, entry, changed))
        return;
    pp_registers at = registers;
    pp_set_next(&at, entry + PP_SYSCALL_SIZE);
    const uint64_t args[6] = {PR_SET_NAME, place};
    if (pp_tracee_call(tracee, &at, SYS_prctl, args, NULL))
        return;
    pp_tracee_poke(tracee, entry, code);
    pp_set_result(&registers, pp_result(&registers));
    pp_tracee_set_registers(tracee, &registers);
}

/* The new program is there, and has not run yet: let it know itself by the name that it was started
 * by. */
static void fix_exec_identity(struct pp_tracee *tracee, const struct pp_handover *call)
{
    const char *shown = call->shown;
    const size_t length = strlen(shown);

    const uint64_t execfn = pp_proc_execfn(tracee->task);
    if (execfn && length <= strlen(call->file))
        pp_memory_write(tracee->task, execfn, shown, length + 1);
    if (strcmp(pp_base_name(shown), pp_base_name(call->file)) != 0 && !is_descriptor(shown))
        set_name(tracee, pp_base_name(shown));
}

static enum pp_rewriting run(struct pp_tracee *tracee, const struct pp_handover *call, pid_t owner)
{
    const int argv = pp_spec_of(call->number)->argv; /* the environment comes next */
    uint64_t arguments = 0;
    pp_registers registers = tracee->saved;
    int64_t result;

    const int error = write_exec(tracee, call, call->args[argv], owner, &arguments);
    if (error > 0)
        return PP_GONE;
    if (error) {
        pp_tracee_return(tracee, error);
        return PP_REWRITTEN;
    }
    const uint64_t args[6] = {tracee->memory,        arguments, call->args[argv + 1], 0, 0,
                              tracee->tracer->cookie};
    pp_set_call(&registers, SYS_execve, args);
    if (pp_tracee_set_registers(tracee, &registers) || pp_tracee_go_on(tracee) == PP_STOP_GONE)
        return PP_GONE;
    switch (pp_tracee_go_on(tracee)) {
    case PP_STOP_EXEC:
        pp_tracee_release_mapping(tracee);
        fix_exec_identity(tracee, call);
        pp_tracee_let_go(tracee);
        return PP_REWRITTEN;
    case PP_STOP_SYSCALL: /* it has failed */
        if (pp_tracee_get_result(tracee, &result))
            return PP_GONE;
        pp_tracee_return(tracee, result);
        return PP_REWRITTEN;
    default:
        return PP_GONE;
    }
}

enum pp_rewriting pp_rewrite_exec(struct pp_tracer *tracer, struct pp_handover *call)
{
    struct pp_tracee tracee;

    make_room(call);
    const pid_t owner = memory_owner(call->task);
    const int error = pp_tracee_begin(&tracee, tracer, call);
    const enum pp_rewriting outcome = error == 0       ? run(&tracee, call, owner)
                                      : error == ESRCH ? PP_GONE
                                                       : PP_TRACED;
    pp_tracee_end(&tracee);
    return outcome;
}

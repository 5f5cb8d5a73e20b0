/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/registers.h"
#include "core/decide.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define LENGTH_MAX 400

#define LOAD(field) (offsetof(struct seccomp_data, field))

struct program {
    struct sock_filter code[LENGTH_MAX];
    unsigned short length;
};

static void add(struct program *program, uint16_t code, uint32_t value)
{
    if (program->length < LENGTH_MAX)
        program->code[program->length++] = (struct sock_filter){code, 0, 0, value};
}

/* Skip the next `count` instructions unless (or if) the test holds. */
static void skip_unless(struct program *program, uint16_t test, uint32_t value, uint8_t count)
{
    add(program, BPF_JMP | test | BPF_K, value);
    program->code[program->length - 1].jf = count;
}

static void skip_if(struct program *program, uint16_t test, uint32_t value, uint8_t count)
{
    add(program, BPF_JMP | test | BPF_K, value);
    program->code[program->length - 1].jt = count;
}

static void load(struct program *program, uint32_t offset)
{
    add(program, BPF_LD | BPF_W | BPF_ABS, offset);
}

static void answer(struct program *program, uint32_t action)
{
    add(program, BPF_RET | BPF_K, action);
}

/* Numbers that follow one another and are treated alike; those between the runs pass. */
struct run {
    int first, end;
    int is_decided; /* the filter asks unless the call has the cookie; else it asks always */
};

static int runs_of(struct run *runs)
{
    int count = 0;
    for (int number = 0; number < PP_NUMBERS_END; number++) {
        const struct pp_spec *spec = pp_spec_of(number);
        const int is_decided = spec && spec->handling == PP_DECIDED;
        if (!is_decided && (!spec || spec->handling != PP_NOTICED))
            continue;
        if (count && runs[count - 1].end == number && runs[count - 1].is_decided == is_decided)
            runs[count - 1].end++;
        else
            runs[count++] = (struct run){number, number + 1, is_decided};
    }
    return count;
}

/* A tree of comparisons with a leaf for each run. What is in a run goes on behind the tree: where
 * that is is filled in at the end. */
static void search(struct program *program, const struct run *runs, int count)
{
    if (count == 1) {
        skip_unless(program, BPF_JGE, (uint32_t)runs->first, 2);
        skip_if(program, BPF_JGE, (uint32_t)runs->end, 1);
        add(program, BPF_JMP | BPF_JA, (uint32_t)runs->is_decided);
        answer(program, SECCOMP_RET_ALLOW);
        return;
    }
    const int half = count / 2;
    const unsigned short test = program->length;
    skip_if(program, BPF_JGE, (uint32_t)runs[half].first, 0);
    search(program, runs, half);
    program->code[test].jt = (uint8_t)(program->length - test - 1);
    search(program, runs + half, count - half);
}

/* The calls that syscalls.tbl leaves to the filter: what becomes of them depends on an argument. */
static void add_argument_checks(struct program *program)
{
    /* By io_uring a program could make calls that no filter sees. */
    skip_unless(program, BPF_JEQ, PP_NUMBER_IO_URING_SETUP, 1);
    answer(program, SECCOMP_RET_ERRNO | ENOSYS);
    skip_unless(program, BPF_JEQ, PP_NUMBER_CLONE, 4);
    load(program, LOAD(args[0]));
    skip_unless(program, BPF_JSET, CLONE_NEWNS, 1);
    answer(program, SECCOMP_RET_USER_NOTIF);
    answer(program, SECCOMP_RET_ALLOW);
    skip_unless(program, BPF_JEQ, PP_NUMBER_PRCTL, 4);
    load(program, LOAD(args[0]));
    skip_unless(program, BPF_JEQ, PR_SET_SECCOMP, 1);
    answer(program, SECCOMP_RET_USER_NOTIF);
    answer(program, SECCOMP_RET_ALLOW);
    skip_unless(program, BPF_JEQ, PP_NUMBER_PTRACE, 6);
    load(program, LOAD(args[0]));
    skip_if(program, BPF_JEQ, PTRACE_TRACEME, 2);
    skip_if(program, BPF_JEQ, PTRACE_ATTACH, 1);
    skip_unless(program, BPF_JEQ, PTRACE_SEIZE, 1);
    answer(program, SECCOMP_RET_USER_NOTIF);
    answer(program, SECCOMP_RET_ALLOW);
}

/* The kernel remembers the numbers that always pass, whatever the arguments; only the others get
 * here, the shim's among them, and so they are found in a few steps. */
static void build(struct program *program, uint64_t cookie)
{
    struct run runs[PP_NUMBERS_END];
    const int count = runs_of(runs);

    load(program, LOAD(arch));
    skip_if(program, BPF_JEQ, PP_AUDIT_ARCH, 1);
    answer(program, SECCOMP_RET_ALLOW);
    load(program, LOAD(nr));
    add_argument_checks(program);
    const unsigned short tree = program->length;
    search(program, runs, count);
    const unsigned short ask = program->length;
    load(program, LOAD(args[5]));
    skip_unless(program, BPF_JEQ, (uint32_t)cookie, 3);
    load(program, LOAD(args[5]) + 4);
    skip_unless(program, BPF_JEQ, (uint32_t)(cookie >> 32), 1);
    answer(program, SECCOMP_RET_ALLOW);
    const unsigned short notice = program->length;
    answer(program, SECCOMP_RET_USER_NOTIF);
    for (unsigned short i = tree; i < ask; i++) {
        struct sock_filter *jump = &program->code[i];
        if (jump->code == (BPF_JMP | BPF_JA))
            jump->k = (uint32_t)((jump->k ? ask : notice) - i - 1);
    }
}

int pp_filter_install(uint64_t cookie, int wait_killable)
{
    struct program program = {.length = 0};
    build(&program, cookie);
    if (program.length == LENGTH_MAX)
        return -E2BIG;
    const struct sock_fprog filter = {program.length, program.code};
    unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    if (wait_killable)
        flags |= SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -errno;
    const long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
    return listener < 0 ? -errno : (int)listener;
}

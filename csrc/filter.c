/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "filter.h"

#include <asm/unistd.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/x86_64/registers.h"
#include "syscalls.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define NUMBERS 512
#define LENGTH_MAX 256

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

/* Calls that change what others mean: the engine takes notice of them, and lets them run. */
static int is_noticed(int number)
{
    return number == __NR_pivot_root || number == __NR_unshare || number == __NR_setns ||
           number == __NR_seccomp;
}

/* The numbers are compared one by one: the kernel remembers those that always pass, so that only
 * the others get here. */
static void build(struct program *program, uint64_t cookie)
{
    load(program, LOAD(arch));
    skip_if(program, BPF_JEQ, PP_AUDIT_ARCH, 1);
    answer(program, SECCOMP_RET_ALLOW);
    load(program, LOAD(nr));
    /* Nothing may go round the filter. */
    skip_unless(program, BPF_JEQ, __NR_io_uring_setup, 1);
    answer(program, SECCOMP_RET_ERRNO | ENOSYS);
    skip_unless(program, BPF_JEQ, __NR_clone, 4);
    load(program, LOAD(args[0]));
    skip_unless(program, BPF_JSET, CLONE_NEWNS, 1);
    answer(program, SECCOMP_RET_USER_NOTIF);
    answer(program, SECCOMP_RET_ALLOW);
    skip_unless(program, BPF_JEQ, __NR_prctl, 4);
    load(program, LOAD(args[0]));
    skip_unless(program, BPF_JEQ, PR_SET_SECCOMP, 1);
    answer(program, SECCOMP_RET_USER_NOTIF);
    answer(program, SECCOMP_RET_ALLOW);
    for (int number = 0; number < NUMBERS; number++) {
        if (is_noticed(number)) {
            skip_unless(program, BPF_JEQ, (uint32_t)number, 1);
            answer(program, SECCOMP_RET_USER_NOTIF);
        }
    }
    /* Runs of numbers that follow one another are tested at once: 1 + 2 instructions each. */
    for (int number = 0; number < NUMBERS;) {
        if (!pp_is_trapped(number)) {
            number++;
            continue;
        }
        const int first = number;
        while (pp_is_trapped(number))
            number++;
        const uint8_t length = 6; /* of what asks, below */
        if (number - first == 1) {
            skip_unless(program, BPF_JEQ, (uint32_t)first, length);
        } else {
            skip_unless(program, BPF_JGE, (uint32_t)first, length + 1);
            skip_if(program, BPF_JGE, (uint32_t)number, length);
        }
        load(program, LOAD(args[5]));
        skip_unless(program, BPF_JEQ, (uint32_t)cookie, 3);
        load(program, LOAD(args[5]) + 4);
        skip_unless(program, BPF_JEQ, (uint32_t)(cookie >> 32), 1);
        answer(program, SECCOMP_RET_ALLOW);
        answer(program, SECCOMP_RET_USER_NOTIF);
    }
    answer(program, SECCOMP_RET_ALLOW);
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

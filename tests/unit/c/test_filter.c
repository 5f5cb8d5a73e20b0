/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The seccomp filter, as an interpreter of classic BPF sees it: what it does with each system call.
 * The linker gives us the calls by which it would be installed (--wrap).
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "check.h"
#include "core/decide.h"
#include "engine/filter.h"

#define COOKIE UINT64_C(0x123456789abcdef0)
#define LISTENER 17
#define NUMBERS 1024
#define ASKS SECCOMP_RET_USER_NOTIF
#define PASSES SECCOMP_RET_ALLOW

int failed_checks;

/* What was installed */

static struct sock_filter program[BPF_MAXINSNS];
static unsigned program_length;
static unsigned long install_flags;
static int has_no_new_privileges;
static int install_error;

int __wrap_prctl(int option, ...);
long __wrap_syscall(long number, ...);

int __wrap_prctl(int option, ...)
{
    has_no_new_privileges |= option == PR_SET_NO_NEW_PRIVS;
    return 0;
}

long __wrap_syscall(long number, ...)
{
    va_list arguments;

    CHECK_EQUAL(number, SYS_seccomp);
    va_start(arguments, number);
    const int operation = va_arg(arguments, int);
    install_flags = va_arg(arguments, unsigned long);
    const struct sock_fprog *given = va_arg(arguments, const struct sock_fprog *);
    va_end(arguments);
    CHECK_EQUAL(operation, SECCOMP_SET_MODE_FILTER);
    CHECK(has_no_new_privileges); /* the kernel wants that first, without root */
    program_length = given->len;
    memcpy(program, given->filter, given->len * sizeof program[0]);
    if (install_error) {
        errno = install_error;
        return -1;
    }
    return LISTENER;
}

/* The interpreter: of the instructions that seccomp allows those that pyparrot's filter needs. */

static int jump(const struct sock_filter *instruction, uint32_t accumulator)
{
    const uint32_t value = instruction->k;
    int holds = 0;

    switch (BPF_OP(instruction->code)) {
    case BPF_JA:
        return (int)value;
    case BPF_JEQ:
        holds = accumulator == value;
        break;
    case BPF_JGT:
        holds = accumulator > value;
        break;
    case BPF_JGE:
        holds = accumulator >= value;
        break;
    case BPF_JSET:
        holds = (accumulator & value) != 0;
        break;
    default:
        CHECK(!"a known jump");
    }
    return holds ? instruction->jt : instruction->jf;
}

static unsigned longest;

static uint32_t run(const struct seccomp_data *data)
{
    uint32_t accumulator = 0;
    unsigned steps = 0;

    for (unsigned at = 0; at < program_length; at++) {
        const struct sock_filter *instruction = &program[at];
        steps++;
        switch (BPF_CLASS(instruction->code)) {
        case BPF_LD:
            CHECK_EQUAL(instruction->code, BPF_LD | BPF_W | BPF_ABS);
            CHECK(instruction->k % 4 == 0 && instruction->k + 4 <= sizeof *data);
            memcpy(&accumulator, (const char *)data + instruction->k, sizeof accumulator);
            break;
        case BPF_JMP:
            at += (unsigned)jump(instruction, accumulator);
            break;
        case BPF_RET:
            longest = steps > longest ? steps : longest;
            return instruction->k;
        default:
            CHECK(!"a known instruction");
        }
    }
    CHECK(!"an end");
    return SECCOMP_RET_KILL_PROCESS;
}

static uint32_t call(int number, uint64_t first, uint64_t sixth)
{
    const struct seccomp_data data = {
        .nr = number,
#if defined(__x86_64__)
        .arch = AUDIT_ARCH_X86_64,
#elif defined(__aarch64__)
        .arch = AUDIT_ARCH_AARCH64,
#endif
        .args = {first, 0, 0, 0, 0, sixth},
    };
    return run(&data);
}

/* Calls that the engine only takes notice of. */
static int is_noticed(int number)
{
    return number == SYS_pivot_root || number == SYS_unshare || number == SYS_setns ||
           number == SYS_seccomp || number == SYS_mount || number == SYS_umount2 ||
           number == 429 /* move_mount */;
}

/* Calls of which the filter looks at the first argument. */
static int is_looked_into(int number)
{
    return number == SYS_clone || number == SYS_prctl || number == SYS_ptrace ||
           number == SYS_io_uring_setup;
}

static void test_installing(void)
{
    CHECK_EQUAL(pp_filter_install(COOKIE, 0), LISTENER);
    CHECK_EQUAL(install_flags, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    CHECK(program_length > 0);
    install_error = EBUSY;
    CHECK_EQUAL(pp_filter_install(COOKIE, 0), -EBUSY);
    install_error = 0;
    CHECK_EQUAL(pp_filter_install(COOKIE, 1), LISTENER);
    CHECK(install_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER);
    CHECK(install_flags != SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

static void test_what_stops(void)
{
    for (int number = 0; number < NUMBERS; number++) {
        if (is_looked_into(number))
            continue;
        const uint32_t wanted = pp_is_trapped(number) || is_noticed(number) ? ASKS : PASSES;
        if (call(number, 1, 0) != wanted)
            fprintf(stderr, "system call %d:\n", number);
        CHECK_EQUAL(call(number, 1, 0), wanted);
        CHECK_EQUAL(call(number, 1, COOKIE), is_noticed(number) ? ASKS : PASSES);
    }
    CHECK_EQUAL(call(SYS_openat, 1, 0), ASKS);
    CHECK_EQUAL(call(SYS_execve, 1, 0), ASKS);
    CHECK_EQUAL(call(SYS_read, 1, 0), PASSES);
    CHECK_EQUAL(call(SYS_mmap, 1, 0), PASSES);
    CHECK_EQUAL(call(-1, 1, 0), PASSES);
    CHECK_EQUAL(call(0x40000000 | SYS_openat, 1, 0), PASSES); /* x32 */
}

/* Each of its halves has to be right. */
static void test_the_cookie(void)
{
    CHECK_EQUAL(call(SYS_openat, 1, COOKIE), PASSES);
    CHECK_EQUAL(call(SYS_openat, 1, COOKIE ^ 1), ASKS);
    CHECK_EQUAL(call(SYS_openat, 1, COOKIE ^ UINT64_C(1) << 32), ASKS);
    CHECK_EQUAL(call(SYS_openat, 1, COOKIE & UINT32_MAX), ASKS);
    CHECK_EQUAL(call(SYS_openat, 1, COOKIE >> 32), ASKS);
    CHECK_EQUAL(call(SYS_openat, COOKIE, 0), ASKS); /* in another argument */
    CHECK_EQUAL(pp_filter_install(~COOKIE, 0), LISTENER);
    CHECK_EQUAL(call(SYS_openat, 1, COOKIE), ASKS);
    CHECK_EQUAL(call(SYS_openat, 1, ~COOKIE), PASSES);
}

static void test_what_is_looked_into(void)
{
    CHECK_EQUAL(call(SYS_clone, CLONE_VM | CLONE_THREAD, 0), PASSES);
    CHECK_EQUAL(call(SYS_clone, CLONE_NEWNS, 0), ASKS);
    CHECK_EQUAL(call(SYS_clone, CLONE_NEWNS | CLONE_NEWUSER, COOKIE), ASKS);
    CHECK_EQUAL(call(SYS_prctl, PR_SET_NAME, 0), PASSES);
    CHECK_EQUAL(call(SYS_prctl, PR_SET_SECCOMP, 0), ASKS);
    CHECK_EQUAL(call(SYS_ptrace, PTRACE_PEEKDATA, 0), PASSES);
    CHECK_EQUAL(call(SYS_ptrace, PTRACE_TRACEME, 0), ASKS);
    CHECK_EQUAL(call(SYS_ptrace, PTRACE_ATTACH, 0), ASKS);
    CHECK_EQUAL(call(SYS_ptrace, PTRACE_SEIZE, 0), ASKS);
    /* It would go round the filter. */
    CHECK_EQUAL(call(SYS_io_uring_setup, 1, COOKIE), SECCOMP_RET_ERRNO | ENOSYS);
}

static void test_another_architecture_passes(void)
{
    const struct seccomp_data data = {.nr = SYS_openat, .arch = AUDIT_ARCH_I386};
    CHECK_EQUAL(run(&data), PASSES);
}

int main(void)
{
    test_installing();
    test_what_stops();
    test_the_cookie();
    test_what_is_looked_into();
    test_another_architecture_passes();
    CHECK(longest < 40); /* each call of a program pays for these steps */
    return failed_checks != 0;
}

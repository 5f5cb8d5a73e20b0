/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A library that makes system calls of its own, in the way of the C library; compiled with
 * different numbers of NUMBER it has the same calls at different places.
 */
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[] = {"first", "second", "third"};

const char *which(void)
{
    return names[NUMBER];
}

int getppid(void)
{
    return 7000 + NUMBER;
}

long look_with(const char *path, struct stat *status);

/* stat(), and NUMBER if that has succeeded. */
__asm__(".text\n.globl look_with\n.type look_with,@function\nlook_with:\n"
        ".rept " NOPS "\n nop\n .endr\n"
        "mov $4,%eax\n"
        "syscall\n"
        "cmp $-4095,%rax\n"
        "jae 1f\n"
        "add $" DIGIT ",%rax\n"
        "1: ret\n.size look_with,.-look_with\n");

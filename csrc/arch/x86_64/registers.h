/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A stopped task's registers: where a system call has its number, its arguments and its result.
 */
#ifndef PYPARROT_REGISTERS_H
#define PYPARROT_REGISTERS_H

#include <linux/audit.h>
#include <stdint.h>
#include <sys/user.h>

#define PP_AUDIT_ARCH AUDIT_ARCH_X86_64
#define PP_SYSCALL_SIZE 2        /* bytes of the instruction … */
#define PP_SYSCALL_CODE 0x050f   /* … which are these, as a little-endian word */
#define PP_NO_SYSCALL UINT64_MAX /* as orig_rax: there is no call to restart */

typedef struct user_regs_struct pp_registers;

/* Make the task, stopped behind a system call's instruction, execute it again as another call. */
static inline void pp_set_call(pp_registers *registers, int number, const uint64_t args[6])
{
    registers->rip -= PP_SYSCALL_SIZE;
    registers->orig_rax = PP_NO_SYSCALL;
    registers->rax = (unsigned)number;
    registers->rdi = args[0];
    registers->rsi = args[1];
    registers->rdx = args[2];
    registers->r10 = args[3];
    registers->r8 = args[4];
    registers->r9 = args[5];
}

/* Make the task go on behind its system call with this result. */
static inline void pp_set_result(pp_registers *registers, int64_t result)
{
    registers->orig_rax = PP_NO_SYSCALL;
    registers->rax = (uint64_t)result;
}

/* The same if a signal has interrupted its call, which the kernel still has to restart or to end:
 * `result` is one of its own numbers for that. The number of the call is there still. */
static inline void pp_set_interrupted(pp_registers *registers, int64_t result)
{
    registers->rax = (uint64_t)result;
}

static inline int64_t pp_result(const pp_registers *registers)
{
    return (int64_t)registers->rax;
}

static inline uint64_t pp_stack(const pp_registers *registers)
{
    return registers->rsp;
}

/* Where the task goes on. */
static inline uint64_t pp_next(const pp_registers *registers)
{
    return registers->rip;
}

/* Make it go on behind an instruction at `address`. */
static inline void pp_set_next(pp_registers *registers, uint64_t address)
{
    registers->rip = address;
}

#endif

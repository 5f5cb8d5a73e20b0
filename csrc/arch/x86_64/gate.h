/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * System calls without a libc, and what the shim's way in leaves behind.
 */
#ifndef PYPARROT_GATE_H
#define PYPARROT_GATE_H

#include <stdint.h>

static inline int64_t pp_system_call(int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                     uint64_t e, uint64_t f)
{
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    int64_t result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* The end of the addresses that a program can have. */
#define PP_ADDRESS_END UINT64_C(0x7ffffffff000)

/* What a patched site leaves on the stack: see entry.S. */
struct pp_entry {
    uint64_t number;
    uint64_t args[6];
};

/* Run on another stack. */
int64_t pp_on_stack(void *top, int64_t (*run)(void *), void *argument);

#endif

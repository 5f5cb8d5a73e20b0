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

/* Write a jump from one address to another, which takes `length` bytes: 0, or -1 if it is too far.
 */
static inline int pp_make_jump(uint8_t *code, uint32_t length, uint64_t from, uint64_t to)
{
    const int64_t distance = (int64_t)(to - (from + 5));

    if (distance != (int32_t)distance || length < 5)
        return -1;
    code[0] = 0xe9; /* jmp */
    for (uint32_t i = 0; i < 4; i++)
        code[1 + i] = (uint8_t)((uint64_t)distance >> 8 * i);
    for (uint32_t i = 5; i < length; i++)
        code[i] = 0xcc; /* int3: nothing gets there */
    return 0;
}

/* What a patched site leaves on the stack: see entry.S. */
struct pp_entry {
    uint64_t number;
    uint64_t args[6];
};

/* Run on another stack. */
int64_t pp_on_stack(void *top, int64_t (*run)(void *), void *argument);

#endif

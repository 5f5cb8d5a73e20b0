/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first instructions of a program without a C library.
 */
#ifndef PYPARROT_START_H
#define PYPARROT_START_H

/* Calls pp_start with the address of what the kernel has put on the stack: the count of arguments,
 * the arguments, NULL, the environment, NULL, and the auxiliary vector. */
#define PP_START                                                                                   \
    __asm__(".globl _start\n"                                                                      \
            "_start:\n"                                                                            \
            "    xorl %ebp, %ebp\n"                                                                \
            "    movq %rsp, %rdi\n"                                                                \
            "    andq $-16, %rsp\n"                                                                \
            "    call pp_start\n"                                                                  \
            "    hlt\n")

#endif

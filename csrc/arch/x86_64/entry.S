/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The way in and out of the shim.
 *
 * A stub jumps here in place of a system call's instruction, with the address where the program goes
 * on in %r11. Rules that hold here:
 *  - The program finds its registers as behind a system call: all but %rax, %rcx, %r11 and the flags are
 *    as they were. The shim's C uses no vector registers, and needs no aligned stack.
 *  - What is below the stack pointer may be the program's (the red zone): it is stepped over.
 *  - The comparison that stood behind the instruction is made here, since the jump to the stub has
 *    taken its place.
 *  - An unwinder finds its way from here to the program (pthread_cancel): CFI at each step.
 */
    .text

    .macro enter name, comparison:vararg
    .globl \name
    .type \name, @function
    .balign 16
\name:
    .cfi_startproc
    .cfi_def_cfa %rsp, 0
    .cfi_register %rip, %r11
    lea -128(%rsp), %rsp
    .cfi_adjust_cfa_offset 128
    push %r11
    .cfi_adjust_cfa_offset 8
    .cfi_offset %rip, -136
    push %r9
    .cfi_adjust_cfa_offset 8
    push %r8
    .cfi_adjust_cfa_offset 8
    push %r10
    .cfi_adjust_cfa_offset 8
    push %rdx
    .cfi_adjust_cfa_offset 8
    push %rsi
    .cfi_adjust_cfa_offset 8
    push %rdi
    .cfi_adjust_cfa_offset 8
    push %rax
    .cfi_adjust_cfa_offset 8
    mov %rsp, %rdi
    call pp_dispatch
    add $8, %rsp
    .cfi_adjust_cfa_offset -8
    pop %rdi
    .cfi_adjust_cfa_offset -8
    pop %rsi
    .cfi_adjust_cfa_offset -8
    pop %rdx
    .cfi_adjust_cfa_offset -8
    pop %r10
    .cfi_adjust_cfa_offset -8
    pop %r8
    .cfi_adjust_cfa_offset -8
    pop %r9
    .cfi_adjust_cfa_offset -8
    pop %r11
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %r11
    lea 128(%rsp), %rsp
    .cfi_adjust_cfa_offset -128
    \comparison
    jmp *%r11
    .cfi_endproc
    .size \name, . - \name
    .endm

    enter pp_enter_0, cmp $-4095, %rax
    enter pp_enter_1, cmp $-4096, %rax
    enter pp_enter_2, cmp $0xfffff001, %eax
    enter pp_enter_3, cmp $0xfffff000, %eax

/* int64_t pp_on_stack(void *top, int64_t (*run)(void *), void *argument) */
    .globl pp_on_stack
    .hidden pp_on_stack
    .type pp_on_stack, @function
    .balign 16
pp_on_stack:
    .cfi_startproc
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    mov %rsp, %rbp
    .cfi_def_cfa_register %rbp
    mov %rdi, %rsp
    mov %rdx, %rdi
    call *%rsi
    leave
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
    .size pp_on_stack, . - pp_on_stack

    .section .scratch.GNU-stack, "", @progbits

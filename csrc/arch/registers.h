/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a CPU has of its own about a stopped task, for the CPU at hand. Each defines struct
 * pp_registers' accessors with the same names: nothing outside of arch/ knows a register.
 */
#ifndef PYPARROT_ARCH_REGISTERS_H
#define PYPARROT_ARCH_REGISTERS_H

#if defined(__x86_64__)
#include "arch/x86_64/registers.h"
#else
#error "no arch/CPU/registers.h for this CPU"
#endif

#endif

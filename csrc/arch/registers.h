/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A stopped task's registers, for the CPU that this is built for. Each CPU defines the same
 * functions on pp_registers: no code outside of arch/ names a register or an instruction.
 */
#ifndef PYPARROT_ARCH_REGISTERS_H
#define PYPARROT_ARCH_REGISTERS_H

#if defined(__x86_64__)
#include "arch/x86_64/registers.h"
#else
#error "no arch/CPU/registers.h for this CPU"
#endif

#endif

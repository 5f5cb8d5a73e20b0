/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * System calls without a C library, for the CPU that this is built for:
 * pp_system_call, struct pp_entry, pp_on_stack, PP_ADDRESS_END.
 */
#ifndef PYPARROT_ARCH_GATE_H
#define PYPARROT_ARCH_GATE_H

#if defined(__x86_64__)
#include "arch/x86_64/gate.h"
#else
#error "no arch/CPU/gate.h for this CPU"
#endif

#endif

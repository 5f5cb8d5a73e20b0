/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first instructions of a program without a C library, for the CPU that this is built for:
 * PP_START.
 */
#ifndef PYPARROT_ARCH_START_H
#define PYPARROT_ARCH_START_H

#if defined(__x86_64__)
#include "arch/x86_64/start.h"
#else
#error "no arch/CPU/start.h for this CPU"
#endif

#endif

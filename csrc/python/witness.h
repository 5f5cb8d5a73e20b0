/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which signals a process has got, and when, for another one to read.
 */
#ifndef PYPARROT_WITNESS_H
#define PYPARROT_WITNESS_H

#include <stdint.h>
#include <sys/types.h>

/* cffi: begin */

#define PP_WITNESSED 256

struct pp_witnessed {
    int64_t time; /* nanoseconds, of CLOCK_MONOTONIC */
    int number;
};

/* Shared memory. */
struct pp_witness {
    int thread;     /* that takes the signals; 0: it has not begun */
    uint32_t count; /* of all so far: that many lie in the ring, but no more than it has places */
    struct pp_witnessed ring[PP_WITNESSED];
};

/* NULL without memory. */
struct pp_witness *pp_witness_new(void);

/* Write down each signal that this process gets but SIGCHLD, for ever. All signals have to be
 * blocked in all threads. */
void pp_witness_signals(struct pp_witness *witness);

/* cffi: end */

#endif

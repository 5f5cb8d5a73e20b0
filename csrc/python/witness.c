/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Rules: one thread writes at a time, without the GIL; it sleeps only when all that it has taken is
 * written down, so that a reader can tell by its state.
 */
#include "python/witness.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS INT64_C(1000000000)

struct pp_witness *pp_witness_new(void)
{
    struct pp_witness *witness =
        mmap(NULL, sizeof *witness, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return witness == MAP_FAILED ? NULL : witness;
}

void pp_witness_signals(struct pp_witness *witness)
{
    struct timespec now;
    sigset_t all;

    sigfillset(&all);
    __atomic_store_n(&witness->thread, (int)syscall(SYS_gettid), __ATOMIC_RELAXED);
    for (;;) {
        const int number = sigwaitinfo(&all, NULL);
        if (number <= 0 || number == SIGCHLD)
            continue;
        clock_gettime(CLOCK_MONOTONIC, &now);
        witness->ring[witness->count % PP_WITNESSED] =
            (struct pp_witnessed){now.tv_sec * NANOSECONDS + now.tv_nsec, number};
        __atomic_store_n(&witness->count, witness->count + 1, __ATOMIC_RELEASE);
    }
}

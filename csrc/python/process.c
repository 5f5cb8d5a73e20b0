/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Rules: no state, and no lock is held while waiting; all functions are called without the GIL.
 */
#include "python/process.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int pp_execute(const char *path, char *const *arguments, char *const *environment)
{
    execve(path, arguments, environment);
    return errno;
}

void pp_witness_signals(int descriptor)
{
    sigset_t all;
    sigfillset(&all);
    for (;;) {
        int number = sigwaitinfo(&all, NULL);
        if (number <= 0 || number == SIGCHLD)
            continue;
        char line[48];
        int size = snprintf(line, sizeof line, "W%d\n", number);
        /* Shorter than PIPE_BUF, so it is written at once. When the reader has ended that gives
         * another signal, SIGPIPE; then they are only taken. */
        if (descriptor >= 0 && write(descriptor, line, (size_t)size) < 0)
            descriptor = -1;
    }
}

void pp_share_heap(void)
{
    mallopt(M_ARENA_MAX, 1);
}

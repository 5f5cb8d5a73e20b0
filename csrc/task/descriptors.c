/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "task/descriptors.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define TRIES 500
#define PAUSE_NS 1000000

int pp_is_to_be_tried_again(int *tries)
{
    static const char line[] =
        "pyparrot: run: too few open files are allowed: calls have failed (ulimit -n)\n";
    static int is_said;
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    const int error = errno;

    if (error != EMFILE && error != ENFILE)
        return 0;
    if (++*tries <= TRIES) {
        nanosleep(&pause, NULL);
        return 1;
    }
    if (!__atomic_exchange_n(&is_said, 1, __ATOMIC_RELAXED) &&
        write(STDERR_FILENO, line, sizeof line - 1) < 0) {
        /* There is nobody to hear it. */
    }
    errno = EIO;
    return 0;
}

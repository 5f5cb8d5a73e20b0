/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "python/process.h"

#include <errno.h>
#include <malloc.h>
#include <unistd.h>

int pp_execute(const char *path, char *const *arguments, char *const *environment)
{
    execve(path, arguments, environment);
    return errno;
}

void pp_share_heap(void)
{
    mallopt(M_ARENA_MAX, 1);
}

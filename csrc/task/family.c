/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "task/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "task/proc.h"

/* A number after a name in the text of /proc/TASK/status. */
static pid_t number_behind(const char *status, const char *name)
{
    const char *line = strstr(status, name);
    return line ? (pid_t)strtol(line + strlen(name), NULL, 10) : 0;
}

/* Whether the task's processes have the numbers that they have here. */
static int has_same_numbers(pid_t task)
{
    char ours[64], theirs[64];
    const ssize_t length = readlink("/proc/self/ns/pid", ours, sizeof ours);
    return length > 0 && pp_proc_link(task, "ns/pid", theirs, sizeof theirs) == length &&
           memcmp(ours, theirs, (size_t)length) == 0;
}

int64_t pp_family_parent(struct pp_family *family, pid_t task)
{
    char status[4096];

    if (!family->monitor)
        return -1;
    pp_proc_read(task, "status", status, sizeof status);
    if (number_behind(status, "\nPPid:") != family->monitor || !has_same_numbers(task))
        return -1;
    if (number_behind(status, "\nTgid:") == family->command)
        return family->frontend;
    return pp_reaper_ask(family->reaper);
}

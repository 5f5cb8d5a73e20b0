/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "task/proc.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task/descriptors.h"

#define PATH_SIZE 64

static const char *path_of(char path[PATH_SIZE], pid_t task, const char *name)
{
    snprintf(path, PATH_SIZE, "/proc/%d/%s", task, name);
    return path;
}

int pp_proc_open(pid_t task, const char *name, int flags)
{
    char path[PATH_SIZE];
    return PP_DESCRIPTOR(open(path_of(path, task, name), flags | O_CLOEXEC));
}

void pp_proc_read(pid_t task, const char *name, char *text, size_t capacity)
{
    text[0] = 0;
    const int descriptor = pp_proc_open(task, name, O_RDONLY);
    if (descriptor < 0)
        return;
    const ssize_t size = read(descriptor, text, capacity - 1);
    close(descriptor);
    text[size > 0 ? size : 0] = 0;
}

ssize_t pp_proc_link(pid_t task, const char *name, char *buffer, size_t capacity)
{
    char path[PATH_SIZE];
    const ssize_t length = readlink(path_of(path, task, name), buffer, capacity);
    return length < 0 ? -errno : length;
}

uint64_t pp_proc_execfn(pid_t task)
{
    uint64_t pairs[64][2];
    const int vector = pp_proc_open(task, "auxv", O_RDONLY);
    const ssize_t size = vector < 0 ? 0 : read(vector, pairs, sizeof pairs);

    if (vector >= 0)
        close(vector);
    for (ssize_t i = 0; i < size / (ssize_t)sizeof pairs[0] && pairs[i][0] != AT_NULL; i++)
        if (pairs[i][0] == AT_EXECFN)
            return pairs[i][1];
    return 0;
}

int pp_proc_may_read(pid_t task, int file)
{
    char text[4096];
    struct stat status;
    unsigned real, effective;

    if (geteuid() != 0 || (fstat(file, &status) == 0 && status.st_mode & S_IROTH))
        return 1;
    pp_proc_read(task, "status", text, sizeof text);
    const char *users = strstr(text, "\nUid:");
    return users && sscanf(users + 5, "%u %u", &real, &effective) == 2 && effective == 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which processes are subreapers nothing in /proc says. So an orphan is made outside of the run, at
 * the first time that somebody asks, and says who has got it.
 */
#include "task/family.h"

#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "task/proc.h"

#define INIT 1
#define TRIES 10000
#define PAUSE_NS 100000
#define WAIT_MS 2000

/* Fork, in a process with threads: the child makes nothing but system calls. */
static pid_t fork_plainly(unsigned long flags)
{
    return (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
}

/* The orphan's part. */
static void tell_parent(pid_t before, int pipe)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};

    for (int i = 0; i < TRIES; i++) {
        const pid_t parent = (pid_t)syscall(SYS_getppid);
        if (parent != before) {
            syscall(SYS_write, pipe, &parent, sizeof parent);
            break;
        }
        syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    syscall(SYS_exit_group, 0);
}

/* The process that is to be its parent is a child of the frontend's (CLONE_PARENT), hence nothing
 * of the run's stands above it but the frontend, which inherits nobody. */
static pid_t find_reaper(void)
{
    int ends[2];
    pid_t reaper = 0;

    if (pipe2(ends, 02000000 /* O_CLOEXEC */))
        return 0;
    const pid_t child = fork_plainly(CLONE_PARENT | SIGCHLD);
    if (child == 0) {
        const pid_t own = (pid_t)syscall(SYS_getpid);
        if (fork_plainly(SIGCHLD) == 0)
            tell_parent(own, ends[1]);
        syscall(SYS_exit_group, 0);
    }
    close(ends[1]);
    struct pollfd wait = {.fd = ends[0], .events = POLLIN};
    if (child < 0 || poll(&wait, 1, WAIT_MS) != 1 ||
        read(ends[0], &reaper, sizeof reaper) != sizeof reaper)
        reaper = 0;
    close(ends[0]);
    return reaper;
}

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
    int reaper = __atomic_load_n(&family->reaper, __ATOMIC_RELAXED);
    if (!reaper) {
        /* Two threads may ask at the same time: they get the same answer. */
        reaper = find_reaper();
        if (!reaper || reaper == family->monitor)
            reaper = INIT;
        __atomic_store_n(&family->reaper, reaper, __ATOMIC_RELAXED);
    }
    return reaper;
}

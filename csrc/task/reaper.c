/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which processes are subreapers nothing in /proc says. So an orphan is made for a moment, and says
 * who has got it. It stays in the table of processes where process 1 reaps nobody; hence that is
 * done only when somebody asks.
 *
 * Rules: frontends may have other threads, so what is forked makes nothing but system calls.
 */
#include "task/reaper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define INIT 1
#define TRIES 10000
#define PAUSE_NS 100000
#define WAIT_MS 2000

struct pp_reaper *pp_reaper_new(int to_frontend)
{
    struct pp_reaper *reaper =
        mmap(NULL, sizeof *reaper, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reaper == MAP_FAILED)
        return NULL;
    reaper->to_frontend = to_frontend;
    return reaper;
}

/* Fork; the parent hears nothing of the child's end. */
static pid_t fork_plainly(void)
{
    return (pid_t)syscall(SYS_clone, 0UL, NULL, NULL, NULL, NULL);
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

static pid_t make_orphan(void)
{
    int ends[2];
    pid_t reaper = 0;

    if (pipe2(ends, O_CLOEXEC))
        return 0;
    const pid_t child = fork_plainly();
    if (child == 0) {
        const pid_t own = (pid_t)syscall(SYS_getpid);
        if (fork_plainly() == 0)
            tell_parent(own, ends[1]);
        syscall(SYS_exit_group, 0);
    }
    close(ends[1]);
    if (child > 0) {
        while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
            ;
        struct pollfd wait = {.fd = ends[0], .events = POLLIN};
        if (poll(&wait, 1, WAIT_MS) != 1 || read(ends[0], &reaper, sizeof reaper) != sizeof reaper)
            reaper = 0;
    }
    close(ends[0]);
    return reaper;
}

void pp_reaper_find(struct pp_reaper *reaper)
{
    if (__atomic_load_n(&reaper->number, __ATOMIC_RELAXED))
        return;
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    const pid_t number = make_orphan();
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    __atomic_store_n(&reaper->number, number ? number : INIT, __ATOMIC_RELEASE);
    syscall(SYS_futex, &reaper->number, FUTEX_WAKE, 1 << 30, NULL, NULL, 0);
}

pid_t pp_reaper_ask(struct pp_reaper *reaper)
{
    const struct timespec limit = {.tv_sec = WAIT_MS / 1000};
    int number = __atomic_load_n(&reaper->number, __ATOMIC_ACQUIRE);

    if (number)
        return number;
    if (!__atomic_exchange_n(&reaper->asked, 1, __ATOMIC_RELAXED) &&
        write(reaper->to_frontend, "O\n", 2) != 2)
        return INIT;
    /* A frontend that is stopped does not answer. */
    syscall(SYS_futex, &reaper->number, FUTEX_WAIT, 0, &limit, NULL, 0);
    number = __atomic_load_n(&reaper->number, __ATOMIC_ACQUIRE);
    return number ? number : INIT;
}

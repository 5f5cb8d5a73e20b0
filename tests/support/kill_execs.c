/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Kill vfork children on their way into a program: kill_execs PROGRAM COUNT MICROSECONDS
 *
 * Each child is killed at a random moment within so many microseconds at first; the time gets
 * longer while children are killed, and shorter while they run to their end, so that on a machine
 * of any speed some are and some do. Says how many were killed, how many ran, and by how many KiB
 * the private data of this process has grown meanwhile. Ends by SIGALRM if a child that was killed
 * can't be waited for.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS 20
#define STEPS 32 /* the time changes by one in so many parts */

static pid_t child; /* that may be killed; 0 if there is none */
static long spread; /* nanoseconds, more than STEPS */

static void wait_for(long nanoseconds)
{
    struct timespec start, now;

    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec < nanoseconds);
}

static void *kill_children(void *argument)
{
    for (;;) {
        const pid_t task = __atomic_exchange_n(&child, 0, __ATOMIC_SEQ_CST);
        if (task == 0)
            continue;
        wait_for(rand() % __atomic_load_n(&spread, __ATOMIC_RELAXED));
        kill(task, SIGKILL);
    }
    return argument;
}

/* The size of what is mapped for writing and not shared, in KiB. */
static long size(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (!file || fscanf(file, "%*s %*s %*s %*s %*s %ld", &pages) != 1)
        abort();
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int count, char **words)
{
    char *const arguments[] = {words[1], NULL}, *const environment[] = {NULL};
    pthread_t killer;
    int killed = 0, ran = 0;
    long before = 0;

    if (count != 4)
        return 2;
    spread = atol(words[3]) * 1000;
    pthread_create(&killer, NULL, kill_children, NULL);
    for (int i = 0; i < atoi(words[2]); i++) {
        const pid_t started = vfork();
        if (started == 0) {
            __atomic_store_n(&child, getpid(), __ATOMIC_SEQ_CST);
            execve(words[1], arguments, environment);
            _exit(1);
        }
        int status;
        alarm(SECONDS);
        if (waitpid(started, &status, 0) != started)
            return 1;
        alarm(0);
        __atomic_store_n(&child, 0, __ATOMIC_SEQ_CST);
        const int was_killed = WIFSIGNALED(status);
        killed += was_killed;
        ran += !was_killed;
        const long step = was_killed ? spread / STEPS : -(spread / STEPS);
        if (spread + step > STEPS)
            __atomic_store_n(&spread, spread + step, __ATOMIC_RELAXED);
        if (i == atoi(words[2]) / 4) /* what stays for good has been mapped by now */
            before = size();
    }
    printf("killed %d ran %d grown %ld\n", killed, ran, size() - before);
    return 0;
}

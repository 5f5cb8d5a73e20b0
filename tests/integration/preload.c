/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A library to be preloaded: it has functions of libc's that call libc's own, tells a wrong time
 * for files and clocks, as libfaketime does, and its constructor makes a process and a thread.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define YEARS (2 * 365 * 86400)

static int (*real_open)(const char *, int, ...);
static int (*real_stat)(const char *, struct stat *);
static int (*real_fstat)(int, struct stat *);
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *work(void *argument)
{
    return argument;
}

__attribute__((constructor)) static void begin(void)
{
    pthread_t thread;

    pthread_mutex_lock(&lock);
    real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    real_stat = (int (*)(const char *, struct stat *))dlsym(RTLD_NEXT, "stat");
    real_fstat = (int (*)(int, struct stat *))dlsym(RTLD_NEXT, "fstat");
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    pthread_mutex_unlock(&lock);
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    if (pthread_create(&thread, NULL, work, NULL) == 0)
        pthread_join(thread, NULL);
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (!real_open)
        begin();
    return real_open(path, flags, mode);
}

int stat(const char *path, struct stat *status)
{
    const int result = real_stat(path, status);
    status->st_mtim.tv_sec -= YEARS;
    return result;
}

int fstat(int descriptor, struct stat *status)
{
    const int result = real_fstat(descriptor, status);
    status->st_mtim.tv_sec -= YEARS;
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    const int result = real_clock_gettime(clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec -= YEARS;
    return result;
}

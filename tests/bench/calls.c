/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Single system calls, timed: calls TREE ROUNDS prints a line "NAME NANOSECONDS" each, of one call.
 * calls --time TREE COMMAND... touches TREE, runs a command and prints the seconds that it took.
 * calls --exec COUNT DIRECTORY COMMAND... runs a command many times with COUNT directories in
 * LD_LIBRARY_PATH (DIRECTORY/d0 and so on), and prints the median of the seconds that it took.
 * TREE has: small (4 KiB), large (256 MB), many/ (1,000 names), true (a program).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static const char *tree;
static char path[4096];

static const char *in_tree(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", tree, name);
    return path;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    fprintf(stderr, "calls: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int must(int result, const char *what)
{
    if (result < 0)
        fail(what);
    return result;
}

static char buffer[1 << 20];

static void do_getpid(int rounds)
{
    for (int i = 0; i < rounds; i++)
        syscall(SYS_getpid);
}

static void do_getcwd(int rounds)
{
    char here[4096];
    if (!getcwd(here, sizeof here))
        fail("getcwd");
    must(chdir(tree), "chdir");
    for (int i = 0; i < rounds; i++)
        must((int)syscall(SYS_getcwd, buffer, sizeof buffer), "getcwd");
    must(chdir(here), "chdir");
}

static void do_stat(int rounds)
{
    struct stat status;
    in_tree("small");
    for (int i = 0; i < rounds; i++)
        must(stat(path, &status), "stat");
}

static void do_stat_absent(int rounds)
{
    struct stat status;
    in_tree("absent");
    for (int i = 0; i < rounds; i++)
        if (stat(path, &status) == 0)
            fail("stat absent");
}

static void do_access(int rounds)
{
    in_tree("small");
    for (int i = 0; i < rounds; i++)
        must(access(path, R_OK), "access");
}

static void do_open(int rounds)
{
    in_tree("small");
    for (int i = 0; i < rounds; i++)
        close(must(open(path, O_RDONLY), "open"));
}

static void do_open_read(int rounds)
{
    in_tree("small");
    for (int i = 0; i < rounds; i++) {
        const int descriptor = must(open(path, O_RDONLY), "open");
        must((int)read(descriptor, buffer, 4096), "read");
        close(descriptor);
    }
}

static void do_fstat(int rounds)
{
    struct stat status;
    const int descriptor = must(open(in_tree("small"), O_RDONLY), "open");
    for (int i = 0; i < rounds; i++)
        must(fstat(descriptor, &status), "fstat");
    close(descriptor);
}

static void do_pread(int rounds)
{
    const int descriptor = must(open(in_tree("small"), O_RDONLY), "open");
    for (int i = 0; i < rounds; i++)
        must((int)pread(descriptor, buffer, 4096, 0), "pread");
    close(descriptor);
}

static void do_readdir(int rounds)
{
    in_tree("many");
    for (int i = 0; i < rounds; i++) {
        DIR *directory = opendir(path);
        if (!directory)
            fail("opendir");
        while (readdir(directory))
            ;
        closedir(directory);
    }
}

static void do_read_large(int rounds)
{
    for (int i = 0; i < rounds; i++) {
        const int descriptor = must(open(in_tree("large"), O_RDONLY), "open");
        while (read(descriptor, buffer, sizeof buffer) > 0)
            ;
        close(descriptor);
    }
}

static void do_mmap_large(int rounds)
{
    for (int i = 0; i < rounds; i++) {
        struct stat status;
        const int descriptor = must(open(in_tree("large"), O_RDONLY), "open");
        must(fstat(descriptor, &status), "fstat");
        const size_t size = (size_t)status.st_size;
        const volatile char *content = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0);
        if (content == MAP_FAILED)
            fail("mmap");
        for (size_t k = 0; k < size; k += 4096)
            (void)content[k];
        munmap((void *)(uintptr_t)content, size);
        close(descriptor);
    }
}

static void run(char *const arguments[])
{
    pid_t child;
    int status;
    const int error = posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ);
    if (error) {
        errno = error;
        fail(arguments[0]);
    }
    if (waitpid(child, &status, 0) < 0 || status)
        fail(arguments[0]);
}

static void do_exec_real(int rounds)
{
    char *arguments[] = {"/bin/true", NULL};
    for (int i = 0; i < rounds; i++)
        run(arguments);
}

static void do_exec_tree(int rounds)
{
    in_tree("true");
    char *arguments[] = {path, NULL};
    for (int i = 0; i < rounds; i++)
        run(arguments);
}

static const struct {
    const char *name;
    void (*work)(int rounds);
    int divisor; /* rounds are as many times fewer */
} tests[] = {
    {"getpid", do_getpid, 1},
    {"getcwd", do_getcwd, 1},
    {"stat", do_stat, 1},
    {"stat-absent", do_stat_absent, 1},
    {"access", do_access, 1},
    {"open-close", do_open, 1},
    {"open-read-close", do_open_read, 1},
    {"fstat", do_fstat, 1},
    {"pread", do_pread, 1},
    {"readdir", do_readdir, 50},
    {"read-large", do_read_large, 1000000},
    {"mmap-large", do_mmap_large, 1000000},
    {"exec-real", do_exec_real, 50},
    {"exec-tree", do_exec_tree, 50},
};

#define EXECS 101
#define FIRST_EXECS 3

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void set_library_path(int count, const char *directory)
{
    size_t length = 0;
    for (int i = 0; i < count && length < sizeof buffer; i++)
        length += (size_t)snprintf(buffer + length, sizeof buffer - length, "%s%s/d%d",
                                   i ? ":" : "", directory, i);
    setenv("LD_LIBRARY_PATH", buffer, 1);
}

static int time_execs(char *arguments[])
{
    double seconds[EXECS];

    set_library_path(atoi(arguments[0]), arguments[1]);
    for (int i = 0; i < FIRST_EXECS; i++) {
        run(arguments + 2);
        usleep(300000); /* what the first one asked for is being made */
    }
    for (int i = 0; i < EXECS; i++) {
        const double started = now();
        run(arguments + 2);
        seconds[i] = now() - started;
    }
    qsort(seconds, EXECS, sizeof seconds[0], by_size);
    printf("%.9f\n", seconds[EXECS / 2]);
    return 0;
}

int main(int count, char *arguments[])
{
    if (count > 4 && strcmp(arguments[1], "--exec") == 0)
        return time_execs(arguments + 2);
    if (count > 3 && strcmp(arguments[1], "--time") == 0) {
        struct stat ignored;
        must(stat(arguments[2], &ignored), arguments[2]);
        const double started = now();
        pid_t child;
        int status;
        const int error = posix_spawnp(&child, arguments[3], NULL, NULL, arguments + 3, environ);
        if (error || waitpid(child, &status, 0) < 0 || status) {
            fprintf(stderr, "calls: %s failed\n", arguments[3]);
            return 1;
        }
        fprintf(stderr, "%.6f\n", now() - started);
        return 0;
    }
    if (count != 3) {
        fprintf(stderr, "usage: calls TREE ROUNDS | calls --time TREE COMMAND... |"
                        " calls --exec COUNT DIRECTORY COMMAND...\n");
        return 2;
    }
    tree = arguments[1];
    const int rounds = atoi(arguments[2]);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        const int fewer = rounds / tests[i].divisor > 0 ? rounds / tests[i].divisor : 1;
        tests[i].work(1); /* what is fetched, is fetched now */
        const double started = now();
        tests[i].work(fewer);
        printf("%s %.1f\n", tests[i].name, (now() - started) * 1e9 / fewer);
        fflush(stdout);
    }
    return 0;
}

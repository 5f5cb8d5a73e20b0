/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Handlers that make calls, or never return, and threads that are cancelled: see look.h. The word
 * behind the tree is how many signals are to be sent.
 */
#include "look.h"
#include <pthread.h>
#include <setjmp.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile long caught, wanted;

static void shoot(long microseconds)
{
    const struct itimerval often = {{0, microseconds}, {0, microseconds}};
    must(setitimer(ITIMER_REAL, &often, NULL), "setitimer");
}

static void catch_with(void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    wanted = atol(words_left[0]);
    caught = 0;
    must(sigaction(SIGALRM, &action, NULL), "sigaction");
}

/* Handlers that look themselves */

static void look_in_handler(int number)
{
    (void)number;
    caught++;
    look();
}

static void look_under_fire(void (*handler)(int), int flags)
{
    catch_with(handler, flags);
    shoot(300);
    while (caught < wanted)
        look();
    shoot(0);
}

static void do_restart(void)
{
    look_under_fire(look_in_handler, SA_RESTART);
}

static void do_interrupt(void)
{
    look_under_fire(look_in_handler, 0);
}

/* As deep as it gets, but not deeper than the stack. */
static void look_in_nested_handler(int number)
{
    static volatile int depth;
    (void)number;
    caught++;
    if (depth >= 5)
        return;
    depth++;
    look();
    depth--;
}

static void do_nested(void)
{
    look_under_fire(look_in_nested_handler, SA_NODEFER | SA_RESTART);
}

/* On a stack of which just one KiB is left for the handler. */

static struct stat small_status;
static int small_directory;
static char small_buffer[512];

static void look_on_small_stack(int number)
{
    const int error = errno;
    (void)number;
    caught++;
    if (AGAIN(stat(path_file, &small_status)) || small_status.st_size != 8)
        _exit(3);
    if (AGAIN(readlink(path_link, small_buffer, sizeof small_buffer)) != 7)
        _exit(4);
    const int file = (int)AGAIN(open(path_file, O_RDONLY));
    if (file < 0 || close(file))
        _exit(5);
    if (AGAIN(syscall(SYS_getdents64, small_directory, small_buffer, sizeof small_buffer)) < 0)
        _exit(6);
    if (AGAIN(stat(path_absent, &small_status)) == 0)
        _exit(7);
    errno = error;
}

static void do_small_stack(void)
{
    const size_t size = (size_t)sysconf(_SC_MINSIGSTKSZ) + 1024;
    const size_t room = (size + 4095) / 4096 * 4096;
    char *memory =
        mmap(NULL, room + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(memory, 4096, PROT_NONE);
    const stack_t stack = {.ss_sp = memory + 4096, .ss_size = size};
    /* The stack ends at the guard: what is more than asked for lies above it. */
    must(sigaltstack(&stack, NULL), "sigaltstack");
    small_directory = must(open(path_dir, O_RDONLY), "open");
    catch_with(look_on_small_stack, SA_ONSTACK | SA_RESTART);
    shoot(200);
    while (caught < wanted)
        look();
    shoot(0);
}

/* Handlers that jump out */

static sigjmp_buf before;
static ucontext_t context;
static volatile int may_jump;

static void jump(int number)
{
    (void)number;
    caught++;
    if (may_jump)
        siglongjmp(before, 1);
}

static void set_context(int number)
{
    (void)number;
    caught++;
    if (may_jump)
        setcontext(&context);
}

static void look_until_shot(void)
{
    static struct stat status;
    static char buffer[600];
    may_jump = 1;
    while (caught < wanted) {
        if (AGAIN(stat(path_file, &status)) || status.st_size != 8)
            wrong("stat");
        if (AGAIN(access(path_absent, F_OK)) == 0 || errno != ENOENT)
            wrong("access");
        if (AGAIN(readlink(path_link, buffer, sizeof buffer)) != 7)
            wrong("readlink");
        const int directory = must((int)AGAIN(open(path_dir, O_RDONLY)), "open");
        if (AGAIN(syscall(SYS_getdents64, directory, buffer, sizeof buffer)) <= 0)
            wrong("getdents64");
        close(directory);
    }
}

/* What was open when a handler jumped out is open for ever. */
static void tidy(void)
{
    may_jump = 0;
    must(close_range(3, ~0u, 0), "close_range");
}

static void do_longjmp(void)
{
    catch_with(jump, SA_RESTART);
    shoot(30);
    sigsetjmp(before, 1);
    tidy();
    look_until_shot();
    shoot(0);
    tidy();
}

static void do_setcontext(void)
{
    catch_with(set_context, SA_RESTART);
    shoot(30);
    getcontext(&context);
    tidy();
    look_until_shot();
    shoot(0);
    tidy();
}

/* Threads that are cancelled */

static volatile int cleaned;
static const char *const fifo = "fifo";

static void clean(void *unused)
{
    (void)unused;
    __atomic_add_fetch(&cleaned, 1, __ATOMIC_SEQ_CST);
}

static void *open_fifo(void *kind)
{
    int old;
    pthread_cleanup_push(clean, NULL);
    pthread_setcanceltype((int)(intptr_t)kind, &old);
    open(fifo, O_WRONLY); /* nobody reads */
    pthread_cleanup_pop(0);
    return NULL;
}

static void *look_for_ever(void *kind)
{
    static __thread struct stat status;
    static __thread char buffer[64];
    int old;
    pthread_cleanup_push(clean, NULL);
    pthread_setcanceltype((int)(intptr_t)kind, &old);
    for (;;) {
        if (stat(path_file, &status) || access(path_file, R_OK) ||
            stat(path_absent, &status) == 0 || readlink(path_link, buffer, sizeof buffer) != 7)
            wrong("a look");
        if ((int)(intptr_t)kind == PTHREAD_CANCEL_DEFERRED) {
            const int file = open(path_file, O_RDONLY);
            if (file < 0 || close(file))
                wrong("an open");
        }
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void cancel(void *(*work)(void *), int kind, int times)
{
    cleaned = 0;
    for (int i = 0; i < times; i++) {
        pthread_t thread;
        void *result;
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)kind))
            wrong("pthread_create");
        usleep((unsigned)(200 + i * 37 % 500));
        pthread_cancel(thread);
        pthread_join(thread, &result);
        if (result != PTHREAD_CANCELED)
            wrong("the result of a thread");
    }
    printf("cleaned up after %d of %d\n", cleaned, times);
    look();
}

static void do_cancel(void)
{
    must(mkfifo(fifo, 0600), "mkfifo");
    for (int kind = 0; kind < 2; kind++) {
        const int type = kind ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED;
        const int times = atoi(words_left[0]);
        cancel(look_for_ever, type, times);
        cancel(open_fifo, type, times / 10);
    }
}

int main(int count, char **words)
{
    static const struct look_case cases[] = {
        {"restart", do_restart}, {"interrupt", do_interrupt},
        {"nested", do_nested},   {"small-stack", do_small_stack},
        {"longjmp", do_longjmp}, {"setcontext", do_setcontext},
        {"cancel", do_cancel},   {NULL, NULL},
    };
    return look_main(count, words, cases);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Hammer a tree whose bytes follow from its names: hammer TREE PROCESSES THREADS OPERATIONS SIGNALS
 *
 * Many processes with many threads open, read, map, stat and list at random, and look at every
 * byte. SIGNALS is "none", or all threads are shot at with signals: "restart" means that their
 * handlers let calls restart, and no call may be interrupted; with "interrupt" they do not, and
 * calls that are interrupted are counted. One round for each line of standard input; says "done",
 * the worst wait status and that count after each, or what was wrong. The tree is made by
 * test_run_stress.py: file N is TREE/dD/fN with D = N % DIRECTORIES, its size and bytes are below.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIRECTORIES 10
#define FILES 300
#define THREADS_MAX 64

static const char *tree;
static long threads, operations;
static int has_signals, may_interrupt;
static uint64_t *interrupted; /* shared by all processes */
static _Thread_local jmp_buf next;
static volatile int ended;
static long finished;
static volatile sig_atomic_t caught;

static uint32_t size_of(uint32_t number)
{
    return number % 100 == 99 ? 2500000 + number : number * 7919u % 50000u;
}

static unsigned char byte_of(uint32_t number, uint32_t offset)
{
    return (unsigned char)((offset * 2654435761u + number * 40503u) >> 13);
}

static _Noreturn void wrong(const char *what, const char *path, int error)
{
    char line[512];
    if (may_interrupt && error == EINTR) {
        __atomic_add_fetch(interrupted, 1, __ATOMIC_RELAXED);
        longjmp(next, 1);
    }
    const int size = snprintf(line, sizeof line, "wrong: %s %s: %s\n", what, path, strerror(error));
    if (write(1, line, (size_t)size) < 0)
        _exit(3);
    _exit(2);
}

static void check_bytes(uint32_t number, const char *path, uint32_t offset,
                        const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != byte_of(number, offset + (uint32_t)i))
            wrong("a byte of", path, 0);
}

static void check_read(uint32_t number, const char *path, int descriptor)
{
    static _Thread_local unsigned char buffer[65536];
    uint32_t offset = 0;
    for (;;) {
        const ssize_t size = read(descriptor, buffer, sizeof buffer);
        if (size < 0)
            wrong("read", path, errno);
        if (size == 0)
            break;
        check_bytes(number, path, offset, buffer, (size_t)size);
        offset += (uint32_t)size;
    }
    if (offset != size_of(number))
        wrong("the size of", path, 0);
}

static void check_map(uint32_t number, const char *path, int descriptor)
{
    if (size_of(number) == 0)
        return;
    unsigned char *bytes = mmap(NULL, size_of(number), PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED)
        wrong("mmap", path, errno);
    check_bytes(number, path, 0, bytes, size_of(number));
    munmap(bytes, size_of(number));
}

static void check_status(uint32_t number, const char *path, const struct stat *status)
{
    if (!S_ISREG(status->st_mode) || status->st_size != size_of(number))
        wrong("the status of", path, 0);
}

static void check_directory(uint32_t number)
{
    char path[256];
    int count = 0;
    snprintf(path, sizeof path, "%s/d%u", tree, number % DIRECTORIES);
    DIR *directory = opendir(path);
    if (!directory)
        wrong("opendir", path, errno);
    errno = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] == 'f';
    if (errno || count != FILES / DIRECTORIES)
        wrong("readdir", path, errno);
    closedir(directory);
}

static void check_program(void)
{
    extern char **environ;
    char path[256];
    pid_t child;
    int status;
    snprintf(path, sizeof path, "%s/nine", tree);
    char *words[] = {path, NULL};
    const int error = posix_spawn(&child, path, NULL, NULL, words, environ);
    if (error)
        wrong("spawn", path, error);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            wrong("wait", path, errno);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 9)
        wrong("the end of", path, status);
}

static void operate(uint32_t dice)
{
    char path[256], link[256];
    struct stat status;
    const uint32_t number = dice / 16 % FILES;

    snprintf(path, sizeof path, "%s/d%u/f%u", tree, number % DIRECTORIES, number);
    switch (dice % 16) {
    case 0:
        if (lstat("/cvmfs/absent.example.org/x", &status) == 0 || errno != ENOENT)
            wrong("lstat", "what is not there", errno);
        break;
    case 1:
        snprintf(path, sizeof path, "%s/d%u/absent", tree, number % DIRECTORIES);
        if (open(path, O_RDONLY) >= 0 || errno != ENOENT)
            wrong("open", path, errno);
        break;
    case 2:
        check_directory(number);
        break;
    case 3:
        snprintf(path, sizeof path, "%s/link%u", tree, number % DIRECTORIES);
        if (readlink(path, link, sizeof link) != 2)
            wrong("readlink", path, errno);
        break;
    case 4:
        if (dice % 64 == 4)
            check_program();
        break;
    case 5:
        if (mkdir(path, 0777) == 0 || errno != EEXIST)
            wrong("mkdir", path, errno);
        break;
    case 6:
    case 7:
    case 8:
        if (stat(path, &status))
            wrong("stat", path, errno);
        check_status(number, path, &status);
        break;
    default: {
        const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
        if (descriptor < 0)
            wrong("open", path, errno);
        if (fstat(descriptor, &status))
            wrong("fstat", path, errno);
        check_status(number, path, &status);
        if (dice % 2)
            check_read(number, path, descriptor);
        else
            check_map(number, path, descriptor);
        close(descriptor);
    }
    }
}

static void catch (int number)
{
    (void)number;
    caught++;
}

static uint32_t roll(uint32_t state)
{
    state ^= state << 13;
    state ^= state >> 17;
    return state ^ state << 5;
}

static void *run(void *seed)
{
    volatile uint32_t state = (uint32_t)(uintptr_t)seed;
    /* Calls may be over before the first signal comes. */
    for (volatile long i = 0; i < operations || (has_signals && caught < 10); i++) {
        state = roll(state);
        if (setjmp(next) == 0)
            operate(state >> 4);
    }
    __atomic_add_fetch(&finished, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void *shoot(void *list)
{
    static const int numbers[] = {SIGUSR1, SIGURG, SIGUSR2};
    const pthread_t *targets = list;
    uint32_t state = (uint32_t)getpid() * 2654435761u | 1;
    while (!ended) {
        state = roll(state);
        const struct timespec pause = {.tv_nsec = state % 2000000};
        nanosleep(&pause, NULL);
        pthread_kill(targets[(state >> 8) % (uint32_t)threads], numbers[state % 3]);
    }
    return NULL;
}

/* One process: its threads, and one more that sends them signals. */
static _Noreturn void work(uint32_t seed)
{
    pthread_t list[THREADS_MAX], shooter;
    const struct itimerval often = {{0, 3000}, {0, 3000}}, never = {{0, 0}, {0, 0}};

    for (long i = 0; i < threads; i++)
        if (pthread_create(&list[i], NULL, run, (void *)(uintptr_t)((seed + (uint32_t)i) | 1u)))
            wrong("pthread_create", "", 0);
    if (has_signals) {
        setitimer(ITIMER_REAL, &often, NULL);
        pthread_create(&shooter, NULL, shoot, list);
    }
    /* They are joined only once no more signals are sent to them. */
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < threads)
        usleep(1000);
    if (has_signals) {
        ended = 1;
        setitimer(ITIMER_REAL, &never, NULL);
        pthread_join(shooter, NULL);
    }
    for (long i = 0; i < threads; i++)
        pthread_join(list[i], NULL);
    _exit(has_signals && !caught ? 4 : 0);
}

int main(int count, char **words)
{
    char line[16];

    if (count != 6)
        return 64;
    tree = words[1];
    const long processes = atol(words[2]);
    threads = atol(words[3]);
    operations = atol(words[4]);
    has_signals = strcmp(words[5], "none") != 0;
    may_interrupt = strcmp(words[5], "interrupt") == 0;
    interrupted = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (interrupted == MAP_FAILED)
        return 1;
    const struct sigaction action = {.sa_handler = catch,
                                     .sa_flags = may_interrupt ? 0 : SA_RESTART};
    if (has_signals)
        for (int i = 0; i < 4; i++)
            sigaction((const int[]){SIGALRM, SIGUSR1, SIGUSR2, SIGURG}[i], &action, NULL);
    for (uint32_t round = 0; fgets(line, sizeof line, stdin); round++) {
        int worst = 0, status;
        for (long i = 0; i < processes; i++) {
            const pid_t child = fork();
            if (child < 0)
                wrong("fork", "", errno);
            if (child == 0)
                work((round * 1000u + (uint32_t)i) * 40503u + 1u);
        }
        for (long i = 0; i < processes; i++)
            if (wait(&status) > 0 && status > worst)
                worst = status;
        printf("done %d %lu\n", worst, __atomic_exchange_n(interrupted, 0, __ATOMIC_RELAXED));
        fflush(stdout);
    }
    return 0;
}

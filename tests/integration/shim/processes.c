/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Children and threads of all kinds, and what they share: see look.h.
 */
#include "look.h"
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>

extern char **environ;

static void do_fork(void)
{
    for (int i = 0; i < 30; i++) {
        const pid_t child = fork();
        if (child == 0) {
            look();
            const pid_t grandchild = fork();
            if (grandchild == 0) {
                must(chdir(path_dir), "chdir");
                look();
                _exit(access("../file", F_OK));
            }
            wait_for(grandchild);
            look();
            _exit(0);
        }
        look();
        wait_for(child);
    }
}

static void do_vfork(void)
{
    struct stat status;
    for (volatile int i = 0; i < 10; i++) {
        pid_t child = vfork();
        if (child == 0) {
            if (chdir(path_dir) || stat("000", &status) || stat("../file", &status))
                _exit(9);
            execl("/bin/pwd", "pwd", "-P", NULL);
            _exit(8);
        }
        wait_for(child);
        look();
        child = vfork();
        if (child == 0) {
            execl(path_absent, "absent", NULL);
            execl(path_tool, "tool", "by vfork", NULL);
            _exit(8);
        }
        wait_for(child);
    }
    say_where("after vfork");
}

static void do_spawn(void)
{
    static const char script[] = "pwd -P; cat <&5; stat -c %s ../file";
    char *words[] = {"sh", "-c", (char *)script, NULL};
    for (int i = 0; i < 10; i++) {
        pid_t child;
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addchdir_np(&actions, path_dir);
        posix_spawn_file_actions_addopen(&actions, 5, "017", O_RDONLY, 0);
        if (posix_spawn(&child, "/bin/sh", &actions, NULL, words, environ))
            wrong("posix_spawn");
        wait_for(child);
        posix_spawn_file_actions_destroy(&actions);
        look();
    }
    say_where("after posix_spawn");
}

/* Threads that look at relative and absolute paths while others fork. */

static int ended;

static void *look_about(void *unused)
{
    struct stat status;
    while (!__atomic_load_n(&ended, __ATOMIC_RELAXED)) {
        look();
        if (stat("000", &status) || stat("../file", &status) || status.st_size != 8 ||
            stat("absent", &status) == 0)
            wrong("relative paths");
        DIR *directory = opendir(".");
        if (!directory)
            wrong("opendir");
        int count = 0;
        while (readdir(directory))
            count++;
        closedir(directory);
        if (count != FILES + 2)
            wrong("readdir");
        char where[1024];
        if (!getcwd(where, sizeof where) || strcmp(where, path_dir) != 0)
            wrong("getcwd");
    }
    return unused;
}

static void do_threads(void)
{
    pthread_t threads[8];
    must(chdir(path_dir), "chdir");
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, look_about, NULL);
    for (int i = 0; i < 40; i++) {
        const pid_t child = fork();
        if (child == 0) {
            look();
            _exit(access("000", F_OK));
        }
        wait_for(child);
    }
    __atomic_store_n(&ended, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    must(chdir("/"), "chdir");
}

/* Whose working directory changes? */

static void *change_own(void *unused)
{
    must(unshare(CLONE_FS), "unshare");
    must(chdir(path_dir), "chdir");
    look();
    say_where("a thread of its own");
    must(access("000", F_OK), "a relative path");
    return unused;
}

static void *change_all(void *unused)
{
    must(chdir(path_dir), "chdir");
    return unused;
}

static int change_in_clone(void *unused)
{
    (void)unused;
    return chdir(path_dir) || access("000", F_OK);
}

static void try_clone(int flags, const char *what)
{
    static char stack[65536] __attribute__((aligned(64)));
    must(chdir(path_tree), "chdir");
    must(access("file", F_OK), "a relative path");
    wait_for(clone(change_in_clone, stack + sizeof stack, flags | SIGCHLD, NULL));
    say_where(what);
    printf("%d %d\n", access("000", F_OK), access("file", F_OK));
    look();
}

static void do_chdir(void)
{
    pthread_t thread;
    must(chdir(path_tree), "chdir");
    pthread_create(&thread, NULL, change_own, NULL);
    pthread_join(thread, NULL);
    say_where("unshared");
    must(access("file", F_OK), "a relative path");
    pthread_create(&thread, NULL, change_all, NULL);
    pthread_join(thread, NULL);
    say_where("shared");
    must(access("000", F_OK), "a relative path");
    try_clone(0, "a clone");
    try_clone(CLONE_FS, "a clone with CLONE_FS");
    try_clone(CLONE_VM | CLONE_VFORK, "a clone with CLONE_VM");
    try_clone(CLONE_VM | CLONE_VFORK | CLONE_FS, "a clone with both");
    try_clone(CLONE_VM | CLONE_FILES, "a clone with CLONE_FILES");
    const int directory = open("/usr", O_RDONLY);
    must(fchdir(directory), "fchdir");
    say_where("real");
    must(chdir("/"), "chdir");
}

/* A thread such as Go's: made by hand, its thread pointer to memory that can't be written. */

static volatile int raw_state;
static struct stat raw_status;
static char *no_tls;

static long raw_call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

static int raw_thread(void *unused)
{
    (void)unused;
    raw_call(SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, (long)(no_tls + 2048), 0);
    for (int i = 0; i < 300; i++) {
        if (raw_call(SYS_stat, (long)path_file, (long)&raw_status, 0) || raw_status.st_size != 8)
            raw_state = 2;
        /* What succeeds touches no errno. */
        if (stat(path_file, &raw_status) || raw_status.st_size != 8)
            raw_state = 3;
        const int file = open64(path_file, O_RDONLY);
        if (file < 0 || fstat(file, &raw_status) || close(file))
            raw_state = 4;
    }
    if (!raw_state)
        raw_state = 1;
    return (int)raw_call(SYS_exit, 0, 0, 0);
}

static void do_raw_thread(void)
{
    static char stack[65536] __attribute__((aligned(64)));
    no_tls = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int flags =
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    must(clone(raw_thread, stack + sizeof stack, flags, NULL), "clone");
    while (!raw_state)
        look();
    printf("state %d\n", raw_state);
}

/* A chain of programs, without and with an environment. */
static void do_exec(void)
{
    char *empty[] = {NULL}, *one[] = {"ONE=1", NULL}, *preload[] = {"LD_PRELOAD=", NULL};
    char **const environments[] = {NULL, empty, one, preload, environ};
    const int left = atoi(words_left[0]);
    char next[16];
    char *words[] = {own_words[0], own_words[1], own_words[2], next, NULL};

    for (char **variable = environ; variable && *variable; variable++)
        if (strncmp(*variable, "LD_", 3) == 0 || strncmp(*variable, "ONE", 3) == 0)
            puts(*variable);
    if (left == 0)
        return;
    snprintf(next, sizeof next, "%d", left - 1);
    if (left % 3 == 0) {
        const pid_t child = vfork();
        if (child == 0) {
            execve("/proc/self/exe", words, environments[left % 5]);
            _exit(99);
        }
        return wait_for(child);
    }
    execve("/proc/self/exe", words, environments[left % 5]);
    wrong("execve");
}

static void do_look(void)
{
    for (int i = 0; i < 1000; i++)
        look();
}

int main(int count, char **words)
{
    static const struct look_case cases[] = {
        {"fork", do_fork},       {"vfork", do_vfork}, {"spawn", do_spawn},
        {"threads", do_threads}, {"chdir", do_chdir}, {"raw-thread", do_raw_thread},
        {"exec", do_exec},       {"look", do_look},   {NULL, NULL},
    };
    return look_main(count, words, cases);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Programs with a seccomp filter of their own: see look.h. What the filter refuses has to be
 * refused, and nobody may make calls in its place for which it kills.
 */
#include "look.h"
#include <dirent.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>

#define LOAD_NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)

static void install(const struct sock_filter *filter, size_t length, int by_seccomp)
{
    const struct sock_fprog program = {(unsigned short)length, (struct sock_filter *)filter};
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    if (by_seccomp)
        must((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
    else
        must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "prctl");
}

/* Answer these calls with an error, and let all others pass. */
static void refuse(const int *numbers, size_t count, int error, int by_seccomp)
{
    struct sock_filter filter[64] = {LOAD_NUMBER};
    size_t length = 1;
    for (size_t i = 0; i < count; i++) {
        filter[length++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[i], 0, 1);
        filter[length++] = (struct sock_filter)RETURN(SECCOMP_RET_ERRNO | error);
    }
    filter[length++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    install(filter, length, by_seccomp);
}

/* Let these calls pass, and kill for all others. */
static void allow(const int *numbers, size_t count)
{
    struct sock_filter filter[128] = {LOAD_NUMBER};
    size_t length = 1;
    for (size_t i = 0; i < count; i++) {
        filter[length++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[i], 0, 1);
        filter[length++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    }
    filter[length++] = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
    install(filter, length, 1);
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void try_everything(const char *when)
{
    struct stat status;
    char target[64], where[512];
#define SAY(name, call)                                                                            \
    do {                                                                                           \
        errno = 0;                                                                                 \
        const long result = (long)(call);                                                          \
        printf("%s: %s: %s\n", when, name, result < 0 ? strerror(errno) : "done");                 \
    } while (0)
    SAY("stat", stat(path_file, &status));
    SAY("stat, absent", stat(path_absent, &status));
    SAY("stat, real", stat("/etc/passwd", &status));
    SAY("access", access(path_file, R_OK));
    SAY("readlink", readlink(path_link, target, sizeof target));
    SAY("getcwd", getcwd(where, sizeof where) ? 0 : -1);
    const int file = open(path_file, O_RDONLY);
    SAY("open", file);
    SAY("fstat", fstat(file, &status));
    SAY("getdents64", syscall(SYS_getdents64, file, where, sizeof where));
    SAY("mkdir", mkdir(path_dir, 0777));
    close(file);
}

static volatile int may_try;

static void *try_in_thread(void *unused)
{
    while (!may_try)
        ;
    try_everything("a thread");
    return unused;
}

static void refuse_and_try(const int *numbers, size_t count, int by_seccomp)
{
    const pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        refuse(numbers, count, EXDEV, by_seccomp);
        try_everything("filtered");
        may_try = 1;
        pthread_create(&thread, NULL, try_in_thread, NULL);
        pthread_join(thread, NULL);
        const pid_t grandchild = fork();
        if (grandchild == 0) {
            try_everything("its child");
            char *words[] = {own_words[0], "!try", own_words[2], NULL};
            execv("/proc/self/exe", words);
            _exit(99);
        }
        waitpid(grandchild, NULL, 0);
        fflush(stdout);
        _exit(0);
    }
    wait_for(child);
    try_everything("the parent");
}

static void do_errno(void)
{
    static const int looks[] = {SYS_newfstatat, SYS_stat,      SYS_lstat,    SYS_statx,
                                SYS_access,     SYS_faccessat, SYS_readlink, SYS_getcwd};
    static const int changes[] = {SYS_mkdir, SYS_mkdirat};
    refuse_and_try(looks, COUNT(looks), 1);
    refuse_and_try(changes, COUNT(changes), 0);
}

/* A filter that is put upon all threads. */
static void do_tsync(void)
{
    static struct sock_filter filter[] = {
        LOAD_NUMBER, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_access, 0, 1),
        RETURN(SECCOMP_RET_ERRNO | EXDEV), RETURN(SECCOMP_RET_ALLOW)};
    const struct sock_fprog program = {COUNT(filter), filter};
    pthread_t thread;
    pthread_create(&thread, NULL, try_in_thread, NULL);
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    must((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program),
         "seccomp");
    try_everything("filtered");
    may_try = 1;
    pthread_join(thread, NULL);
}

/* Filters that kill */

static const int needed[] = {
    SYS_read,   SYS_write, SYS_close,  SYS_newfstatat, SYS_openat, SYS_getdents64,  SYS_readlink,
    SYS_access, SYS_fstat, SYS_getcwd, SYS_exit_group, SYS_statx,  SYS_rt_sigreturn};
/* What a program needs to start, too; some of it only with other versions of the C library. */
static const int needed_at_start[] = {
    SYS_execve,          SYS_brk,        SYS_mmap,       SYS_mprotect,
    SYS_munmap,          SYS_pread64,    SYS_arch_prctl, SYS_set_tid_address,
    SYS_set_robust_list, 334 /* rseq */, SYS_prlimit64,  SYS_getrandom,
    SYS_futex,           SYS_ioctl,      SYS_lseek,      SYS_prctl,
    SYS_seccomp};

static void look_and_end(const char *what)
{
    char where[512];
    for (int i = 0; i < 100; i++) {
        look();
        if (!getcwd(where, sizeof where))
            wrong("getcwd");
    }
    _exit(write(1, what, strlen(what)) < 0);
}

static void do_kill(void)
{
    const pid_t child = fork();
    if (child == 0) {
        allow(needed, COUNT(needed));
        look_and_end("allowed what is needed\n");
    }
    wait_for(child);
}

static void do_kill_exec(void)
{
    const pid_t child = fork();
    if (child == 0) {
        int all[COUNT(needed) + COUNT(needed_at_start)];
        memcpy(all, needed, sizeof needed);
        memcpy(all + COUNT(needed), needed_at_start, sizeof needed_at_start);
        allow(all, COUNT(all));
        look();
        char *words[] = {own_words[0], "end", own_words[2], NULL};
        execv("/proc/self/exe", words);
        _exit(99);
    }
    wait_for(child);
}

/* The first thing that a program does when it may do hardly anything. */
static void do_end(void)
{
    allow(needed, COUNT(needed));
    look_and_end("the next program\n");
}

static void do_try(void)
{
    try_everything("after exec");
}

int main(int count, char **words)
{
    static const struct look_case cases[] = {
        {"errno", do_errno}, {"!tsync", do_tsync}, {"kill", do_kill}, {"kill-exec", do_kill_exec},
        {"end", do_end},     {"!try", do_try},     {NULL, NULL},
    };
    return look_main(count, words, cases);
}

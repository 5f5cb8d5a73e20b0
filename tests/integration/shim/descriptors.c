/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which descriptors there are, and how many: see look.h.
 */
#include "look.h"
#include <dirent.h>
#include <sys/resource.h>

static void say_open(const char *what, int descriptor)
{
    if (descriptor < 0) {
        printf("%s: %s\n", what, strerror(errno));
        return;
    }
    printf("%s: %d, flags %d %#x\n", what, descriptor, fcntl(descriptor, F_GETFD),
           (unsigned)fcntl(descriptor, F_GETFL) & ~(unsigned)O_ACCMODE);
}

static void do_lowest(void)
{
    static const int flags[] = {0,           O_CLOEXEC, O_NONBLOCK,
                                O_DIRECTORY, O_PATH,    O_APPEND | O_CLOEXEC};
    const char *const paths[] = {path_file,   path_dir, path_link,
                                 path_absent, "/etc",   "/etc/passwd"};
    for (size_t i = 0; i < 36; i++)
        say_open(paths[i / 6], open(paths[i / 6], O_RDONLY | flags[i % 6]));
    for (int i = 4; i < 30; i += 3)
        close(i);
    for (size_t i = 0; i < 12; i++)
        say_open("again", open(paths[i % 6], O_RDONLY));
    close(5);
    DIR *directory = opendir(path_dir);
    printf("opendir: %d\n", dirfd(directory));
    close(7);
    say_open("openat", openat(dirfd(directory), "../file", O_RDONLY));
    closedir(directory);
    close(0);
    say_open("standard input", open(path_file, O_RDONLY));
    look();
}

static void do_close_all(void)
{
    for (int i = 0; i < 20; i++) {
        const int directory = must(open(path_dir, O_RDONLY), "open");
        must(fchdir(directory), "fchdir");
        look();
        if (i % 2)
            closefrom(3);
        else
            must(close_range(3, ~0u, 0), "close_range");
        look();
        must(access("000", F_OK), "a relative path");
        for (int number = 3; number < 1024; number++)
            close(number);
        look();
        must(chdir("/"), "chdir");
    }
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        count++;
    printf("%d names\n", count); /* 0, 1, 2, its own, and dots */
    closedir(directory);
}

static void limit(rlim_t number)
{
    const struct rlimit few = {number, number};
    must(setrlimit(RLIMIT_NOFILE, &few), "setrlimit");
}

/* Calls when there is no descriptor left: only those fail that give one. */
static void do_none_left(void)
{
    struct stat status;
    char names[1024], target[64];
    const int directory = must(open(path_dir, O_RDONLY), "open");
    if (directory != 3)
        wrong("the first descriptor");
    limit(4);
    say_open("open", open(path_file, O_RDONLY));
    say_open("open, directory", open(path_dir, O_RDONLY | O_DIRECTORY));
    say_open("openat", openat(directory, "000", O_RDONLY));
    say_open("open, real", open("/etc/passwd", O_RDONLY));
    printf("stat: %d\n", stat(path_file, &status));
    printf("relative: %d\n", fstatat(directory, "../file", &status, 0));
    printf("fstat: %d\n", fstat(directory, &status));
    printf("access: %d\n", access(path_file, R_OK));
    printf("readlink: %zd\n", readlink(path_link, target, sizeof target));
    printf("names: %d\n", syscall(SYS_getdents64, directory, names, sizeof names) > 500);
    must(chdir(path_dir), "chdir");
    must(access("000", F_OK), "a relative path");
    must(chdir("/"), "chdir");
    must(fchdir(directory), "fchdir");
    must(access("001", F_OK), "a relative path");
    say_where("getcwd");
    printf("exec: %d\n", execl(path_absent, "absent", NULL));
    close(directory);
    say_open("open", open(path_file, O_RDONLY));
    close(3);
    must(chdir("/"), "chdir");
    char *words[] = {own_words[0], "nothing", own_words[2], NULL};
    const pid_t child = fork();
    if (child == 0) {
        execv("/proc/self/exe", words); /* ld.so needs just one */
        _exit(99);
    }
    wait_for(child);
    look();
}

static void do_nothing(void)
{
}

/* Descriptors that the program has put where a library might have its own. */
static void do_high(void)
{
    const int file = must(open("/etc/passwd", O_RDONLY), "open");
    struct rlimit now;
    getrlimit(RLIMIT_NOFILE, &now);
    const int end = now.rlim_cur < 4096 ? (int)now.rlim_cur : 4096;
    for (int number = 4; number < end; number++)
        must(dup2(file, number), "dup2");
    for (int number = 3; number < end; number++) {
        struct stat status;
        if (fstat(number, &status) || !S_ISREG(status.st_mode))
            wrong("what was put there");
        close(number);
    }
    look();
}

int main(int count, char **words)
{
    static const struct look_case cases[] = {
        {"lowest", do_lowest}, {"close-all", do_close_all}, {"none-left", do_none_left},
        {"high", do_high},     {"nothing", do_nothing},     {NULL, NULL},
    };
    return look_main(count, words, cases);
}

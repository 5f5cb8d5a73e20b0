/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the programs of test_run_shim.py have in common. Each is called as PROGRAM CASE TREE; what
 * it prints has to be the same natively and in a run. In TREE are: file (8 bytes), dir/ with 200
 * files (000, …), link -> dir/000, tool (a script).
 *
 * look() makes the usual calls on the tree, and ends the program if one of them is wrong. It can be
 * called in signal handlers and by any thread: it needs neither malloc nor stdio, and keeps errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 200
/* A call may be interrupted before the supervisor has seen it, if a handler has no SA_RESTART. */
#define AGAIN(call) TEMP_FAILURE_RETRY(call)

static char path_tree[512], path_file[512], path_absent[512], path_dir[512], path_link[512],
    path_tool[512];

__attribute__((unused)) static _Noreturn void wrong(const char *what)
{
    const int error = errno;
    dprintf(1, "wrong: %s (%s)\n", what, strerror(error));
    _exit(1);
}

__attribute__((unused)) static int must(int result, const char *what)
{
    if (result < 0)
        wrong(what);
    return result;
}

/* How many names a directory has. */
__attribute__((unused)) static int count_names(const char *path)
{
    char buffer[1024];
    long size;
    int count = 0;
    const int directory = must((int)AGAIN(open(path, O_RDONLY | O_DIRECTORY)), "open a directory");

    while ((size = AGAIN(syscall(SYS_getdents64, directory, buffer, sizeof buffer))) > 0)
        for (long at = 0; at < size; at += *(uint16_t *)(buffer + at + 16))
            count++;
    if (size < 0)
        wrong("getdents64");
    close(directory);
    return count;
}

__attribute__((unused)) static void look(void)
{
    struct stat status;
    char content[16];
    const int error = errno;

    if (AGAIN(stat(path_file, &status)) || status.st_size != 8 || !S_ISREG(status.st_mode))
        wrong("stat");
    if (AGAIN(lstat(path_link, &status)) || !S_ISLNK(status.st_mode))
        wrong("lstat");
    if (AGAIN(stat(path_absent, &status)) == 0 || errno != ENOENT)
        wrong("stat of what is absent");
    if (AGAIN(access(path_file, R_OK)))
        wrong("access");
    if (AGAIN(readlink(path_link, content, sizeof content)) != 7 || memcmp(content, "dir/000", 7))
        wrong("readlink");
    const int file = must((int)AGAIN(open(path_file, O_RDONLY | O_CLOEXEC)), "open");
    if (AGAIN(fstat(file, &status)) || status.st_size != 8)
        wrong("fstat");
    if (AGAIN(read(file, content, sizeof content)) != 8 || memcmp(content, "content\n", 8))
        wrong("read");
    close(file);
    if (count_names(path_dir) != FILES + 2)
        wrong("count of names");
    if (AGAIN(stat("/etc/passwd", &status)) || AGAIN(access("/nothing/at/all", F_OK)) == 0)
        wrong("real paths");
    errno = error;
}

__attribute__((unused)) static void say_where(const char *what)
{
    char where[1024];
    printf("%s: %s\n", what, getcwd(where, sizeof where) ? where : strerror(errno));
    fflush(stdout);
}

/* Wait for a child, which has to end with 0. */
__attribute__((unused)) static void wait_for(pid_t child)
{
    int status;
    if (child < 0 || AGAIN(waitpid(child, &status, 0)) != child)
        wrong("a child");
    if (status) {
        dprintf(1, "a child ended with %#x\n", (unsigned)status);
        _exit(1);
    }
}

struct look_case {
    const char *name;
    void (*work)(void);
};

/* What follows the case and the tree. */
__attribute__((unused)) static char **words_left;
__attribute__((unused)) static char **own_words;

__attribute__((unused)) static void set_paths(const char *tree)
{
    snprintf(path_tree, sizeof path_tree, "%s", tree);
    snprintf(path_file, sizeof path_file, "%s/file", tree);
    snprintf(path_absent, sizeof path_absent, "%s/absent", tree);
    snprintf(path_dir, sizeof path_dir, "%s/dir", tree);
    snprintf(path_link, sizeof path_link, "%s/link", tree);
    snprintf(path_tool, sizeof path_tool, "%s/tool", tree);
}

/* Run the case that the words name, and look before and after it; its "!" says not to. */
__attribute__((unused)) static int look_main(int count, char **words, const struct look_case *cases)
{
    if (count < 3)
        return 64;
    setvbuf(stdout, NULL, _IOLBF, 0);
    own_words = words;
    words_left = words + 3;
    set_paths(words[2]);
    for (; cases->name; cases++)
        if (strcmp(cases->name, words[1]) == 0) {
            const int may_look = words[1][0] != '!';
            if (may_look)
                look();
            cases->work();
            if (may_look)
                look();
            printf("%s: done\n", words[1]);
            return 0;
        }
    return 65;
}

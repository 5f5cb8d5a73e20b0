/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * opener WORD... does, one after the other, what the words say, and prints what comes of it:
 *   cd:DIR         chdir
 *   open:LIBRARY   dlopen and call name()
 *   fork:LIBRARY   the same in a child
 *   thread:LIBRARY the same in a thread
 *   filter         from now on openat2 and faccessat2 end the process
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *open_library(void *name)
{
    void *library = dlopen(name, RTLD_NOW);
    const char *(*function)(void) = library ? (const char *(*)(void))dlsym(library, "name") : NULL;
    printf("%s: %s\n", (char *)name, function ? function() : dlerror());
    fflush(stdout);
    return NULL;
}

static void set_filter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_faccessat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof code / sizeof code[0], code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    printf("filter: %ld\n", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
    fflush(stdout);
}

int main(int count, char **words)
{
    for (int i = 1; i < count; i++) {
        char *name = strchr(words[i], ':');
        pthread_t thread;
        if (name)
            name++;
        if (strncmp(words[i], "cd:", 3) == 0) {
            printf("cd: %d\n", chdir(name));
        } else if (strncmp(words[i], "open:", 5) == 0) {
            open_library(name);
        } else if (strncmp(words[i], "fork:", 5) == 0) {
            fflush(stdout);
            if (fork() == 0) {
                open_library(name);
                _exit(0);
            }
            wait(NULL);
        } else if (strncmp(words[i], "thread:", 7) == 0) {
            pthread_create(&thread, NULL, open_library, name);
            pthread_join(thread, NULL);
        } else {
            set_filter();
        }
    }
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Runs a command where other file systems are mounted, as an ordinary user, too.
 *
 *     cover DIRECTORY [SOURCE AT]... -- COMMAND...
 *
 * In a mount namespace of its own, a file system in memory covers DIRECTORY, and in it each SOURCE
 * is copied to a file system of its own AT a place. All of them are read-only when the command
 * runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNTS_MAX 16

static void die(const char *what)
{
    fprintf(stderr, "cover: %s: %s\n", what, strerror(errno));
    exit(99);
}

static void write_file(const char *path, const char *text)
{
    const int file = open(path, O_WRONLY);
    if (file < 0 || write(file, text, strlen(text)) < 0)
        die(path);
    close(file);
}

static void run(char *const words[])
{
    int status;
    const pid_t child = fork();
    if (child == 0) {
        execvp(words[0], words);
        _exit(127);
    }
    if (waitpid(child, &status, 0) != child || status)
        die(words[0]);
}

/* A user may mount in a user namespace; who is who stays as it is. */
static void enter_namespaces(unsigned uid, unsigned gid)
{
    char map[64];

    if (unshare(uid ? CLONE_NEWNS | CLONE_NEWUSER : CLONE_NEWNS))
        die("unshare");
    if (uid) {
        write_file("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "%u %u 1", uid, uid);
        write_file("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "%u %u 1", gid, gid);
        write_file("/proc/self/gid_map", map);
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        die("make mounts private");
}

static void mount_at(const char *at)
{
    if (mount("conformance", at, "tmpfs", 0, "mode=755,size=64m"))
        die(at);
}

/* The namespace has given us capabilities: an ordinary user has none. */
static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {{0}};

    if (syscall(SYS_capset, &header, none))
        die("capset");
}

int main(int count, char **words)
{
    const char *mounted[MOUNTS_MAX];
    int mounts = 0, used = 2;
    const unsigned uid = getuid();

    if (count < 4)
        return 99;
    enter_namespaces(uid, getgid());
    mount_at(words[1]);
    mounted[mounts++] = words[1];
    for (; mounts < MOUNTS_MAX && used + 1 < count && strcmp(words[used], "--") != 0; used += 2) {
        char source[4200];
        snprintf(source, sizeof source, "%s/.", words[used]);
        run((char *[]){"mkdir", "-p", words[used + 1], NULL});
        mount_at(words[used + 1]);
        run((char *[]){"cp", "-a", source, words[used + 1], NULL});
        mounted[mounts++] = words[used + 1];
    }
    for (int i = 0; i < mounts; i++)
        if (mount(NULL, mounted[i], NULL, MS_REMOUNT | MS_RDONLY, NULL))
            die("remount");
    if (uid)
        drop_capabilities();
    execv(words[used + 1], words + used + 1);
    die(words[used + 1]);
}

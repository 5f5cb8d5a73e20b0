/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Programs that see another root, or mounts of their own: see look.h. A run that is not root needs
 * user namespaces for that; where there are none, "no namespaces" is all that is said.
 */
#include "look.h"
#include <sched.h>
#include <sys/mount.h>

static void write_file(const char *path, const char *text)
{
    const int file = open(path, O_WRONLY | O_CREAT, 0644);
    if (file < 0 || write(file, text, strlen(text)) < 0)
        wrong(path);
    close(file);
}

static int has_namespaces(void)
{
    char map[64];
    const unsigned user = getuid(), group = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) {
        puts("no namespaces");
        return 0;
    }
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", user);
    write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %u 1", group);
    write_file("/proc/self/gid_map", map);
    return 1;
}

static void say(const char *path)
{
    struct stat status;
    const int found = stat(path, &status);
    const int error = errno;
    const int file = open(path, O_RDONLY);
    printf("%s: %s, %s\n", path,
           found                     ? strerror(error)
           : S_ISDIR(status.st_mode) ? "directory"
                                     : "file",
           file < 0 ? strerror(errno) : "opened");
    if (file >= 0)
        close(file);
}

static void do_unshare(void)
{
    if (!has_namespaces())
        return;
    look();
    const pid_t child = fork();
    if (child == 0) {
        must(chdir(path_dir), "chdir");
        look();
        execl("/bin/cat", "cat", "../file", "017", NULL);
        _exit(99);
    }
    wait_for(child);
}

/* Another root, in which there are other real paths. Whether the tree is there is another matter.
 */
static void do_chroot(void)
{
    look();
    must(mkdir("root", 0755), "mkdir");
    must(mkdir("root/inside", 0755), "mkdir");
    must(mkdir("root/etc", 0755), "mkdir");
    must(symlink("/inside", "root/link"), "symlink");
    write_file("root/inside/file", "inside\n");
    write_file("root/etc/passwd", "another\n");
    if (!has_namespaces())
        return;
    must(chroot("root"), "chroot");
    say("/inside");
    say("/inside/file");
    say("/link/file");
    say("/etc/passwd");
    say("/etc/group");
    say("/usr");
    say("/root/inside");
    char where[512];
    printf("%d %s\n", syscall(SYS_getcwd, where, sizeof where) > 0,
           strncmp(where, "(unreachable)", 13) == 0 ? "unreachable" : where);
    must(chdir("/"), "chdir");
    say("inside/file");
    say_where("chroot");
}

/* Something else is mounted over a real directory. */
static void do_mount(void)
{
    must(mkdir("over", 0755), "mkdir");
    write_file("over/below", "below\n");
    if (!has_namespaces())
        return;
    must(mount("none", "over", "tmpfs", 0, NULL), "mount");
    say("over");
    say("over/below");
    write_file("over/above", "above\n");
    say("over/above");
    must(symlink(path_dir, "over/to-tree"), "symlink");
    say("over/to-tree/017");
    say("over/to-tree/absent");
    must(chdir("over/to-tree"), "chdir");
    say("017");
    say("../file");
    must(chdir("/"), "chdir");
}

/* Real symlinks that come and go. */
static void do_symlinks(void)
{
    for (int i = 0; i < 100; i++) {
        struct stat status;
        if (stat("moving/017", &status) == 0)
            wrong("what is not there yet");
        must(symlink(path_dir, "moving"), "symlink");
        must(stat("moving/017", &status), "stat through a link");
        must(lstat("moving", &status), "lstat of a link");
        if (!S_ISLNK(status.st_mode) || stat("moving/absent", &status) == 0 || errno != ENOENT)
            wrong("a link");
        if (count_names("moving") != FILES + 2)
            wrong("names");
        must(unlink("moving"), "unlink");
        must(mkdir("moving", 0755), "mkdir");
        if (stat("moving/017", &status) == 0)
            wrong("what is not there any more");
        must(rmdir("moving"), "rmdir");
    }
}

int main(int count, char **words)
{
    static const struct look_case cases[] = {
        {"unshare", do_unshare},   {"!chroot", do_chroot}, {"mount", do_mount},
        {"symlinks", do_symlinks}, {NULL, NULL},
    };
    return look_main(count, words, cases);
}

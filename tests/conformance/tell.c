/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tells what a program knows of itself: how it was started, and by which name.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static void tell_link(const char *what, const char *path)
{
    char target[4096];
    const ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = 0;
    printf("%s=%s\n", what, target);
}

int main(int count, char **words)
{
    char name[32] = "";
    uint64_t sum = 0;

    for (int i = 0; i < count; i++) {
        if (count < 50)
            printf("%d=%s\n", i, words[i]);
        for (const char *c = words[i]; *c; c++)
            sum = sum * 31 + (unsigned char)*c;
    }
    printf("words=%d %llx\n", count, (unsigned long long)sum);
    const char *started_as = (const char *)getauxval(AT_EXECFN);
    printf("execfn=%s\n", started_as);
    FILE *comm = fopen("/proc/self/comm", "r");
    /* Kernels differ in how they call what has no name but a descriptor's. */
    if (strncmp(started_as, "/dev/fd/", 8) != 0 && comm && fgets(name, sizeof name, comm))
        printf("comm=%s", name);
    tell_link("exe", "/proc/self/exe");
    tell_link("cwd", "/proc/self/cwd");
    tell_link("root", "/proc/self/root");
    const char *mark = getenv("MARK");
    printf("mark=%s secure=%lu\n", mark ? mark : "", getauxval(AT_SECURE));
    return count > 1 && strcmp(words[1], "fail") == 0 ? 7 : 0;
}

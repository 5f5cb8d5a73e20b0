/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Programs that read or patch their own libc, map over what is mapped already, have little
 * memory, or load and unload libraries: see look.h.
 */
#include "look.h"
#include <dlfcn.h>
#include <link.h>
#include <sys/resource.h>
#include <sys/time.h>

/* What the files of one's own libraries contain */

static uint64_t sum_of(const unsigned char *bytes, size_t size)
{
    uint64_t sum = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ bytes[i]) * 1099511628211u;
    return sum;
}

static void say_file(const char *path)
{
    struct stat status;
    const int file = must(open(path, O_RDONLY | O_CLOEXEC), path);
    must(fstat(file, &status), "fstat");
    const size_t size = (size_t)status.st_size;
    unsigned char *bytes = malloc(size);
    if (read(file, bytes, size) != (ssize_t)size)
        wrong("read");
    const unsigned char *mapped = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED)
        wrong("mmap");
    char link[64], target[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, target, sizeof target);
    printf("%s: %.*s %zu bytes, inode %lu, %lx %lx\n", path, (int)length, target, size,
           (unsigned long)status.st_ino, (unsigned long)sum_of(bytes, size),
           (unsigned long)sum_of(mapped, size));
    close(file);
}

static int say_library(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (strstr(info->dlpi_name, "libc.so") || strstr(info->dlpi_name, "ld-linux"))
        say_file(info->dlpi_name);
    return 0;
}

static void do_own_libc(void)
{
    dl_iterate_phdr(say_library, NULL);
}

/* Patch functions of libc, such as profilers and sandboxes do. */

static void patch(const char *name, int value)
{
    const unsigned char code[] = {0xb8, (unsigned char)value, 0, 0, 0, 0xc3}; /* mov, ret */
    unsigned char *function = dlsym(RTLD_DEFAULT, name);
    unsigned char kept[sizeof code];
    const uintptr_t page = (uintptr_t)function & ~4095ul;

    must(mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC), "mprotect");
    memcpy(kept, function, sizeof kept);
    memcpy(function, code, sizeof code);
    printf("%s gives %d\n", name,
           ((int (*)(const char *, int))(uintptr_t)function)(path_absent, 0));
    memcpy(function, kept, sizeof kept);
    must(mprotect((void *)page, 8192, PROT_READ | PROT_EXEC), "mprotect");
    look();
}

static void do_patch_libc(void)
{
    patch("getppid", 42);
    patch("access", 43);
    patch("stat", 44);
    patch("syscall", 45);
    printf("access gives %d again\n", access(path_absent, F_OK));
}

/* Mappings at places that a program believes to be free, for natively they are. */

static void map_at(uintptr_t at, size_t size)
{
    unsigned char *memory = mmap((void *)at, size, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (memory == MAP_FAILED) {
        printf("%#lx: %s\n", (unsigned long)at, strerror(errno));
        return;
    }
    memset(memory, 0xcc, size);
    look();
    for (size_t i = 0; i < size; i++)
        if (memory[i] != 0xcc)
            wrong("what was written");
    must(mprotect(memory, size, PROT_NONE), "mprotect");
    look();
    must(munmap(memory, size), "munmap");
    look();
    printf("%#lx: mapped\n", (unsigned long)at);
}

static void do_fixed(void)
{
    static const uintptr_t places[] = {0x10000,        0x20000,       0x200000,     0x10000000,
                                       0x7fff8000,     0x80000000,    0xfffff000,   0x100000000,
                                       0x100001000,    0x200000000,   0x1000000000, 0x10000000000,
                                       0x100000000000, 0x600000000000};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        map_at(places[i], 65536);
    map_at(0xf0000000, 0x20000000); /* all around 4 GiB */
    const pid_t child = fork();
    if (child == 0) {
        look();
        _exit(0);
    }
    wait_for(child);
}

/* Little memory: for this program, and for the one that it becomes. */

static void limit(int resource, rlim_t value)
{
    struct rlimit now;
    must(getrlimit(resource, &now), "getrlimit");
    now.rlim_cur = value < now.rlim_max ? value : now.rlim_max;
    must(setrlimit(resource, &now), "setrlimit");
}

static void run_self_with(int resource, rlim_t value)
{
    char *words[] = {own_words[0], "look", own_words[2], NULL};
    const pid_t child = fork();
    if (child == 0) {
        limit(resource, value);
        look();
        execv("/proc/self/exe", words);
        _exit(99);
    }
    wait_for(child);
}

static void do_limits(void)
{
    static const rlim_t mebibytes[] = {256, 64, 16, 8, 4};
    for (size_t i = 0; i < sizeof mebibytes / sizeof mebibytes[0]; i++) {
        run_self_with(RLIMIT_AS, mebibytes[i] << 20);
        run_self_with(RLIMIT_DATA, mebibytes[i] << 20);
    }
    run_self_with(RLIMIT_DATA, 512 << 10);
    run_self_with(RLIMIT_STACK, 128 << 10);
    run_self_with(RLIMIT_MEMLOCK, 0);
    run_self_with(RLIMIT_FSIZE, 0);
}

static void do_nothing(void)
{
}

/* Libraries with system calls of their own, at the same places by turns. */

static void do_dlopen(void)
{
    const int times = atoi(words_left[0]);
    for (int i = 0; i < times; i++) {
        void *library = dlopen(words_left[1 + i % 3], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            puts(dlerror());
            _exit(1);
        }
        long (*look_with)(const char *, struct stat *) =
            (long (*)(const char *, struct stat *))(uintptr_t)dlsym(library, "look_with");
        struct stat status;
        memset(&status, 0, sizeof status);
        if (look_with(path_file, &status) != i % 3 || status.st_size != 8)
            wrong("a library's stat");
        if (look_with(path_absent, &status) != -ENOENT)
            wrong("a library's stat of what is absent");
        if (i % 50 == 0)
            look();
        must(dlclose(library), "dlclose");
    }
}

/* The user's own preloaded libraries come first, in their order, and are all that can be seen. */

static void do_preload(void)
{
    const char *(*which)(void) = (const char *(*)(void))(uintptr_t)dlsym(RTLD_DEFAULT, "which");
    printf("which: %s; %s\n", which ? which() : "none", getenv("LD_PRELOAD"));
    printf("getppid: %d\n", getppid());
    if (words_left[0])
        execvp(words_left[0], words_left);
}

int main(int count, char **words)
{
    static const struct look_case cases[] = {
        {"own-libc", do_own_libc}, {"patch-libc", do_patch_libc},
        {"fixed", do_fixed},       {"limits", do_limits},
        {"look", do_nothing},      {"dlopen", do_dlopen},
        {"preload", do_preload},   {NULL, NULL},
    };
    return look_main(count, words, cases);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libc/linker_patch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "task/memory.h"
#include "task/proc.h"

/* A shim costs a linker as much as so many trapped calls, and a directory takes some six at first. */
#define CALLS_WORTH_IT 16u
#define DIRECTORIES_WORTH_IT 4
#define LIBRARY_PATH "LD_LIBRARY_PATH="
#define UNKNOWN_MAX 16u
#define PAGE 4096u

int pp_is_search(const char *path)
{
    return strstr(path, "/glibc-hwcaps/") != NULL || strstr(path, "/tls/") != NULL;
}

/* The number of directories that the task's environment names for libraries. */
static int library_directories(pid_t task)
{
    char text[32768];
    int count = 0;

    const int environment = pp_proc_open(task, "environ", O_RDONLY);
    const ssize_t size = environment < 0 ? 0 : read(environment, text, sizeof text - 1);
    if (environment >= 0)
        close(environment);
    text[size > 0 ? size : 0] = 0;
    for (const char *word = text; word < text + size; word += strlen(word) + 1) {
        if (strncmp(word, LIBRARY_PATH, sizeof LIBRARY_PATH - 1) != 0)
            continue;
        count = 1;
        for (; *word; word++)
            count += *word == ':';
    }
    return count;
}

int pp_linker_is_worth_it(const struct pp_start *start, const struct pp_worker *worker,
                          int is_search)
{
    if (is_search && start->searches == 1)
        return library_directories(pp_task_number(worker)) >= DIRECTORIES_WORTH_IT;
    return start->calls >= CALLS_WORTH_IT;
}

/* Whether all code of a linker at `base` is what it has to be. */
static int is_same_code(pid_t task, uint64_t base, const struct pp_linker_image *image)
{
    static __thread uint8_t code[1u << 19];

    return image->code_size <= sizeof code &&
           pp_memory_read(task, base + image->code, code, image->code_size) == 0 &&
           memcmp(code, (const char *)image + image->code_copy, image->code_size) == 0;
}

/* Find out which linker makes the call, at which of its sites, and where it lies: 0 or -1. */
static int find(const struct pp_substitution *substitution, const struct pp_worker *worker,
                struct pp_start *start)
{
    const uint32_t count = __atomic_load_n(&substitution->linkers_count, __ATOMIC_ACQUIRE);

    for (uint32_t i = 0; i < count; i++) {
        const struct pp_linker_image *image = substitution->linkers[i].image;
        for (uint32_t number = 0; number < image->sites_count; number++) {
            const uint64_t base = worker->instruction - image->sites[number].behind;
            if (base % PAGE || !is_same_code(pp_task_number(worker), base, image))
                continue;
            start->linker = i;
            start->site = number;
            start->base = base;
            return 0;
        }
    }
    return -1;
}

/* Write code of a task that waits in its call: 0 or -1. */
static int write_code(struct pp_worker *worker, const struct pp_linker_image *image,
                      const struct pp_start *start, int is_patched)
{
    const struct pp_linker_site *site = &image->sites[start->site];
    const size_t size = site->length - (site->behind - site->address);
    const uint8_t *behind = is_patched ? site->detour : site->original;
    int error = -1;

    const int memory = pp_proc_open(pp_task_number(worker), "mem", O_RDWR);
    if (memory < 0)
        return -1;
    if (worker->engine->operations->is_waiting(worker) &&
        (!is_patched || pwrite(memory, site->bootstrap, sizeof site->bootstrap,
                               (off_t)(start->base + image->bootstrap)) ==
                            (ssize_t)sizeof site->bootstrap) &&
        pwrite(memory, behind, size, (off_t)(start->base + site->behind)) == (ssize_t)size)
        error = 0;
    close(memory);
    return error;
}

/* The path of the file that is mapped at an address of the task's: 0 or -1. */
static int mapped_file(pid_t task, uint64_t address, char *path, size_t capacity)
{
    char text[16384];

    pp_proc_read(task, "maps", text, sizeof text);
    for (char *line = text, *next; *line; line = next) {
        next = strchrnul(line, '\n');
        if (*next)
            *next++ = 0;
        char *after;
        const uint64_t first = strtoull(line, &after, 16);
        const uint64_t end = *after == '-' ? strtoull(after + 1, NULL, 16) : 0;
        const char *name = strchr(line, '/');
        if (first > address || address >= end || !name || strlen(name) >= capacity)
            continue;
        strcpy(path, name);
        return 0;
    }
    return -1;
}

/* Have Python make an image for a linker that has none yet. */
static void tell_of_linker(struct pp_substitution *substitution, struct pp_worker *worker)
{
    char path[PP_PATH_MAX];

    if (__atomic_fetch_add(&substitution->linkers_told, 1, __ATOMIC_RELAXED) >= UNKNOWN_MAX ||
        mapped_file(pp_task_number(worker), worker->instruction, path, sizeof path))
        return;
    const int linker = pp_remote_open(&worker->task, path, O_RDONLY | O_CLOEXEC, 0);
    if (linker >= 0)
        pp_worker_tell(worker, &(struct pp_event){.kind = PP_EVENT_LINKER, .library = linker});
}

void pp_linker_patch(struct pp_substitution *substitution, struct pp_worker *worker,
                     struct pp_start *start)
{
    if (find(substitution, worker, start)) {
        if (__atomic_load_n(&substitution->linkers_told, __ATOMIC_RELAXED) < UNKNOWN_MAX)
            tell_of_linker(substitution, worker);
        return;
    }
    if (write_code(worker, substitution->linkers[start->linker].image, start, 1) == 0)
        start->stage = PP_LINKER_ASKING;
}

void pp_linker_restore(struct pp_substitution *substitution, struct pp_worker *worker,
                       struct pp_start *start)
{
    const struct pp_linker_image *image = substitution->linkers[start->linker].image;
    const struct pp_linker_site *site = &image->sites[start->site];
    const size_t size = site->length - (site->behind - site->address);
    uint8_t code[sizeof site->detour];

    start->stage = PP_LINKER_LEFT;
    if (pp_memory_read(pp_task_number(worker), start->base + site->behind, code, size) == 0 &&
        memcmp(code, site->detour, size) == 0)
        write_code(worker, image, start, 0);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libc/linker_patch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "task/memory.h"
#include "task/proc.h"

/* A shim costs a linker as much as so many trapped calls. A search takes that many for each
 * directory: up to 22, the first time. */
#define CALLS_WORTH_IT 16u
#define UNKNOWN_MAX 16u

int pp_is_search(const char *path)
{
    return strstr(path, "/glibc-hwcaps/") != NULL || strstr(path, "/tls/") != NULL;
}

int pp_linker_is_worth_it(const struct pp_start *start, int is_search)
{
    return is_search || start->calls >= CALLS_WORTH_IT;
}

/* Whether so many bytes at an address of the task's are these. */
static int is_same(pid_t task, uint64_t address, const char *wanted, uint32_t size)
{
    char page[PP_LINKER_PAGE];

    for (uint32_t done = 0; done < size; done += PP_LINKER_PAGE)
        if (pp_memory_read(task, address + done, page, sizeof page) ||
            memcmp(page, wanted + done, sizeof page) != 0)
            return 0;
    return 1;
}

/* Whether a linker at `base` is the one that an image was made for. */
static int is_linker_of(pid_t task, uint64_t base, const struct pp_linker_image *image)
{
    const char *copy = (const char *)image + image->pages_copy;
    return is_same(task, base, copy, PP_LINKER_PAGE) &&
           is_same(task, base + image->pages, copy + PP_LINKER_PAGE, image->pages_size);
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
            if (base % PP_LINKER_PAGE || !is_linker_of(pp_task_number(worker), base, image))
                continue;
            start->linker = i;
            start->site = number;
            start->base = base;
            return 0;
        }
    }
    return -1;
}

/* Write code of the linker while the task waits in its call: 0 or -1. */
static int write_code(struct pp_worker *worker, int memory, uint64_t address, const void *code,
                      size_t size)
{
    return worker->engine->operations->is_waiting(worker) &&
                   pwrite(memory, code, size, (off_t)address) == (ssize_t)size
               ? 0
               : -1;
}

/* What stands behind the instruction of the site that is patched: how many bytes. */
static size_t behind_size(const struct pp_linker_site *site)
{
    return site->length - (site->behind - site->address);
}

/* Write the bootstrap, and the jump to it: 0 or -1. */
static int write_bootstrap(struct pp_worker *worker, const struct pp_linker *linker,
                           const struct pp_start *start)
{
    const struct pp_linker_image *image = linker->image;
    const struct pp_linker_site *site = &image->sites[start->site];
    const size_t path_size = strlen(linker->file) + 1;
    char code[PP_LINKER_BOOTSTRAP_MAX + PP_PATH_MAX];

    if (path_size > PP_PATH_MAX || sizeof site->bootstrap + path_size > image->room)
        return -1;
    memcpy(code, site->bootstrap, sizeof site->bootstrap);
    memcpy(code + image->cookie, &worker->engine->cookie, sizeof worker->engine->cookie);
    memcpy(code + sizeof site->bootstrap, linker->file, path_size);
    const int memory = pp_proc_open(pp_task_number(worker), "mem", O_RDWR);
    if (memory < 0)
        return -1;
    const int error =
        write_code(worker, memory, start->base + image->bootstrap, code,
                   sizeof site->bootstrap + path_size) ||
        write_code(worker, memory, start->base + site->behind, site->detour, behind_size(site));
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
    if (write_bootstrap(worker, &substitution->linkers[start->linker], start) == 0)
        start->stage = PP_LINKER_PATCHED;
}

void pp_linker_restore(struct pp_substitution *substitution, struct pp_worker *worker,
                       struct pp_start *start)
{
    const struct pp_linker_image *image = substitution->linkers[start->linker].image;
    const struct pp_linker_site *site = &image->sites[start->site];
    const uint64_t address = start->base + site->behind;
    uint8_t code[sizeof site->detour];

    start->stage = PP_LINKER_LEFT;
    if (pp_memory_read(pp_task_number(worker), address, code, behind_size(site)) ||
        memcmp(code, site->detour, behind_size(site)) != 0)
        return;
    const int memory = pp_proc_open(pp_task_number(worker), "mem", O_RDWR);
    if (memory < 0)
        return;
    write_code(worker, memory, address, site->original, behind_size(site));
    close(memory);
}

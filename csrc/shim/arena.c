/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "shim/arena.h"

#include <linux/fcntl.h>
#include <linux/mman.h>

#define ARENA_SIZE (64u << 10)

static char *arena;
static uint64_t arena_left;

/* mmap is not trapped, and its sixth argument is the offset: this call needs no cookie. */
static void *map(uint64_t size, uint64_t protection, uint64_t flags, int64_t descriptor)
{
    const int64_t address =
        pp_system_call(__NR_mmap, 0, size, protection, flags, (uint64_t)descriptor, 0);
    return address < 0 ? NULL : (void *)address;
}

void *pp_arena_get(uint64_t size)
{
    size = (size + 15) & ~UINT64_C(15);
    if (size > arena_left) {
        const uint64_t whole = size > ARENA_SIZE ? size : ARENA_SIZE;
        char *fresh = map(whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        if (!fresh)
            return NULL;
        arena = fresh;
        arena_left = whole;
    }
    char *given = arena;
    arena += size;
    arena_left -= size;
    return given;
}

void *pp_map_file(const char *file, int writable, uint64_t *size)
{
    const int64_t descriptor =
        pp_gate(__NR_openat, (uint64_t)AT_FDCWD, (uint64_t)file,
                (uint64_t)((writable ? O_RDWR : O_RDONLY) | O_CLOEXEC), 0, 0);
    if (descriptor < 0)
        return NULL;
    void *mapped = NULL;
    if (*size == 0) {
        const int64_t length = pp_gate(__NR_lseek, (uint64_t)descriptor, 0, 2 /* SEEK_END */, 0, 0);
        *size = length > 0 ? (uint64_t)length : 0;
    }
    if (*size)
        mapped = map(*size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, descriptor);
    pp_gate(__NR_close, (uint64_t)descriptor, 0, 0, 0, 0);
    return mapped;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "shim/arena.h"

#include <asm/errno.h>
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

/* What is at that path, which may lead to another file by now, or in this process. */
static int64_t open_known(const char *file, uint64_t device, uint64_t inode)
{
    struct stat status;
    const int64_t error =
        pp_gate(__NR_newfstatat, (uint64_t)AT_FDCWD, (uint64_t)file, (uint64_t)&status, 0, 0);
    if (error < 0 || status.st_dev != device || status.st_ino != inode)
        return -ENOENT;
    return pp_gate(__NR_openat, (uint64_t)AT_FDCWD, (uint64_t)file, O_RDWR | O_CLOEXEC, 0, 0);
}

void *pp_map_shared(const char *file, uint64_t size, uint64_t device, uint64_t inode)
{
    const int64_t descriptor = open_known(file, device, inode);
    if (descriptor < 0)
        return NULL;
    void *mapped = map(size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor);
    pp_gate(__NR_close, (uint64_t)descriptor, 0, 0, 0, 0);
    return mapped;
}

const void *pp_map_file(const char *file, uint64_t *size)
{
    const int64_t descriptor = pp_gate(__NR_openat, (uint64_t)AT_FDCWD, (uint64_t)file,
                                       O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0, 0);
    if (descriptor < 0)
        return NULL;
    void *mapped = NULL;
    const int64_t length = pp_gate(__NR_lseek, (uint64_t)descriptor, 0, 2 /* SEEK_END */, 0, 0);
    if (length > 0)
        mapped = map((uint64_t)length, PROT_READ, MAP_SHARED, descriptor);
    *size = mapped ? (uint64_t)length : 0;
    pp_gate(__NR_close, (uint64_t)descriptor, 0, 0, 0, 0);
    return mapped;
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What happens when the shim is loaded: it gets to know its board and the patched libraries, and tells
 * these where to jump to. From then on calls come in.
 */
#include <asm/unistd.h>
#include <linux/auxvec.h>
#include <linux/elf.h>
#include <linux/mman.h>

#include "../resolve.h"
#include "../text.h"
#include "shim.h"

#define PAGE 4096u
#define WIPE_ON_FORK 18 /* MADV_WIPEONFORK, younger than some headers */

/* The supervisor fills it in: see board.h. */
__attribute__((section(".board"), aligned(PAGE), used)) static const char board_pages[PP_BOARD_SIZE] =
    PP_BOARD_MAGIC;

static union {
    struct pp_wiped wiped;
    char page[PAGE];
} wiped __attribute__((aligned(PAGE)));

static struct pp_note notes[PP_NOTES];

/* What the dynamic linker says of a loaded object (<link.h>). */
struct link_map {
    uint64_t address;
    const char *name;
    void *dynamic;
    struct link_map *next, *previous;
};

struct r_debug {
    int version;
    struct link_map *map;
};

extern struct r_debug _r_debug __attribute__((weak, visibility("default")));

static int is_patchable(const char *name)
{
    const char *base = name;
    for (; *name; name++)
        if (*name == '/')
            base = name + 1;
    return pp_starts_with(base, "libc.so.", 8) || pp_starts_with(base, "libpthread.so.", 14);
}

static int connect_library(const struct link_map *library)
{
    const struct pp_board *board = pp_shim.board;
    const Elf64_Ehdr *header = (const void *)library->address;

    for (uint32_t i = 0; i < board->libraries_count; i++) {
        const struct pp_board_library *known = &board->libraries[i];
        if (header->e_phoff != known->phoff || header->e_shoff != known->shoff)
            continue;
        void (**slots)(void) = (void *)(library->address + known->slots);
        slots[0] = pp_enter_0;
        slots[1] = pp_enter_1;
        slots[2] = pp_enter_2;
        slots[3] = pp_enter_3;
        return 1;
    }
    return 0;
}

static int connect_libraries(void)
{
    int connected = 0;

    if (!&_r_debug)
        return 0;
    for (const struct link_map *library = _r_debug.map; library; library = library->next)
        if (library->name && is_patchable(library->name))
            connected += connect_library(library);
    return connected;
}

/* A program that runs from a view shall know itself by the path that it was started by. */
static void show_name(char **environment)
{
    static char shown[PP_PATH_MAX];

    while (*environment)
        environment++;
    for (uint64_t *pair = (uint64_t *)(environment + 1); pair[0] != AT_NULL; pair += 2) {
        if (pair[0] != AT_EXECFN)
            continue;
        char *name = (char *)pair[1];
        const struct pp_board *board = pp_shim.board;
        const char *views = (const char *)board + board->views;
        if (!pp_starts_with(name, views, board->views_length) || pp_tables_update())
            return;
        const int64_t length = pp_shown(&pp_shim.space, name, shown, sizeof shown);
        if (length >= 0 && (uint64_t)length <= pp_length(name))
            __builtin_memcpy(name, shown, (uint64_t)length + 1);
        return;
    }
}

__attribute__((constructor)) static void start(int count, char **arguments, char **environment)
{
    const struct pp_board *board = (const void *)board_pages;

    (void)count, (void)arguments;
    /* The compiler is not to know that it is constant. */
    __asm__("" : "+r"(board));
    if (!board->cookie)
        return; /* nobody supervises this process */
    pp_shim.board = board;
    pp_shim.wiped = &wiped.wiped;
    pp_shim.notes = notes;
    pp_system_call(__NR_madvise, (uint64_t)&wiped, PAGE, WIPE_ON_FORK, 0, 0, 0);
    show_name(environment);
    connect_libraries();
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The shim in a dynamic linker (linker_image.h): how it gets there, and how it looks for libraries.
 *
 * Rules that hold here beside those of shim.h:
 *  - A program may have another shim in its libc, which shares no memory with this one. So nothing
 * is known here of working directories, and relative paths are left to the supervisor.
 *  - Once any process of the session sets a filter of its own, this shim makes only the linker's
 * own calls: that process may be this one.
 *  - A libc is opened by the supervisor, which gives a copy with the shim in it.
 */
#include "shim/linker_image.h"

#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/openat2.h>

#include "core/deciders.h"
#include "core/text.h"
#include "shim/locate.h"
#include "shim/shim.h"

#define LINKER_FLAGS (O_RDONLY | O_CLOEXEC)
#define MEMORY "/proc/self/mem"
#define LIBC "libc.so."
#define ABSENT_MAX 512u

static uint64_t filters; /* the shared state's number of them when this shim was attached */

/* The path that was looked for last, if there was no symlink on the way to where it ended. */
static struct {
    int32_t busy;
    uint32_t length;
    char path[ABSENT_MAX];
} absent;

/* Attaching */

static int write_jumps(const struct pp_linker_image *image, uint64_t linker)
{
    int error = 0;

    const int64_t memory =
        pp_gate(__NR_openat, (uint64_t)AT_FDCWD, (uint64_t)MEMORY, O_WRONLY | O_CLOEXEC, 0, 0);
    if (memory < 0)
        return -1;
    for (uint32_t i = 0; i < image->sites_count && !error; i++) {
        const struct pp_linker_site *site = &image->sites[i];
        const uint64_t address = linker + site->address;
        uint8_t code[sizeof site->original];
        error = site->length > sizeof code ||
                pp_make_jump(code, site->length, address, (uint64_t)image + site->stub) ||
                pp_gate(__NR_pwrite64, (uint64_t)memory, (uint64_t)code, site->length, address,
                        0) != site->length;
    }
    pp_gate(__NR_close, (uint64_t)memory, 0, 0, 0, 0);
    return error;
}

static int attach(const struct pp_linker_image *image, uint64_t linker)
{
    const uint64_t memory = (uint64_t)image + image->memory;

    const int64_t mapped =
        pp_system_call(__NR_mmap, memory, image->memory_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, (uint64_t)-1, 0);
    if (mapped < 0 || !pp_begin())
        return -1;
    *(uint64_t *)((uint64_t)image + image->base) = linker;
    filters = __atomic_load_n(&pp_shim.state->filters, __ATOMIC_ACQUIRE);
    pp_shim.is_linker = 1;
    return write_jumps(image, linker);
}

/* The bootstrap calls this when it has mapped the image, and goes on in any case. There is only one
 * thread, and it is in the bootstrap. Without jumps the shim is not used, and the supervisor has
 * the linker forget the bootstrap. */
__attribute__((visibility("default"))) void pp_linker_attach(const struct pp_linker_image *image,
                                                             uint64_t linker)
{
    if (attach(image, linker))
        pp_system_call(__NR_openat, (uint64_t)AT_FDCWD, (uint64_t)PP_SHARED_STATE_PATH,
                       LINKER_FLAGS, PP_LINKER_FAILED_MODE, 0, 0);
}

/* Looking for libraries */

static int64_t make(const struct pp_entry *entry)
{
    const uint64_t *args = entry->args;
    return pp_system_call((int64_t)entry->number, args[0], args[1], args[2], args[3], args[4],
                          args[5]);
}

static int is_libc(const char *path)
{
    return pp_starts_with(pp_base_name(path), LIBC, sizeof LIBC - 1);
}

static void keep_absent(const char *path)
{
    const uint64_t length = pp_length(path);

    absent.length = 0;
    if (length >= ABSENT_MAX)
        return;
    __builtin_memcpy(absent.path, path, length);
    absent.length = (uint32_t)length;
}

/* Whether the path leads to a directory of the one that is kept. */
static int is_of_absent(const char *path)
{
    uint32_t i = 0;
    while (i < absent.length && path[i] && path[i] == absent.path[i])
        i++;
    return !path[i] && i < absent.length && absent.path[i] == '/';
}

/* A real file that no symlink leads to is opened at once, or is not there: that takes one call,
 * where pp_dispatch_program would look for symlinks in another one. */
static int64_t open_real(const struct pp_entry *entry, const char *path)
{
    const struct open_how how = {.flags = LINKER_FLAGS, .resolve = RESOLVE_NO_SYMLINKS};
    const int64_t value =
        pp_gate(__NR_openat2, (uint64_t)AT_FDCWD, (uint64_t)path, (uint64_t)&how, sizeof how, 0);

    if (value == -ENOENT)
        keep_absent(path);
    return value >= 0 || value == -ENOENT ? value : pp_dispatch_program(entry);
}

static int64_t open_library(const struct pp_entry *entry, const struct pp_spec *spec)
{
    const char *path = (const char *)entry->args[spec->path];
    size_t start;

    const int is_real = !pp_mounts_match(pp_shim.space.mounts, path, &start) &&
                        !pp_is_shadowing() && !pp_may_lead_to_view(path) && !pp_has_dots(path);
    const int64_t value = is_real ? open_real(entry, path) : pp_dispatch_program(entry);
    if (value < 0 || !is_libc(path))
        return value;
    pp_gate(__NR_close, (uint64_t)value, 0, 0, 0, 0);
    struct pp_entry marked = *entry;
    marked.args[spec->flags + 1] = PP_LINKER_LIBC_MODE;
    return make(&marked);
}

/* The linker asks about the directory of what it has just looked for: no symlink leads there. */
static int64_t stat_directory(const struct pp_entry *entry)
{
    const int64_t value = pp_gate_entry(entry);
    return value == 0 || value == -ENOENT ? value : pp_dispatch_program(entry);
}

static int64_t look_up(const struct pp_entry *entry, const struct pp_spec *spec)
{
    if (spec->operation == PP_OP_OPEN && spec->flags != PP_NONE &&
        entry->args[spec->flags] == LINKER_FLAGS)
        return open_library(entry, spec);
    const int is_directory =
        spec->operation == PP_OP_STAT && is_of_absent((const char *)entry->args[spec->path]);
    absent.length = 0;
    return is_directory ? stat_directory(entry) : pp_dispatch_program(entry);
}

int64_t pp_dispatch_linker(const struct pp_entry *entry)
{
    const struct pp_spec *spec = pp_spec_of((int)entry->number);
    int32_t free = 0;

    if (!spec || filters != __atomic_load_n(&pp_shim.state->filters, __ATOMIC_ACQUIRE))
        return make(entry);
    const uint64_t path = spec->path == PP_NONE ? 0 : entry->args[spec->path];
    if (!pp_is_address(path) || !*(const char *)path || pp_tables_update())
        return pp_dispatch_program(entry);
    if (*(const char *)path != '/' ||
        !__atomic_compare_exchange_n(&absent.busy, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return make(entry);
    const int64_t value = look_up(entry, spec);
    pp_release(&absent.busy);
    return value;
}

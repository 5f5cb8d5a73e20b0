/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * How the shim gets the shared state: from the supervisor, by an open of a path that does not
 * exist. It is made when a call first needs it, which many programs never come to.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#include "core/text.h"
#include "shim/shim.h"

#define PAGE 4096u
#define WIPE_ON_FORK 18 /* MADV_WIPEONFORK, younger than some headers */

enum { FRESH, ASKING, READY, ALONE };

static union {
    struct pp_wiped wiped;
    char page[PAGE];
} wiped __attribute__((aligned(PAGE)));

static struct pp_scratch scratches[PP_SCRATCHES];
static int32_t readiness;

static const struct pp_shared_state *open_state(void)
{
    const int64_t descriptor =
        pp_system_call(__NR_openat, (uint64_t)AT_FDCWD, (uint64_t)PP_SHARED_STATE_PATH,
                       O_RDONLY | O_CLOEXEC, PP_SHARED_STATE_MODE, 0, 0);
    if (descriptor < 0)
        return NULL;
    const int64_t address = pp_system_call(__NR_mmap, 0, PP_SHARED_STATE_SIZE, PROT_READ,
                                           MAP_SHARED, (uint64_t)descriptor, 0);
    pp_system_call(__NR_close, (uint64_t)descriptor, 0, 0, 0, 0, 0);
    const struct pp_shared_state *state = (const void *)address;
    return address > 0 && pp_is_same(state->magic, PP_SHARED_STATE_MAGIC, sizeof state->magic)
               ? state
               : NULL;
}

static __attribute__((noinline)) int begin(void)
{
    int32_t fresh = FRESH;

    if (!__atomic_compare_exchange_n(&readiness, &fresh, ASKING, 0, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED))
        return fresh == READY;
    pp_shim.wiped = &wiped.wiped;
    pp_shim.scratches = scratches;
    pp_system_call(__NR_madvise, (uint64_t)&wiped, PAGE, WIPE_ON_FORK, 0, 0, 0);
    pp_shim.state = open_state();
    if (pp_shim.state && pp_shim.state->flags & PP_SHARED_COUNTS)
        pp_tables_share();
    const int32_t now = pp_shim.state ? READY : ALONE;
    __atomic_store_n(&readiness, now, __ATOMIC_RELEASE);
    return now == READY;
}

int pp_has_begun(void)
{
    return __atomic_load_n(&readiness, __ATOMIC_ACQUIRE) == READY;
}

int pp_begin(void)
{
    return pp_has_begun() || begin();
}

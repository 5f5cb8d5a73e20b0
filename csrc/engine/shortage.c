/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Workers that wait inside of the kernel: for a file system that does not answer, for a disk. A run
 * goes on as long as one worker is left that receives. So one thread watches, as soon as there was
 * a moment in which none was, and has another worker started if that lasts. While some worker is
 * idle it sleeps, and costs nothing.
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/worker.h"

#define PATIENCE_NS 50000000

static void futex(uint32_t *word, int operation, uint32_t value)
{
    syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void pp_worker_is_idle(struct pp_worker *worker)
{
    __atomic_add_fetch(&worker->engine->idle, 1, __ATOMIC_RELAXED);
}

void pp_worker_is_busy(struct pp_worker *worker)
{
    struct pp_engine *engine = worker->engine;

    __atomic_add_fetch(&engine->received, 1, __ATOMIC_RELAXED);
    if (__atomic_sub_fetch(&engine->idle, 1, __ATOMIC_SEQ_CST) == 0 &&
        !__atomic_exchange_n(&engine->is_short, 1, __ATOMIC_SEQ_CST))
        futex(&engine->is_short, FUTEX_WAKE, 1);
}

void pp_engine_wait_for_shortage(struct pp_engine *engine)
{
    const struct timespec patience = {.tv_nsec = PATIENCE_NS};

    for (;;) {
        __atomic_store_n(&engine->is_short, 0, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&engine->idle, __ATOMIC_SEQ_CST) > 0)
            futex(&engine->is_short, FUTEX_WAIT, 0);
        const uint32_t received = __atomic_load_n(&engine->received, __ATOMIC_RELAXED);
        nanosleep(&patience, NULL);
        if (__atomic_load_n(&engine->idle, __ATOMIC_RELAXED) <= 0 &&
            __atomic_load_n(&engine->received, __ATOMIC_RELAXED) == received)
            return;
    }
}

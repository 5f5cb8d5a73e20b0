/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine_memory.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAIT_NANOSECONDS 100000000 /* for a free handover, before it is looked for again */
#define WAITS 600

struct pp_engine_memory *pp_engine_memory_new(void)
{
    /* Its pages come as they are used: those of the first slots, mostly. */
    void *memory = mmap(NULL, sizeof(struct pp_engine_memory), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void pp_engine_memory_count(const struct pp_engine_memory *memory, struct pp_counters *counters)
{
    *counters = (struct pp_counters){.calls = 0};
    for (uint32_t i = 0; i < PP_WORKERS_MAX; i++) {
        const struct pp_counters *one = &memory->workers[i].counters;
        counters->calls += one->calls;
        counters->ran += one->ran;
        counters->answered += one->answered;
        counters->opened += one->opened;
        counters->changed += one->changed;
        counters->asked += one->asked;
    }
}

/* Futexes: shared ones, since the mapping is other processes', too. */

static void wake(uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

static void wait_for(uint32_t *word, uint32_t value, const struct timespec *time)
{
    syscall(SYS_futex, word, FUTEX_WAIT, value, time, NULL, 0);
}

/* States */

static uint32_t *state_of(struct pp_engine_memory *memory, const struct pp_handover *handover)
{
    return &memory->states[handover - memory->handovers];
}

static void set_state(struct pp_engine_memory *memory, const struct pp_handover *handover,
                      uint32_t state)
{
    __atomic_store_n(state_of(memory, handover), state, __ATOMIC_SEQ_CST);
}

static int exchange(uint32_t *state, uint32_t before, uint32_t after)
{
    return __atomic_load_n(state, __ATOMIC_RELAXED) == before &&
           __atomic_compare_exchange_n(state, &before, after, 0, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

static uint32_t used(const struct pp_engine_memory *memory)
{
    const uint32_t count = __atomic_load_n(&memory->used, __ATOMIC_ACQUIRE);
    return count < PP_HANDOVERS_MAX ? count : PP_HANDOVERS_MAX;
}

/* The supervisor's side */

static struct pp_handover *find_free(struct pp_engine_memory *memory)
{
    for (uint32_t i = 0; i < PP_HANDOVERS_MAX; i++) {
        if (!exchange(&memory->states[i], PP_HANDOVER_FREE, PP_HANDOVER_FILLING))
            continue;
        uint32_t before = used(memory);
        while (before <= i && !__atomic_compare_exchange_n(&memory->used, &before, i + 1, 0,
                                                           __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE))
            ;
        return &memory->handovers[i];
    }
    return NULL;
}

struct pp_handover *pp_handover_begin(struct pp_engine_memory *memory)
{
    const struct timespec time = {.tv_nsec = WAIT_NANOSECONDS};

    struct pp_handover *handover = find_free(memory);
    for (int i = 0; i < WAITS && !handover; i++) {
        const uint32_t freed = __atomic_load_n(&memory->freed, __ATOMIC_SEQ_CST);
        __atomic_store_n(&memory->wanted, 1, __ATOMIC_SEQ_CST);
        handover = find_free(memory);
        if (!handover)
            wait_for(&memory->freed, freed, &time);
    }
    return handover;
}

void pp_handover_publish(struct pp_engine_memory *memory, struct pp_handover *handover)
{
    set_state(memory, handover, PP_HANDOVER_WAITING);
    __atomic_add_fetch(&memory->waiting, 1, __ATOMIC_SEQ_CST);
    wake(&memory->waiting, 1);
}

int pp_handover_exists(const struct pp_engine_memory *memory, uint64_t id)
{
    const uint32_t count = used(memory);
    for (uint32_t i = 0; i < count; i++)
        if (__atomic_load_n(&memory->states[i], __ATOMIC_ACQUIRE) >= PP_HANDOVER_WAITING &&
            memory->handovers[i].id == id)
            return 1;
    return 0;
}

void pp_handover_forget_unpublished(struct pp_engine_memory *memory)
{
    for (uint32_t i = 0; i < PP_HANDOVERS_MAX; i++)
        exchange(&memory->states[i], PP_HANDOVER_FILLING, PP_HANDOVER_FREE);
    __atomic_add_fetch(&memory->waiting, 1, __ATOMIC_SEQ_CST);
    wake(&memory->waiting, INT_MAX);
}

/* The tracer's side */

uint32_t pp_handover_published(const struct pp_engine_memory *memory)
{
    return __atomic_load_n(&memory->waiting, __ATOMIC_SEQ_CST);
}

struct pp_handover *pp_handover_take(struct pp_engine_memory *memory)
{
    const uint32_t count = used(memory);
    for (uint32_t i = 0; i < count; i++)
        if (exchange(&memory->states[i], PP_HANDOVER_WAITING, PP_HANDOVER_TAKEN))
            return &memory->handovers[i];
    return NULL;
}

void pp_handover_wait(struct pp_engine_memory *memory, uint32_t published)
{
    wait_for(&memory->waiting, published, NULL);
}

void pp_handover_hold(struct pp_engine_memory *memory, struct pp_handover *handover)
{
    set_state(memory, handover, PP_HANDOVER_HELD);
}

void pp_handover_unhold(struct pp_engine_memory *memory, struct pp_handover *handover)
{
    set_state(memory, handover, PP_HANDOVER_TAKEN);
}

void pp_handover_free(struct pp_engine_memory *memory, struct pp_handover *handover)
{
    set_state(memory, handover, PP_HANDOVER_FREE);
    if (__atomic_load_n(&memory->wanted, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&memory->wanted, 0, __ATOMIC_SEQ_CST)) {
        __atomic_add_fetch(&memory->freed, 1, __ATOMIC_SEQ_CST);
        wake(&memory->freed, INT_MAX);
    }
}

int pp_handover_recover(struct pp_engine_memory *memory,
                        int (*is_waiting)(void *context, const struct pp_handover *handover),
                        void (*end)(void *context, struct pp_handover *handover), void *context)
{
    const uint32_t count = used(memory);
    int killed = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct pp_handover *handover = &memory->handovers[i];
        const uint32_t state = __atomic_load_n(&memory->states[i], __ATOMIC_ACQUIRE);
        if (state != PP_HANDOVER_TAKEN && state != PP_HANDOVER_HELD)
            continue;
        if (is_waiting(context, handover)) {
            set_state(memory, handover, PP_HANDOVER_WAITING);
            continue;
        }
        if (state == PP_HANDOVER_TAKEN)
            end(context, handover);
        else
            killed++;
        pp_handover_free(memory, handover);
    }
    return killed;
}

int pp_engine_memory_held(const struct pp_engine_memory *memory)
{
    int held = 0;

    for (uint32_t i = 0; i < used(memory); i++)
        held += __atomic_load_n(&memory->states[i], __ATOMIC_ACQUIRE) == PP_HANDOVER_HELD;
    return held;
}

void pp_engine_memory_hold_none(struct pp_engine_memory *memory)
{
    for (uint32_t i = 0; i < used(memory); i++) {
        uint32_t held = PP_HANDOVER_HELD;
        __atomic_compare_exchange_n(&memory->states[i], &held, PP_HANDOVER_FREE, 0,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Checks that no call is lost or mixed up in the engine memory (csrc/engine/engine_memory.c) while
 * supervisors and tracers are killed at random: handover_checks KILLS SEED.
 *
 * This process plays the kernel and the keeper. It gives calls to workers, into their slots, as
 * the kernel does: complete even if the worker is killed. Supervisors answer some of them and hand
 * over the others; tracers check what they are given, and answer. At the end each
 * call that was given has its answer, and every handover is free.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "engine/engine_memory.h"

#define WORKERS 6u
#define TRACERS 3u
#define CALLS 4000000u
#define SECONDS_OF_KILLS 20 /* at most: where much else runs, fewer are killed */
#define SECONDS 80

/* What the kernel would know, and what was seen. */
struct world {
    uint32_t receiving[WORKERS]; /* the worker is in its ioctl */
    uint64_t repeated;           /* calls that another supervisor or tracer has begun again */
    uint64_t faults;             /* handovers whose content is not their call's */
    uint8_t is_answered[CALLS];
};

static struct world *world;
static struct pp_engine_memory *memory;

static int is_answered(uint64_t id)
{
    return __atomic_load_n(&world->is_answered[id], __ATOMIC_SEQ_CST);
}

static void answer(uint64_t id)
{
    __atomic_store_n(&world->is_answered[id], 1, __ATOMIC_SEQ_CST);
}

static uint64_t count_answers(uint64_t given)
{
    uint64_t count = 0;
    for (uint64_t id = 1; id <= given; id++)
        count += (uint64_t)is_answered(id);
    return count;
}

static int all_are_free(void)
{
    for (unsigned i = 0; i < PP_HANDOVERS_MAX; i++)
        if (__atomic_load_n(&memory->states[i], __ATOMIC_SEQ_CST) != PP_HANDOVER_FREE)
            return 0;
    return 1;
}

/* Be killed here, sometimes. */
static void pause_at(uint64_t id, unsigned step)
{
    if ((id + step) % 8 == 0)
        sched_yield();
}

/* A handover whose content is made of its id. */

static void fill(struct pp_handover *handover, uint64_t id)
{
    handover->id = id;
    handover->task = (int32_t)(id * 3);
    handover->number = (int32_t)(id * 5);
    for (unsigned i = 0; i < 6; i++)
        handover->args[i] = id * (i + 7);
    pause_at(id, 0);
    handover->is_exec = id & 1;
    handover->change_count = 1 + (id >> 1 & 1);
    snprintf(handover->given, sizeof handover->given, "given %llu", (unsigned long long)id);
    for (unsigned i = 0; i < handover->change_count; i++)
        memset(handover->changes[i].data, (int)(id + i) & 0xff, 1000);
}

static int is_right(const struct pp_handover *handover)
{
    const uint64_t id = handover->id;
    char given[64];

    for (unsigned i = 0; i < 6; i++)
        if (handover->args[i] != id * (i + 7))
            return 0;
    for (unsigned i = 0; i < handover->change_count; i++)
        if (handover->changes[i].data[0] != (char)(id + i) ||
            memcmp(handover->changes[i].data, handover->changes[i].data + 1, 999) != 0)
            return 0;
    snprintf(given, sizeof given, "given %llu", (unsigned long long)id);
    return handover->task == (int32_t)(id * 3) && handover->number == (int32_t)(id * 5) &&
           strcmp(handover->given, given) == 0;
}

/* A supervisor, in the steps of notify.c */

static void carry_out(struct pp_worker_slot *slot)
{
    const uint64_t id = slot->notification.id;

    if (id % 3 == 0) {
        answer(id);
        return;
    }
    struct pp_handover *handover = pp_handover_begin(memory);
    CHECK(handover);
    fill(handover, id);
    pause_at(id, 1);
    pp_handover_publish(memory, handover);
    pause_at(id, 2);
    __atomic_store_n(&slot->notification.id, 0, __ATOMIC_RELEASE);
}

static void *work(void *argument)
{
    const uintptr_t number = (uintptr_t)argument;
    struct pp_worker_slot *slot = &memory->workers[number];
    uint32_t *receiving = &world->receiving[number];
    const uint64_t left = slot->notification.id;

    if (left && !pp_handover_exists(memory, left) && !is_answered(left)) {
        __atomic_add_fetch(&world->repeated, 1, __ATOMIC_SEQ_CST);
        carry_out(slot);
    }
    for (;;) {
        __atomic_store_n(&slot->notification.id, 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(receiving, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(receiving, __ATOMIC_SEQ_CST))
            sched_yield();
        carry_out(slot);
    }
    return NULL;
}

static void start(void *(*function)(void *), uintptr_t count)
{
    for (uintptr_t i = 0; i < count; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, function, (void *)i) == 0);
    }
    for (;;)
        pause();
}

static void supervise(void)
{
    pp_handover_forget_unpublished(memory);
    start(work, WORKERS);
}

/* A tracer, in the steps of tracer.c */

static void *trace(void *argument)
{
    (void)argument;
    for (;;) {
        const uint32_t published = pp_handover_published(memory);
        struct pp_handover *handover = pp_handover_take(memory);
        if (!handover) {
            pp_handover_wait(memory, published);
            continue;
        }
        if (!is_right(handover))
            __atomic_add_fetch(&world->faults, 1, __ATOMIC_SEQ_CST);
        if (handover->is_exec)
            pp_handover_hold(memory, handover);
        pause_at(handover->id, 3);
        answer(handover->id);
        pause_at(handover->id, 4);
        pp_handover_free(memory, handover);
    }
    return NULL;
}

static int is_waiting(void *context, const struct pp_handover *handover)
{
    (void)context;
    const int result = !is_answered(handover->id);
    if (result)
        __atomic_add_fetch(&world->repeated, 1, __ATOMIC_SEQ_CST);
    return result;
}

static void end(void *context, struct pp_handover *handover)
{
    (void)context;
    if (!is_right(handover))
        __atomic_add_fetch(&world->faults, 1, __ATOMIC_SEQ_CST);
}

static void be_tracer(void)
{
    pp_handover_recover(memory, is_waiting, end, NULL);
    start(trace, TRACERS);
}

/* The keeper */

static pid_t started(void (*role)(void))
{
    const pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        role();
        _exit(0);
    }
    return child;
}

static void end_process(pid_t child)
{
    int status;
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Give a call to each worker that waits for one. */
static uint64_t give(uint64_t given)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        if (given + 1 == CALLS || !__atomic_load_n(&world->receiving[i], __ATOMIC_SEQ_CST))
            continue;
        __atomic_store_n(&memory->workers[i].notification.id, ++given, __ATOMIC_SEQ_CST);
        __atomic_store_n(&world->receiving[i], 0, __ATOMIC_SEQ_CST);
    }
    return given;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static uint64_t kill_at_random(unsigned kills, double deadline, pid_t *supervisor, pid_t *tracer)
{
    uint64_t given = 0;

    while (kills-- > 0 && now() < deadline) {
        const double until = now() + rand() % 1000 * 1e-6;
        while (now() < until) {
            given = give(given);
            sched_yield();
        }
        if (rand() % 2) {
            end_process(*supervisor);
            memset(world->receiving, 0, sizeof world->receiving);
            *supervisor = started(supervise);
        } else {
            end_process(*tracer);
            *tracer = started(be_tracer);
        }
    }
    return given;
}

int main(int count, char **arguments)
{
    const double begun = now(), deadline = begun + SECONDS;

    CHECK(count == 3);
    srand((unsigned)atoi(arguments[2]));
    memory = pp_engine_memory_new();
    CHECK(memory);
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(world != MAP_FAILED);
    pid_t supervisor = started(supervise), tracer = started(be_tracer);

    const uint64_t given = kill_at_random((unsigned)atoi(arguments[1]), begun + SECONDS_OF_KILLS,
                                          &supervisor, &tracer);
    while ((count_answers(given) < given || !all_are_free()) && now() < deadline)
        usleep(10000);
    const uint64_t answered = count_answers(given);
    const int is_free = all_are_free();
    end_process(supervisor);
    end_process(tracer);
    printf("%llu calls, %llu answered, %llu begun again, %llu mixed up, %s\n",
           (unsigned long long)given, (unsigned long long)answered,
           (unsigned long long)world->repeated, (unsigned long long)world->faults,
           is_free ? "all free" : "some kept");
    return given == 0 || answered != given || world->faults || !is_free;
}

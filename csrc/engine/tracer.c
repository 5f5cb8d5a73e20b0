/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/rewrite_call.h"
#include "engine/traced_task.h"

#define STACK_SIZE ((size_t)256 << 10)

/* Answering */

int pp_tracer_is_waiting(const struct pp_tracer *tracer, const struct pp_handover *call)
{
    return ioctl(tracer->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call->id) == 0;
}

static void respond(const struct pp_tracer *tracer, struct seccomp_notif_resp response)
{
    ioctl(tracer->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

void pp_tracer_return(const struct pp_tracer *tracer, const struct pp_handover *call, int64_t value)
{
    respond(tracer, (struct seccomp_notif_resp){
                        .id = call->id,
                        .val = value < 0 ? 0 : value,
                        .error = value < 0 ? (int32_t)value : 0,
                    });
}

void pp_tracer_let_run(const struct pp_tracer *tracer, const struct pp_handover *call)
{
    respond(tracer,
            (struct seccomp_notif_resp){.id = call->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE});
}

int pp_tracer_add_file(const struct pp_tracer *tracer, const struct pp_handover *call,
                       int descriptor)
{
    struct seccomp_notif_addfd addfd = {
        .id = call->id, .srcfd = (uint32_t)descriptor, .newfd_flags = O_CLOEXEC};
    const int number = ioctl(tracer->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &addfd);
    return number < 0 ? -errno : number;
}

/* Serving */

/* One that has another tracer can't be held. */
static int run_traced(const struct pp_tracer *tracer, struct pp_handover *call)
{
    if (call->is_exec)
        return call->words == 0
                   ? pp_run_traced(tracer, call, pp_spec_of(call->number)->path, call->file)
                   : -EPERM;
    return call->change_count == 1
               ? pp_run_traced(tracer, call, call->changes[0].argument, call->changes[0].data)
               : -EPERM;
}

static void run(struct pp_tracer *tracer, struct pp_handover *call)
{
    const enum pp_rewriting outcome =
        call->is_exec ? pp_rewrite_exec(tracer, call) : pp_rewrite_call(tracer, call);
    const int error = outcome == PP_TRACED ? run_traced(tracer, call) : 0;
    if (error)
        pp_tracer_return(tracer, call, error);
    pp_handover_free(tracer->memory, call);
}

static int add_thread(struct pp_tracer *tracer);

static void *serve(void *argument)
{
    struct pp_tracer *tracer = argument;

    for (;;) {
        const uint32_t published = pp_handover_published(tracer->memory);
        struct pp_handover *call = pp_handover_take(tracer->memory);
        if (!call) {
            __atomic_add_fetch(&tracer->idle, 1, __ATOMIC_SEQ_CST);
            pp_handover_wait(tracer->memory, published);
            __atomic_sub_fetch(&tracer->idle, 1, __ATOMIC_SEQ_CST);
            continue;
        }
        if (__atomic_load_n(&tracer->idle, __ATOMIC_SEQ_CST) == 0 && add_thread(tracer) &&
            !__atomic_exchange_n(&tracer->is_short, 1, __ATOMIC_RELAXED))
            dprintf(2,
                    "pyparrot: run: tracer: no thread beside %u others: calls may have to wait"
                    " for calls that block\n",
                    tracer->threads);
        run(tracer, call);
    }
    return NULL;
}

/* 0 or -errno. */
static int add_thread(struct pp_tracer *tracer)
{
    pthread_attr_t attributes;
    pthread_t thread;

    /* As many as there can be calls: more would have nothing to do. */
    if (__atomic_fetch_add(&tracer->threads, 1, __ATOMIC_RELAXED) >= PP_HANDOVERS_MAX) {
        __atomic_sub_fetch(&tracer->threads, 1, __ATOMIC_RELAXED);
        return 0;
    }
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    const int error = pthread_create(&thread, &attributes, serve, tracer);
    pthread_attr_destroy(&attributes);
    if (error)
        __atomic_sub_fetch(&tracer->threads, 1, __ATOMIC_RELAXED);
    return -error;
}

static int is_waiting(void *context, const struct pp_handover *call)
{
    return pp_tracer_is_waiting(context, call);
}

static void end(void *context, struct pp_handover *call)
{
    (void)context;
    pp_restore_traced(call);
}

int pp_tracer_start(struct pp_engine_memory *memory, int listener, uint64_t cookie, int *killed)
{
    struct pp_tracer *tracer = calloc(1, sizeof *tracer);
    struct pp_mapping_pool *mappings = pp_mapping_pool_new();

    if (!tracer || !mappings) {
        free(tracer);
        pp_mapping_pool_free(mappings);
        return -ENOMEM;
    }
    *tracer = (struct pp_tracer){
        .memory = memory, .mappings = mappings, .cookie = cookie, .listener = listener};
    *killed = pp_handover_recover(memory, is_waiting, end, tracer);
    return add_thread(tracer);
}

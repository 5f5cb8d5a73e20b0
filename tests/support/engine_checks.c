/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Checks of the steps of a call (csrc/engine/worker.c) with an engine, a hook and decisions that
 * are written down here, and of the pool of mappings. Says each check's name; a failed one aborts.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "engine/mapping_pool.h"
#include "engine/worker.h"

#define MARK 1000

/* What the engine did, a letter each; what the decision core and the hook were asked, too. */
static char did[512];
static int64_t returned;
static int calls_left, result_of_give, result_of_change;
static enum pp_action actions[256];
static int decided;

static void note(const char *letter)
{
    strcat(did, letter);
}

static int receive(struct pp_worker *worker)
{
    if (calls_left-- == 0)
        return -1;
    pp_worker_received(worker, getpid(), SYS_stat, 0x1234);
    return 0;
}

static int is_waiting(struct pp_worker *worker)
{
    (void)worker;
    return 1;
}

static void let_run(struct pp_worker *worker)
{
    (void)worker;
    note("r");
}

static void return_value(struct pp_worker *worker, int64_t value)
{
    (void)worker;
    returned = value;
    note("v");
}

static int give_file(struct pp_worker *worker, int descriptor, int flags)
{
    (void)worker;
    (void)flags;
    CHECK(close(descriptor) == 0);
    note("f");
    return result_of_give;
}

static int run_changed(struct pp_worker *worker)
{
    (void)worker;
    note("c");
    return result_of_change;
}

static int run_program(struct pp_worker *worker)
{
    (void)worker;
    note("x");
    return result_of_change;
}

static const struct pp_engine_operations operations = {
    receive, is_waiting, let_run, return_value, give_file, run_changed, run_program,
};

/* The row of the calls that come in: there is no table of system calls here. */
static struct pp_spec spec;

const struct pp_spec *pp_spec_of(int number)
{
    (void)number;
    return spec.operation == PP_OP_NONE ? NULL : &spec;
}

enum pp_action pp_decide(struct pp_call *call)
{
    (void)call;
    note("d");
    return actions[decided++];
}

static enum pp_hook_result result_of_hook;
static enum pp_event_kind kind_of_event;
static int sees_views;

static enum pp_hook_result hook_received(struct pp_hook *hook, struct pp_worker *worker)
{
    (void)hook;
    note("h");
    if (kind_of_event != PP_EVENT_NONE && !sees_views)
        pp_worker_tell(worker, &(struct pp_event){.kind = kind_of_event, .text = "why", .task = 7});
    if (!sees_views && result_of_hook == PP_HOOK_ENDED)
        pp_worker_return(worker, 5);
    return sees_views ? PP_HOOK_PASSED : result_of_hook;
}

static enum pp_hook_result hook_opened(struct pp_hook *hook, struct pp_worker *worker, int view)
{
    (void)hook;
    CHECK(fcntl(view, F_GETFD) >= 0);
    note("o");
    if (kind_of_event != PP_EVENT_NONE && sees_views)
        pp_worker_tell(worker, &(struct pp_event){.kind = kind_of_event, .library = view});
    return sees_views ? result_of_hook : PP_HOOK_PASSED;
}

static struct pp_hook hook = {hook_received, hook_opened};
static struct pp_engine engine = {.operations = &operations, .mark = MARK};
static struct pp_engine_memory *memory;
static struct pp_worker *worker;
static struct pp_index index_file;
static struct pp_record record = {.mode = S_IFREG | 0644, .size = 3};

/* A new worker, for which these calls come in. */
static struct pp_call *start(const char *name, int calls)
{
    static char directory[] = "/tmp/pyparrot-engine-XXXXXX";
    static int is_made;

    if (!is_made++)
        CHECK(mkdtemp(directory));
    puts(name);
    free(worker);
    worker = calloc(1, sizeof *worker);
    CHECK(worker);
    pp_worker_init(worker, &engine, 0);
    worker->slot->counters = (struct pp_counters){.calls = 0};
    did[0] = 0;
    calls_left = calls;
    result_of_give = result_of_change = decided = sees_views = 0;
    result_of_hook = PP_HOOK_PASSED;
    kind_of_event = PP_EVENT_NONE;
    engine.hook = NULL;
    struct pp_place *place = &worker->call.places[0];
    place->walk.record = &record;
    place->walk.index = &index_file;
    worker->call.asking = place;
    snprintf(worker->call.file, sizeof worker->call.file, "%s/view", directory);
    return &worker->call;
}

static void make_view(const char *content, int64_t mtime)
{
    const struct timespec times[2] = {{mtime, 0}, {mtime, 0}};
    const int file = open(worker->call.file, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    CHECK(file >= 0);
    CHECK(write(file, content, strlen(content)) == (ssize_t)strlen(content));
    CHECK(futimens(file, times) == 0);
    close(file);
}

static enum pp_event_kind serve(void)
{
    return pp_worker_serve(worker)->kind;
}

static void check_ends(void)
{
    struct pp_call *call = start("each action ends a call once", 4);
    actions[0] = PP_RUN;
    actions[1] = PP_RETURN;
    actions[2] = PP_CHANGE;
    actions[3] = PP_EXEC;
    call->asking = NULL;
    call->value = 42;
    CHECK(serve() == PP_EVENT_END);
    CHECK(strcmp(did, "drdvdcdx") == 0 && returned == 42);
    const struct pp_counters *counters = &worker->slot->counters;
    CHECK(counters->calls == 4 && counters->ran == 1 && counters->answered == 1);
    CHECK(counters->changed == 2 && counters->asked == 0);

    call = start("a call that can't be changed returns why", 2);
    actions[0] = PP_CHANGE;
    actions[1] = PP_EXEC;
    call->asking = NULL;
    result_of_change = -EPERM;
    CHECK(serve() == PP_EVENT_END);
    CHECK(strcmp(did, "dcvdxv") == 0 && returned == -EPERM);

    start("a descriptor that can't be given is an error", 1);
    actions[0] = PP_OPEN;
    make_view("abc", MARK);
    result_of_give = -EMFILE;
    CHECK(serve() == PP_EVENT_END);
    CHECK(strcmp(did, "dfv") == 0 && returned == -EMFILE);
}

/* Serve a call of an operation, and say what was noticed of it: "r" for another root, "t" for a
 * task with a filter or a tracer, "d" for another working directory, "c" for one of a thread. */
static const char *noticed(enum pp_operation operation, uint64_t flags)
{
    static struct pp_shared_state state;
    static char letters[8];

    state = (struct pp_shared_state){.flags = 0};
    engine.state = &state;
    memory->roots_differ = memory->tasks_differ = 0;
    spec.operation = (uint8_t)operation;
    worker->call.args[0] = flags;
    actions[0] = PP_RUN;
    decided = 0;
    did[0] = 0;
    calls_left = 1;
    CHECK(serve() == PP_EVENT_END && strcmp(did, "dr") == 0);
    snprintf(letters, sizeof letters, "%s%s%s%s", memory->roots_differ ? "r" : "",
             memory->tasks_differ ? "t" : "", state.directories ? "d" : "",
             state.flags & PP_SHARED_CWD_APART ? "c" : "");
    engine.state = NULL;
    memory->roots_differ = memory->tasks_differ = 0;
    spec.operation = PP_OP_NONE;
    return letters;
}

static void check_notices(void)
{
    start("calls that change what others mean are noticed", 0)->asking = NULL;
    CHECK(strcmp(noticed(PP_OP_NONE, 0), "") == 0);
    CHECK(strcmp(noticed(PP_OP_STAT, 0), "") == 0);
    CHECK(strcmp(noticed(PP_OP_UNSHARE, CLONE_FILES), "") == 0);
    CHECK(strcmp(noticed(PP_OP_UNSHARE, CLONE_FS), "c") == 0);
    CHECK(strcmp(noticed(PP_OP_UNSHARE, CLONE_NEWNS), "rdc") == 0);
    CHECK(strcmp(noticed(PP_OP_UNSHARE, CLONE_NEWUSER), "rdc") == 0);
    CHECK(strcmp(noticed(PP_OP_CLONE, CLONE_NEWNS), "rd") == 0);
    CHECK(strcmp(noticed(PP_OP_CHROOT, 0), "rd") == 0);
    CHECK(strcmp(noticed(PP_OP_PIVOT_ROOT, 0), "rd") == 0);
    CHECK(strcmp(noticed(PP_OP_SETNS, 0), "rd") == 0);
    CHECK(strcmp(noticed(PP_OP_CHDIR, 0), "d") == 0);
    CHECK(strcmp(noticed(PP_OP_PRCTL, 0), "t") == 0);
    CHECK(strcmp(noticed(PP_OP_SECCOMP, 0), "t") == 0);
    CHECK(strcmp(noticed(PP_OP_PTRACE, 0), "t") == 0);
}

static void check_needs(void)
{
    struct pp_call *call = start("what is needed is asked for, and the call decided anew", 2);
    actions[0] = PP_ASK;
    actions[1] = actions[2] = PP_OPEN;
    actions[3] = PP_ASK;
    call->asking->need = PP_NEEDS_CATALOG;
    unlink(call->file);
    CHECK(serve() == PP_EVENT_NEED && worker->event.need == PP_NEEDS_CATALOG);
    CHECK(serve() == PP_EVENT_NEED && worker->event.need == PP_NEEDS_VIEW);
    make_view("abc", MARK);
    CHECK(serve() == PP_EVENT_NEED && worker->event.need == PP_NEEDS_CATALOG);
    pp_worker_refuse(worker, EIO);
    CHECK(serve() == PP_EVENT_END);
    CHECK(strcmp(did, "dddfdv") == 0 && returned == -EIO);
    CHECK(worker->slot->counters.asked == 3 && worker->slot->counters.calls == 2);

    const char *const wrong[] = {"abcd", "ab", "abc"};
    for (int i = 0; i < 3; i++) {
        call = start("a view that was changed is removed", 1);
        actions[0] = PP_OPEN;
        make_view(wrong[i], i == 2 ? MARK + 1 : MARK);
        CHECK(serve() == PP_EVENT_NEED && worker->event.need == PP_NEEDS_VIEW);
        CHECK(access(call->file, F_OK) != 0 && strcmp(did, "d") == 0);
    }

    call = start("a view that is never there ends in an error", 1);
    for (int i = 0; i < 200; i++)
        actions[i] = PP_OPEN;
    unlink(call->file);
    int asked = 0;
    while (asked < 200 && serve() == PP_EVENT_NEED)
        asked++;
    CHECK(asked > 0 && asked < 200 && returned == -EIO);

    call = start("a catalog that is never found ends in an error", 1);
    actions[0] = PP_ASK;
    call->asking->need = PP_NEEDS_CATALOG;
    for (asked = 0; asked < 100000 && serve() == PP_EVENT_NEED; asked++)
        decided = did[0] = 0;
    CHECK(asked >= (int)PP_PATH_MAX / 2 && asked < 100000 && returned == -EIO);
}

/* In place of open(): another worker makes the view that this one does not find, or others have
 * used up the descriptors. */
static const char *content_of_next_view;
static int refusals;
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, mode_t mode);

int __wrap_open(const char *path, int flags, mode_t mode)
{
    const char *content = content_of_next_view;

    if (refusals > 0) {
        refusals--;
        errno = EMFILE;
        return -1;
    }
    if (!content)
        return __real_open(path, flags, mode);
    content_of_next_view = NULL;
    make_view(content, MARK);
    errno = ENOENT;
    return -1;
}

static void check_races(void)
{
    struct pp_call *call = start("a view that another worker makes meanwhile is found", 1);
    actions[0] = actions[1] = PP_OPEN;
    unlink(call->file);
    content_of_next_view = "abc";
    CHECK(serve() == PP_EVENT_NEED && worker->event.need == PP_NEEDS_VIEW);
    CHECK(serve() == PP_EVENT_END);
    CHECK(strcmp(did, "ddf") == 0 && worker->slot->counters.opened == 1);

    start("descriptors that others give back are waited for", 1);
    actions[0] = PP_OPEN;
    refusals = 3;
    CHECK(serve() == PP_EVENT_END);
    CHECK(strcmp(did, "df") == 0 && refusals == 0);

    start("a program is not told that our descriptors are used up", 1);
    actions[0] = PP_OPEN;
    refusals = 100000;
    CHECK(serve() == PP_EVENT_END);
    CHECK(strcmp(did, "dv") == 0 && returned == -EIO);
    refusals = 0;
}

static void check_hooks(void)
{
    start("a hook ends a call", 1);
    engine.hook = &hook;
    result_of_hook = PP_HOOK_ENDED;
    CHECK(serve() == PP_EVENT_END);
    CHECK(strcmp(did, "hv") == 0 && returned == 5);

    start("a hook's event comes first, and nothing is done twice", 2);
    engine.hook = &hook;
    kind_of_event = PP_EVENT_LOG;
    actions[0] = actions[1] = PP_RUN;
    CHECK(serve() == PP_EVENT_LOG && worker->event.task == 7);
    CHECK(strcmp(did, "h") == 0 && strcmp(worker->event.text, "why") == 0);
    CHECK(serve() == PP_EVENT_LOG && strcmp(did, "hdrh") == 0);
    CHECK(serve() == PP_EVENT_END && strcmp(did, "hdrhdr") == 0);

    start("an event about a view comes before it is given", 1);
    engine.hook = &hook;
    sees_views = 1;
    kind_of_event = PP_EVENT_LIBRARY;
    actions[0] = PP_OPEN;
    make_view("abc", MARK);
    CHECK(serve() == PP_EVENT_LIBRARY && strcmp(did, "hdo") == 0);
    CHECK(serve() == PP_EVENT_END && strcmp(did, "hdof") == 0);
    CHECK(worker->view == -1 && worker->slot->counters.opened == 1);

    start("a hook gives something else than the view", 1);
    engine.hook = &hook;
    sees_views = 1;
    result_of_hook = PP_HOOK_ENDED;
    actions[0] = PP_OPEN;
    CHECK(serve() == PP_EVENT_END && strcmp(did, "hdo") == 0);
    unlink(worker->call.file);
    *strrchr(worker->call.file, '/') = 0;
    rmdir(worker->call.file);
    free(worker);
}

static uint64_t new_memory(void)
{
    void *memory =
        mmap(NULL, PP_MAPPING_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return (uint64_t)(uintptr_t)memory;
}

static void check_pool(void)
{
    const pid_t us = getpid();
    struct pp_mapping *used[256];

    puts("a mapping is one user's, and comes back");
    struct pp_mapping_pool *pool = pp_mapping_pool_new();
    CHECK(pool && !pp_mapping_find(pool, us, us, 1));
    const uint64_t address = new_memory();
    struct pp_mapping *mapping = pp_mapping_add(pool, us, us, address, PP_MAPPING_SIZE, 99);
    CHECK(mapping && mapping->address == address);
    CHECK(!pp_mapping_find(pool, us, us, 1));
    pp_mapping_release(pool, mapping);
    CHECK(!pp_mapping_find(pool, us, us, PP_MAPPING_SIZE + 1));
    CHECK(!pp_mapping_find(pool, us + 1, us, 1));
    CHECK(pp_mapping_find(pool, us, us, PP_MAPPING_SIZE) == mapping);
    pp_mapping_release(pool, mapping);

    puts("a mapping without its mark is forgotten");
    *(uint64_t *)(uintptr_t)address = 0;
    CHECK(!pp_mapping_find(pool, us, us, 1) && mapping->owner == 0);

    puts("no more than there is room for, until one comes back");
    for (int i = 0; i < 256; i++)
        CHECK((used[i] = pp_mapping_add(pool, us, us, address, PP_MAPPING_SIZE, 99)));
    CHECK(!pp_mapping_add(pool, us, us, address, PP_MAPPING_SIZE, 99));
    pp_mapping_release(pool, used[100]);
    CHECK(pp_mapping_find(pool, us, us, 1) == used[100]);

    puts("where nothing can be written there is no mapping");
    used[100]->owner = 0;
    pp_mapping_release(pool, used[100]);
    CHECK(!pp_mapping_add(pool, us, us, 8, PP_MAPPING_SIZE, 99));
    munmap((void *)(uintptr_t)address, PP_MAPPING_SIZE);
    pp_mapping_pool_free(pool);
}

static int told; /* of a shortage */

static void *watch(void *unused)
{
    (void)unused;
    pp_engine_wait_for_shortage(&engine);
    __atomic_store_n(&told, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void check_shortage(void)
{
    static struct pp_worker own;
    struct pp_worker *const busy = &own;
    pthread_t thread;

    puts("no worker is left");
    pp_worker_init(busy, &engine, 0);
    pp_worker_is_idle(busy);
    CHECK(pthread_create(&thread, NULL, watch, NULL) == 0);
    for (int i = 0; i < 20; i++) { /* calls go on: there is none */
        usleep(10000);
        pp_worker_is_busy(busy);
        pp_worker_is_idle(busy);
    }
    CHECK(!__atomic_load_n(&told, __ATOMIC_SEQ_CST));
    pp_worker_is_busy(busy);
    pthread_join(thread, NULL);
    CHECK(told);
}

int main(void)
{
    memory = engine.memory = pp_engine_memory_new();
    CHECK(memory);
    check_ends();
    check_notices();
    check_needs();
    check_races();
    check_hooks();
    check_pool();
    check_shortage();
    puts("done");
    return 0;
}

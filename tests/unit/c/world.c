/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "python/index_build.h"

int failed_checks;
struct test_task task;
struct pp_call call;

/* The index */

enum { ROWS = 16 };

static struct pp_row rows[ROWS];
static size_t row_count;
static char texts[1024];
static size_t texts_size;

static struct pp_row *add(int64_t key, int64_t parent, uint32_t mode, const char *name,
                          const char *target)
{
    struct pp_row *row = &rows[row_count++];
    *row = (struct pp_row){
        .key = {key, 0},
        .parent = {parent, 0},
        .mode = mode,
        .name_length = (uint16_t)strlen(name),
        .target_length = (uint16_t)strlen(target),
    };
    memcpy(texts + texts_size, name, strlen(name));
    texts_size += strlen(name);
    memcpy(texts + texts_size, target, strlen(target));
    texts_size += strlen(target);
    return row;
}

static void list_tree(void)
{
    add(1, 0, 0040755, "", "");
    add(2, 1, 0040755, "dir", "");
    struct pp_row *file = add(3, 2, 0100644, "file", "");
    file->size = FILE_SIZE;
    file->mtime = FILE_MTIME;
    file->uid = FILE_OWNER;
    add(4, 2, 0100000, "secret", "");
    add(5, 1, 0100755, "run", "");
    add(6, 1, 0100755, "script", "");
    add(7, 1, 0120777, "link", "dir/file");
    add(8, 1, 0120777, "dirlink", "dir");
    add(9, 1, 0120777, "dangling", "nothing");
    add(10, 1, 0120777, "loop", "loop");
    add(11, 1, 0120777, "out", "/etc/passwd");
    add(12, 1, 0120777, "up", "../../usr");
    add(13, 1, 0010644, "fifo", "");
    add(14, 1, 0140644, "socket", "");
    add(15, 1, 0040755, "nested", "")->flags = PP_NESTED;
}

/* The content of the index file; freed by the caller. */
static void *built(size_t *size)
{
    const struct pp_listing listing = {
        .rows = rows,
        .row_count = row_count,
        .texts = texts,
        .texts_size = texts_size,
        .root = {1, 0},
        .root_hash = PP_HASH_ROOT,
        .revision = 1,
        .ttl = 1,
    };
    size_t bad_row;
    struct pp_builder *builder = pp_builder_new(&listing);
    if (!builder || pp_builder_plan(builder, &bad_row) != PP_BUILD_OK)
        abort();
    *size = pp_builder_size(builder);
    void *content = calloc(1, *size);
    if (!content || pp_builder_fill(builder, content) != PP_BUILD_OK)
        abort();
    pp_builder_free(builder);
    return content;
}

/* The session */

static void *file;
static struct pp_index index_file;
static struct pp_mounted mounted[4];
static struct pp_snapshot snapshot = {
    .root = &index_file,
    .mounted = mounted,
    .mask = 3,
    .mountpoint = MOUNT,
    .mountpoint_length = sizeof MOUNT - 1,
};
/* The mount table, as another process would have written it. */
enum { MOUNT_AT = 64, TABLE_AT = 512, MOUNT_NUMBER = 1 };
static union {
    uint64_t aligned;
    char bytes[1024];
} memory;
static union {
    struct pp_snapshots all;
    const void *space[3];
} snapshots;
static struct pp_namespace namespace = {.views = VIEWS, .views_length = sizeof VIEWS - 1};

static void make_mount_table(void)
{
    struct pp_mount *mount = (void *)(memory.bytes + MOUNT_AT);
    struct pp_mounts *table = (void *)(memory.bytes + TABLE_AT);
    const uint64_t hash = pp_path_hash(PP_HASH_ROOT, MOUNT, sizeof MOUNT - 1);

    mount->device = 77;
    mount->blocks = 1000;
    mount->number = MOUNT_NUMBER;
    mount->path_length = sizeof MOUNT - 1;
    mount->view_length = 1;
    memcpy(mount->path, MOUNT "\0r", sizeof MOUNT + 2);
    table->offset = TABLE_AT;
    table->mask = 3;
    table->depth = 2;
    table->slots[hash & 3] = (struct pp_mount_slot){.hash = hash, .entry = MOUNT_AT};
    snapshots.all.count = MOUNT_NUMBER + 1;
    snapshots.all.of[MOUNT_NUMBER] = &snapshot;
    namespace.snapshots = &snapshots.all;
    namespace.mounts = pp_mounts_open(memory.bytes, sizeof memory.bytes, TABLE_AT);
    if (!namespace.mounts)
        abort();
}

void world_make(void)
{
    size_t size;

    list_tree();
    file = built(&size);
    if (pp_index_open(&index_file, file, size))
        abort();
    make_mount_table();
}

void world_free(void)
{
    free(file);
}

/* The task */

static struct test_task *of(struct pp_task *given)
{
    return (struct test_task *)given;
}

static int is_bad(uint64_t address)
{
    return address == 0 || address >= BAD_ADDRESS;
}

static int read_memory(struct pp_task *given, uint64_t address, void *buffer, size_t size)
{
    (void)given;
    if (is_bad(address))
        return -EFAULT;
    memcpy(buffer, (const void *)(uintptr_t)address, size);
    return 0;
}

static int write_memory(struct pp_task *given, uint64_t address, const void *data, size_t size)
{
    if (is_bad(address) || (const void *)(uintptr_t)address == of(given)->forbidden)
        return -EFAULT;
    memcpy((void *)(uintptr_t)address, data, size);
    of(given)->writes++;
    return 0;
}

static int64_t read_text(struct pp_task *given, uint64_t address, char *buffer, size_t capacity)
{
    (void)given;
    if (is_bad(address))
        return -EFAULT;
    const char *text = (const char *)(uintptr_t)address;
    const size_t length = strlen(text);
    if (length >= capacity)
        return -ENAMETOOLONG;
    memcpy(buffer, text, length + 1);
    return (int64_t)length;
}

static int64_t give_text(const char *text, char *buffer, size_t capacity)
{
    const size_t length = strlen(text) < capacity ? strlen(text) : capacity;
    memcpy(buffer, text, length);
    return (int64_t)length;
}

static const struct test_link *link_of(const struct pp_task *given, int descriptor)
{
    for (const struct test_link *link = ((const struct test_task *)given)->links;
         link && link->path; link++)
        if (link->descriptor == descriptor)
            return link;
    return NULL;
}

static int64_t read_descriptor(struct pp_task *given, int descriptor, char *buffer, size_t capacity)
{
    const struct test_link *link = link_of(given, descriptor);
    if (!link)
        return descriptor == PP_CWD ? give_text("/home", buffer, capacity) : -EBADF;
    return give_text(link->path, buffer, capacity);
}

static const struct test_file *file_of(const struct pp_task *given, const char *path)
{
    for (const struct test_file *each = ((const struct test_task *)given)->files;
         each && each->path; each++)
        if (strcmp(each->path, path) == 0)
            return each;
    return NULL;
}

static int64_t read_link(struct pp_task *given, const char *path, char *buffer, size_t capacity)
{
    const struct test_file *found = file_of(given, path);
    return found && found->target ? give_text(found->target, buffer, capacity) : -EINVAL;
}

static int has_no_symlinks(struct pp_task *given, const char *path, int follow)
{
    for (const struct test_file *each = of(given)->files; each && each->path; each++) {
        const size_t length = strlen(each->path);
        if (each->target && strncmp(path, each->path, length) == 0 &&
            (path[length] == '/' || (path[length] == 0 && follow)))
            return 0;
    }
    return 1;
}

static int64_t read_file(struct pp_task *given, const char *path, int real, uint64_t offset,
                         void *buffer, size_t size)
{
    const struct test_file *found = file_of(given, path);
    (void)real;
    if (!found || !found->content)
        return found && found->error ? -found->error : -ENOENT;
    if (offset >= found->size)
        return 0;
    if (size > found->size - offset)
        size = found->size - offset;
    memcpy(buffer, found->content + offset, size);
    return (int64_t)size;
}

static int64_t seek(struct pp_task *given, int descriptor, int64_t position)
{
    (void)position;
    const struct test_link *link = link_of(given, descriptor);
    return link ? link->position : -EBADF;
}

static int64_t now(struct pp_task *given)
{
    (void)given;
    return NOW;
}

static const struct pp_task_operations operations = {
    .read = read_memory,
    .write = write_memory,
    .read_text = read_text,
    .link = read_descriptor,
    .read_link = read_link,
    .has_no_symlinks = has_no_symlinks,
    .read_file = read_file,
    .seek = seek,
    .now = now,
};

void world_reset(void)
{
    memset(&call, 0xa5, sizeof call); /* what an earlier call has left there */
    call.attribute_fetched = 0;
    task = (struct test_task){.task = {.operations = &operations}};
}

/* Decisions */

enum pp_action decided(int number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    const uint64_t args[6] = {a, b, c, d, e, 0};
    enum pp_action action = PP_RUN;
    int64_t value = 0;

    for (int time = 0; time < 2; time++) {
        call.number = number;
        memcpy(call.args, args, sizeof args);
        call.space = &namespace;
        call.task = &task.task;
        const enum pp_action again = pp_decide(&call);
        if (time > 0) {
            CHECK_EQUAL(again, action);
            if (again == PP_RETURN)
                CHECK_EQUAL(call.value, value);
        }
        action = again;
        value = call.value;
    }
    return action;
}

int64_t returned(int number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    return decided(number, a, b, c, d, e) == PP_RETURN ? call.value : NOT_RETURNED;
}

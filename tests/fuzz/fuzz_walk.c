/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Any path through any symlinks of a valid index, with a nested catalog that is mapped or not.
 * Beyond memory safety: the quick way and the thorough one agree, and what is found has a real
 * path that leads to the same place without a symlink.
 *
 * Input: a byte of choices, the targets of LINKS symlinks (each ended by a newline), and the path.
 */
#include "core/walk.h"
#include "python/index_build.h"

#include <stdlib.h>
#include <string.h>

enum { MOUNT_NESTED = 1, NOFOLLOW = 2, NO_ENVIRONMENT = 4, COVER = 8, JOINED = 16 };
enum { LINKS = 8, ROWS = 6 + LINKS, NESTED_ROWS = 4 };

#define MODE_DIRECTORY 0040755u
#define MODE_FILE 0100644u
#define MODE_SYMLINK 0120777u

struct catalog {
    struct pp_row rows[ROWS];
    size_t count;
    char texts[ROWS * (PP_TARGET_MAX + 16)];
    size_t size;
};

static void add(struct catalog *catalog, int64_t key, int64_t parent, uint32_t mode, uint32_t flags,
                const char *name, const char *target, size_t target_length)
{
    const size_t length = strlen(name);
    catalog->rows[catalog->count++] = (struct pp_row){
        .key = {key, 0},
        .parent = {parent, 0},
        .mode = mode,
        .flags = (uint16_t)flags,
        .name_length = (uint16_t)length,
        .target_length = (uint16_t)target_length,
    };
    memcpy(catalog->texts + catalog->size, name, length);
    memcpy(catalog->texts + catalog->size + length, target, target_length);
    catalog->size += length + target_length;
}

/* The index in memory of its own size; NULL if the catalog was refused. */
static void *build(const struct catalog *catalog, uint64_t root_hash, struct pp_index *index)
{
    const struct pp_listing listing = {
        .rows = catalog->rows,
        .row_count = catalog->count,
        .texts = catalog->texts,
        .texts_size = catalog->size,
        .root = {1, 0},
        .root_hash = root_hash,
        .revision = 1,
        .ttl = 1,
    };
    struct pp_builder *builder = pp_builder_new(&listing);
    void *file = NULL;
    size_t bad_row;
    if (pp_builder_plan(builder, &bad_row) == PP_BUILD_OK) {
        const size_t size = pp_builder_size(builder);
        file = calloc(1, size);
        if (pp_builder_fill(builder, file) || pp_index_open(index, file, size))
            abort();
    }
    pp_builder_free(builder);
    return file;
}

static uint64_t hash_of(const char *name)
{
    return pp_hash_child(PP_HASH_ROOT, pp_hash_name(name, strlen(name)));
}

static struct pp_walk *walked(const struct pp_snapshot *snapshot, uint32_t flags, const char *path,
                              size_t length, enum pp_outcome *outcome)
{
    struct pp_walk *walk = calloc(1, sizeof *walk);
    walk->snapshot = snapshot;
    walk->flags = flags;
    *outcome = pp_walk(walk, path, length);
    return walk;
}

static void check(const struct pp_snapshot *snapshot, uint32_t flags, const char *path,
                  size_t length)
{
    enum pp_outcome quick_outcome, outcome, again_outcome;
    struct pp_walk *quick = walked(snapshot, flags, path, length, &quick_outcome);
    struct pp_walk *walk = walked(snapshot, flags | PP_WANT_PATH, path, length, &outcome);

    if (outcome == PP_DAMAGED || outcome != quick_outcome)
        abort();
    if (outcome == PP_ERROR && walk->error != quick->error)
        abort();
    if (outcome == PP_OUTSIDE && (walk->path_length >= PP_PATH_MAX || walk->path[0] != '/' ||
                                  walk->path_length != strlen(walk->path)))
        abort();
    if (outcome == PP_FOUND || outcome == PP_NEED_CATALOG) {
        if (walk->record != quick->record || walk->hash != quick->hash ||
            walk->index != quick->index)
            abort();
        struct pp_walk *again = walked(snapshot, PP_WANT_PATH | PP_NOFOLLOW, walk->path,
                                       walk->path_length, &again_outcome);
        if (again_outcome != PP_FOUND || again->links != 0 || again->record != walk->record ||
            again->path_length != walk->path_length ||
            memcmp(again->path, walk->path, walk->path_length) != 0)
            abort();
        free(again);
    }
    free(quick);
    free(walk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const environment[] = {"A=1", "EMPTY=", "UP=..", "LINK=/cvmfs/r/l0", NULL};
    static const int64_t parents[LINKS] = {1, 1, 1, 2, 2, 3, 3, 3};
    static struct catalog outer, nested;
    if (size == 0)
        return 0;
    const unsigned choices = data[0];
    const char *rest = (const char *)data + 1;
    size--;

    outer.count = outer.size = nested.count = nested.size = 0;
    add(&outer, 1, 0, MODE_DIRECTORY, 0, "", "", 0);
    add(&outer, 2, 1, MODE_DIRECTORY, 0, "a", "", 0);
    add(&outer, 3, 2, MODE_DIRECTORY, 0, "b", "", 0);
    add(&outer, 4, 1, MODE_FILE, 0, "f", "", 0);
    add(&outer, 5, 3, MODE_FILE, 0, "f", "", 0);
    add(&outer, 6, 1, MODE_DIRECTORY, PP_NESTED, "n", "", 0);
    add(&nested, 1, 0, MODE_DIRECTORY, 0, "", "", 0);
    add(&nested, 2, 1, MODE_DIRECTORY, 0, "d", "", 0);
    add(&nested, 3, 2, MODE_FILE, 0, "f", "", 0);
    for (int i = 0; i < LINKS; i++) {
        const char *end = memchr(rest, '\n', size);
        const size_t length = end ? (size_t)(end - rest) : 0;
        if (length > PP_TARGET_MAX)
            return 0;
        const char name[] = {'l', (char)('0' + i), 0};
        add(&outer, 10 + i, parents[i], MODE_SYMLINK, 0, name, rest, length);
        if (i == 0)
            add(&nested, 10, 2, MODE_SYMLINK, 0, name, rest, length);
        if (end) {
            rest += length + 1;
            size -= length + 1;
        }
    }
    struct pp_index index, nested_index;
    void *file = build(&outer, PP_HASH_ROOT, &index);
    void *nested_file = build(&nested, hash_of("n"), &nested_index);
    if (file && nested_file) {
        const uint64_t covered[] = {pp_path_hash(PP_HASH_ROOT, "/a/b/c", 6), hash_of("f"), 0};
        const uint32_t flags =
            (choices & NOFOLLOW ? PP_NOFOLLOW : 0u) | (choices & JOINED ? PP_JOINED : 0u);
        struct pp_mounted mounted[4] = {0};
        struct pp_snapshot snapshot = {
            .root = &index,
            .mounted = mounted,
            .mask = 3,
            .mountpoint = "/cvmfs/r",
            .mountpoint_length = 8,
            .environment = choices & NO_ENVIRONMENT ? NULL : environment,
            .covered = choices & COVER ? covered : NULL,
        };
        if (choices & MOUNT_NESTED)
            pp_snapshot_mount(&snapshot, &nested_index);
        /* The path in memory of its own size. */
        char *path = malloc(size);
        memcpy(path, rest, size);
        if (!memchr(path, 0, size))
            check(&snapshot, flags, path, size);
        free(path);
    }
    free(file);
    free(nested_file);
    return 0;
}

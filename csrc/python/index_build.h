/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Makes an index file from a catalog's rows. Runs in the supervisor alone, so it may allocate.
 * The rows come from an untrusted catalog: each is checked, and a bad one is named, not used.
 */
#ifndef PYPARROT_INDEX_BUILD_H
#define PYPARROT_INDEX_BUILD_H

#include "core/index.h"

/* cffi: begin */

/* A row of a catalog. `flags` are the catalog's own. */
struct pp_row {
    int64_t path[2];   /* the path's key … */
    int64_t parent[2]; /* … and its parent's */
    int64_t size;
    int64_t mtime;
    uint64_t text; /* offset into the texts: the name, the target and the attributes' blob */
    uint32_t mtime_ns;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t nlink;
    uint32_t link_group;
    uint32_t flags;
    uint32_t first_chunk;
    uint32_t chunks;
    uint32_t xattr_size;
    uint16_t name_length;
    uint16_t target_length;
    uint8_t digest[20]; /* of the body, or of the nested catalog at a mountpoint */
    uint8_t has_digest;
    uint8_t algorithm; /* of a nested catalog's hash */
    uint8_t padding[6];
};

/* What is wrong with a catalog. */
enum pp_build_error {
    PP_BUILD_OK,
    PP_BUILD_MEMORY,
    PP_BUILD_NO_ROOT,
    PP_BUILD_NAME,   /* empty, too long, . or .., or with a slash or NUL */
    PP_BUILD_TARGET, /* a symlink's target with a NUL, or too long, or empty where it may not be */
    PP_BUILD_TYPE,   /* flags that contradict the mode or each other */
    PP_BUILD_DUPLICATE, /* two entries of one name, or of one hash */
    PP_BUILD_NUMBER,    /* a negative size, or more nanoseconds than a second has */
    PP_BUILD_STORAGE,   /* an unknown hash or compression algorithm */
    PP_BUILD_LOOP,      /* a directory below itself */
    PP_BUILD_SIZE,      /* texts, chunks or the whole beyond what the format holds */
};

struct pp_builder;

/* Take over what a catalog says. `root` is the key of its own root directory, whose path has the
 * hash `root_hash`. The arrays must stay until pp_builder_free. NULL if there is no memory. */
struct pp_builder *pp_builder_new(const struct pp_row *rows, size_t row_count, const char *texts,
                                  size_t texts_size, const struct pp_chunk *chunks,
                                  size_t chunk_count, const int64_t root[2], uint64_t root_hash);

/* Check the rows and lay out the file; `*bad_row` is the row that an error is about. */
enum pp_build_error pp_builder_plan(struct pp_builder *builder, size_t *bad_row);

/* The size of the file, in bytes, once it is planned. */
size_t pp_builder_size(const struct pp_builder *builder);

/* Write the file's content to `pp_builder_size` zeroed, 8 byte aligned bytes. */
enum pp_build_error pp_builder_fill(const struct pp_builder *builder, void *output,
                                    const uint8_t catalog[20], uint8_t algorithm, uint64_t revision,
                                    uint64_t ttl);

void pp_builder_free(struct pp_builder *builder);

/* cffi: end */

#endif

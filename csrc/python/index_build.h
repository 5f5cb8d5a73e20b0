/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Makes an index file of the rows that a source gives. Runs in the supervisor alone, so it may
 * allocate. What a source lists may be hostile: each row that the root leads to is checked, and a
 * bad one is named, not used. Rows that nothing leads to are left out.
 */
#ifndef PYPARROT_INDEX_BUILD_H
#define PYPARROT_INDEX_BUILD_H

#include "core/index.h"

/* cffi: begin */

/* A row: a name in a directory. Keys are any that tell the rows of one index apart. What has a
 * length stands in the texts, row after row: name, target, handle, extended attributes. */
struct pp_row {
    int64_t key[2];    /* the row's own key … */
    int64_t parent[2]; /* … and that of the directory that lists it */
    int64_t size;      /* st_rdev for devices */
    int64_t mtime;     /* seconds … */
    uint32_t mtime_ns; /* … and nanoseconds */
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t nlink;
    uint32_t link_group; /* rows of one directory with the same one share an inode; 0 for none */
    uint32_t handle_size;
    uint32_t xattr_size; /* bytes of the extended attributes, in the form of index.h */
    uint16_t flags;      /* PP_NESTED, PP_HIDDEN */
    uint16_t name_length;
    uint16_t target_length;
    uint16_t padding;
};

/* What is wrong with the rows. */
enum pp_build_error {
    PP_BUILD_OK,
    PP_BUILD_MEMORY,
    PP_BUILD_NO_ROOT,
    PP_BUILD_NAME,      /* empty, too long, . or .., or with a slash or NUL */
    PP_BUILD_TARGET,    /* a symlink's target with a NUL, or too long */
    PP_BUILD_TYPE,      /* a mode without a type, or flags that contradict it */
    PP_BUILD_DUPLICATE, /* two entries of one name, or of one hash */
    PP_BUILD_NUMBER,    /* a negative size, or more nanoseconds than a second has */
    PP_BUILD_LOOP,      /* a directory below itself */
    PP_BUILD_SIZE,      /* texts or the whole beyond what the format holds */
    PP_BUILD_CLASH,     /* more hashes side by side than chance puts there */
};

struct pp_builder;

/* What an index is made of; the arrays must stay until pp_builder_free. */
struct pp_listing {
    const struct pp_row *rows;
    uint64_t row_count;
    const char *texts;
    uint64_t texts_size;
    const uint8_t *handle; /* the index's own */
    uint32_t handle_size;
    int64_t root[2];    /* the key of the root directory … */
    uint64_t root_hash; /* … and the hash of the path where it is seen */
    uint64_t revision;
    uint64_t ttl; /* seconds; 0 if the source does not say */
};

/* Take over what a source lists. NULL if there is no memory. */
struct pp_builder *pp_builder_new(const struct pp_listing *listing);

/* Check the rows and lay out the file; `*bad_row` is the row that an error is about. */
enum pp_build_error pp_builder_plan(struct pp_builder *builder, size_t *bad_row);

/* The size of the file, in bytes, once it is planned. */
size_t pp_builder_size(const struct pp_builder *builder);

/* Write the file's content to `pp_builder_size` zeroed, 8 byte aligned bytes. */
enum pp_build_error pp_builder_fill(const struct pp_builder *builder, void *output);

void pp_builder_free(struct pp_builder *builder);

/* cffi: end */

#endif

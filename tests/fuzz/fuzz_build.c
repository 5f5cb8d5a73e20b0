/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Any rows to the builder, as a hostile source may give them: it refuses them, or makes an index
 * in which every record is found under its name, and every directory is listed in order.
 *
 * Input: the number of rows, 16 bytes for each of them, and the texts. A row is mostly what a
 * source gives, so that more than its first check is reached, with what the bytes say changed.
 */
#include "python/index_build.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, ROW_BYTES = 16 };

static struct pp_row row_of(const uint8_t *bytes)
{
    static const uint32_t modes[] = {0040755, 0100644, 0120777, 0010644, 0060644, 0};
    const unsigned kind = bytes[2] % 6;
    struct pp_row row = {
        .key = {bytes[0] % 32, 0},
        .parent = {bytes[1] % 32, 0},
        .size = (int8_t)bytes[3],
        .uid = bytes[4],
        .gid = bytes[5],
        .mode = modes[kind],
        .flags = bytes[2] >= 128 ? bytes[6] : 0,
        .link_group = bytes[7],
        .nlink = 1,
        .handle_size = bytes[9],
        .name_length = bytes[10],
        .target_length = (uint16_t)(bytes[11] * (bytes[12] & 1 ? 33 : 1)),
        .xattr_size = bytes[13],
    };
    if (bytes[15] == 255)
        row.handle_size = UINT32_MAX - bytes[4];
    if (bytes[15] == 254)
        row.flags = (uint16_t)(row.flags ^ 1u << (bytes[6] % 16));
    if (bytes[15] == 252)
        row.xattr_size = UINT32_MAX - bytes[13];
    return row;
}

static void check(const struct pp_index *index)
{
    size_t count = 0, size;
    for (const struct pp_record *record = pp_index_root(index); record;
         record = pp_index_next(index, record), count++) {
        const struct pp_record *child = pp_index_record(index, record->first_child);
        if ((record->mode & 0170000) == 0040000) {
            const struct pp_record *before = NULL;
            for (uint32_t i = 0; i < record->children; i++) {
                if (!child || pp_index_record(index, child->parent) != record)
                    abort();
                if (before && strcmp(before->text, child->text) >= 0)
                    abort();
                before = child;
                child = pp_index_next(index, child);
            }
        }
        struct pp_attribute attribute;
        struct pp_attributes all = pp_index_attributes(index, record);
        pp_index_extra(index, record, &size);
        while (pp_next_attribute(&all, &attribute))
            if (attribute.value + attribute.value_length > all.end)
                abort();
        if (count == 0)
            continue; /* the root has no name to be found by */
        const uint64_t name = pp_hash_name(record->text, record->name_length);
        const uint64_t hash = pp_hash_child(record->parent_hash, name);
        if (pp_index_find(index, hash, record->parent_hash, record->text, record->name_length) !=
            record)
            abort();
        if (record->inode == 0 || record->inode >> 63)
            abort();
    }
    if (count != index->header->entries)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t handle[21];
    if (size == 0)
        return 0;
    const size_t count = data[0] % ROWS;
    if (size - 1 < count * ROW_BYTES)
        return 0;
    struct pp_row *rows = calloc(count + 1, sizeof *rows);
    for (size_t i = 0; i < count; i++)
        rows[i] = row_of(data + 1 + i * ROW_BYTES);
    const size_t texts_size = size - 1 - count * ROW_BYTES;
    char *texts = malloc(texts_size);
    memcpy(texts, data + size - texts_size, texts_size);
    const struct pp_listing listing = {
        .rows = rows,
        .row_count = count,
        .texts = texts,
        .texts_size = texts_size,
        .handle = handle,
        .handle_size = sizeof handle,
        .root_hash = PP_HASH_ROOT,
        .revision = 1,
        .ttl = 1,
    };
    struct pp_builder *builder = pp_builder_new(&listing);
    size_t bad_row;
    if (pp_builder_plan(builder, &bad_row) == PP_BUILD_OK) {
        const size_t file_size = pp_builder_size(builder);
        void *file = calloc(1, file_size);
        if (pp_builder_fill(builder, file) == PP_BUILD_OK) {
            struct pp_index index;
            if (pp_index_open(&index, file, file_size) != 0)
                abort();
            size_t handle_size;
            if (!pp_index_handle(&index, &handle_size) || handle_size != sizeof handle)
                abort();
            check(&index);
        }
        free(file);
    }
    pp_builder_free(builder);
    free(texts);
    free(rows);
    return 0;
}

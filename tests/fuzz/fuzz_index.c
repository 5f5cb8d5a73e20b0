/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Any bytes as an index file: opening it, every look-up, listing and walk may give nonsense, but
 * must stay inside of the bytes. The file lies in memory of exactly its size, so that
 * AddressSanitizer sees the first byte beyond it.
 *
 * Input: a byte of choices, the length of a path (1 byte) and the path, and then the file. Unless
 * the choices say otherwise, the header's fixed fields are made right: without that nearly
 * everything would end in pp_index_open.
 */
#include "core/walk.h"

#include <stdlib.h>
#include <string.h>

enum { KEEP_HEADER = 1, MOUNT_ITSELF = 2, NOFOLLOW = 4 };

static volatile uint64_t seen;

static void read_all(const void *bytes, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += ((const uint8_t *)bytes)[i];
    seen += sum;
}

static void read_record(const struct pp_index *index, const struct pp_record *record)
{
    size_t size;
    const uint8_t *extra = pp_index_extra(index, record, &size);
    struct pp_attributes attributes = pp_index_attributes(index, record);
    struct pp_attribute attribute;

    read_all(record, sizeof *record);
    read_all(record->text, record->name_length);
    read_all(pp_record_target(record), record->target_length);
    if (extra)
        read_all(extra, size);
    while (pp_next_attribute(&attributes, &attribute)) {
        read_all(attribute.name, attribute.name_length);
        read_all(attribute.value, attribute.value_length);
    }
    const uint64_t name = pp_hash_name(record->text, record->name_length);
    const struct pp_record *found =
        pp_index_find(index, pp_hash_child(record->parent_hash, name), record->parent_hash,
                      record->text, record->name_length);
    if (found)
        read_all(found, sizeof *found);
}

static void list(const struct pp_index *index, const struct pp_record *directory, int budget)
{
    const struct pp_record *child = pp_index_record(index, directory->first_child);
    for (uint32_t i = 0; i < directory->children && child && budget-- > 0; i++) {
        read_record(index, child);
        child = pp_index_next(index, child);
    }
}

static void walk(const struct pp_index *index, unsigned choices, const char *path, size_t length)
{
    static const char *const environment[] = {"A=1", "EMPTY=", "PATH=/cvmfs/r", "NOVALUE", NULL};
    static struct pp_walk walks;
    struct pp_mounted mounted[4] = {0};
    struct pp_snapshot snapshot = {
        .root = index,
        .mounted = mounted,
        .mask = 3,
        .mountpoint = "/cvmfs/r",
        .mountpoint_length = 8,
        .environment = environment,
    };

    if (choices & MOUNT_ITSELF)
        pp_snapshot_mount(&snapshot, index);
    for (uint32_t flags = 0; flags <= PP_WANT_PATH; flags += PP_WANT_PATH) {
        memset(&walks, 0, sizeof walks);
        walks.snapshot = &snapshot;
        walks.flags = flags | (choices & NOFOLLOW ? PP_NOFOLLOW : 0);
        if (pp_walk(&walks, path, length) == PP_FOUND) {
            read_record(walks.index, walks.record);
            if (pp_walk_enter(&walks) == PP_FOUND)
                list(walks.index, walks.record, 100);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size - 2 < data[1])
        return 0;
    const unsigned choices = data[0];
    char path[256];
    const size_t length = data[1];
    memcpy(path, data + 2, length);
    size -= 2 + length;
    uint8_t *file = malloc(size);
    memcpy(file, data + 2 + length, size);
    struct pp_index_header header;
    if (!(choices & KEEP_HEADER) && size >= sizeof header) {
        memcpy(&header, file, sizeof header);
        header.magic = PP_INDEX_MAGIC;
        header.version = PP_INDEX_VERSION;
        header.header_size = sizeof header;
        header.file_size = size;
        memcpy(file, &header, sizeof header);
    }
    struct pp_index index;
    if (pp_index_open(&index, file, size) == 0) {
        int budget = 300;
        size_t handle_size;
        const uint8_t *handle = pp_index_handle(&index, &handle_size);
        if (handle)
            read_all(handle, handle_size);
        for (const struct pp_record *record = pp_index_root(&index); record && budget-- > 0;
             record = pp_index_next(&index, record)) {
            read_record(&index, record);
            list(&index, record, 20);
            walk(&index, choices, record->text, record->name_length);
        }
        for (size_t i = 0; i + 8 <= length; i += 8) {
            uint64_t hash;
            memcpy(&hash, path + i, 8);
            pp_index_find(&index, hash, hash, path, length);
            pp_index_record(&index, hash >> 35);
        }
        walk(&index, choices, path, length);
    }
    free(file);
    return 0;
}

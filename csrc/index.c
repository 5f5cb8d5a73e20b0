/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "index.h"

_Static_assert(sizeof(struct pp_index_header) == 128, "the format has no holes");
_Static_assert(sizeof(struct pp_record) == 104, "the format has no holes");
_Static_assert(sizeof(struct pp_chunk) == 40, "the format has no holes");

static uint64_t load(const char *bytes, size_t count)
{
    uint64_t word = 0;
    __builtin_memcpy(&word, bytes, count);
    return word;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Whole words, then the last word again where it overlaps: no loop over single bytes. */
uint64_t pp_hash_name(const char *name, size_t length)
{
    uint64_t hash = length * UINT64_C(0xa0761d6478bd642f);

    if (length >= 8) {
        for (size_t i = 0; i + 8 < length; i += 8)
            hash = mix(hash ^ load(name + i, 8), UINT64_C(0xe7037ed1a0b428db));
        return mix(hash ^ load(name + length - 8, 8), UINT64_C(0x8ebc6af09c88c6e3));
    }
    uint64_t word = 0;
    if (length >= 4)
        word = load(name, 4) << 32 | load(name + length - 4, 4);
    else if (length > 0)
        word = (uint64_t)(uint8_t)name[0] << 16 | (uint64_t)(uint8_t)name[length / 2] << 8 |
               (uint8_t)name[length - 1];
    return mix(hash ^ word, UINT64_C(0x8ebc6af09c88c6e3));
}

static int section_fits(uint64_t offset, uint64_t size, uint64_t file_size)
{
    return offset % 8 == 0 && offset <= file_size && size <= file_size - offset;
}

int pp_index_open(struct pp_index *index, const void *base, size_t size)
{
    const struct pp_index_header *header = base;

    if (size < sizeof *header || header->magic != PP_INDEX_MAGIC ||
        header->version != PP_INDEX_VERSION || header->header_size != sizeof *header ||
        header->file_size != size)
        return -1;
    const uint64_t slots = header->table_mask + 1;
    if (slots == 0 || (slots & header->table_mask) != 0 || slots > size / sizeof(struct pp_slot))
        return -1;
    if (!section_fits(header->table_offset, slots * sizeof(struct pp_slot), size) ||
        !section_fits(header->records_offset, header->records_size, size) ||
        !section_fits(header->extras_offset, header->extras_size, size))
        return -1;
    index->header = header;
    index->table = (const void *)((const uint8_t *)base + header->table_offset);
    index->records = (const uint8_t *)base + header->records_offset;
    index->extras = (const uint8_t *)base + header->extras_offset;
    index->mask = header->table_mask;
    index->records_size = header->records_size;
    return pp_index_root(index) ? 0 : -1;
}

static size_t record_size(const struct pp_record *record)
{
    const size_t text = (size_t)record->name_length + 1 + record->target_length + 1;
    return (sizeof *record + text + 7) & ~(size_t)7;
}

const struct pp_record *pp_index_record(const struct pp_index *index, uint64_t offset)
{
    const uint64_t start = offset * 8;

    if (start >= index->records_size || index->records_size - start < sizeof(struct pp_record))
        return NULL;
    const struct pp_record *record = (const void *)(index->records + start);
    return record_size(record) <= index->records_size - start ? record : NULL;
}

const struct pp_record *pp_index_root(const struct pp_index *index)
{
    return pp_index_record(index, 0);
}

const struct pp_record *pp_index_next(const struct pp_index *index, const struct pp_record *record)
{
    return pp_index_record(index, pp_index_offset(index, record) + record_size(record) / 8);
}

const uint8_t *pp_index_extra(const struct pp_index *index, const struct pp_record *record,
                              size_t *size)
{
    const uint64_t chunks = record->flags & PP_CHUNKED ? record->children : 0;
    const uint64_t start = (uint64_t)record->extra * 8;

    *size = chunks * sizeof(struct pp_chunk) + record->xattr_size;
    if (*size == 0 || start > index->header->extras_size ||
        *size > index->header->extras_size - start)
        return NULL;
    return index->extras + start;
}

uint32_t pp_index_offset(const struct pp_index *index, const struct pp_record *record)
{
    return (uint32_t)(((const uint8_t *)record - index->records) / 8);
}

static int names_equal(const struct pp_record *record, const char *name, size_t length)
{
    if (record->name_length != length)
        return 0;
    for (size_t i = 0; i < length; i++)
        if (record->text[i] != name[i])
            return 0;
    return 1;
}

const struct pp_record *pp_index_find(const struct pp_index *index, uint64_t hash,
                                      uint64_t parent_hash, const char *name, size_t length)
{
    const uint32_t tag = (uint32_t)(hash >> 32);

    /* Bounded by the table's size: a damaged table need not have a free slot. */
    for (uint64_t tries = 0, slot = hash & index->mask; tries <= index->mask;
         tries++, slot = (slot + 1) & index->mask) {
        const struct pp_slot found = index->table[slot];
        if (found.record == 0)
            return NULL;
        if (found.tag != tag)
            continue;
        const struct pp_record *record = pp_index_record(index, found.record);
        if (record && record->parent_hash == parent_hash && names_equal(record, name, length))
            return record;
    }
    return NULL;
}

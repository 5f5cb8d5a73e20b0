/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/index.h"

_Static_assert(sizeof(struct pp_index_header) == 128, "the format has no holes");
_Static_assert(sizeof(struct pp_record) == 104, "the format has no holes");
_Static_assert(sizeof(struct pp_chunk) == 40, "the format has no holes");

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
    index->touched = NULL;
    return pp_index_root(index) ? 0 : -1;
}

const struct pp_record *pp_index_root(const struct pp_index *index)
{
    return pp_index_record(index, 0);
}

const struct pp_record *pp_index_next(const struct pp_index *index, const struct pp_record *record)
{
    return pp_index_record(index, pp_index_offset(index, record) + pp_record_size(record) / 8);
}

const struct pp_record *pp_index_touched(const struct pp_index *index, const uint32_t *words,
                                         uint64_t offset, uint32_t *word)
{
    for (const struct pp_record *record = pp_index_record(index, offset); record;
         record = pp_index_next(index, record)) {
        *word = words[pp_touch_word(index, record)];
        if (*word)
            return record;
    }
    return NULL;
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

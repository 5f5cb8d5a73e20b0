/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/index.h"

_Static_assert(sizeof(struct pp_index_header) == 128, "the format has no holes");
_Static_assert(sizeof(struct pp_record) == 88, "the format has no holes");
_Static_assert(PP_TOUCH_UNIT <= ((sizeof(struct pp_record) + 2 + 7) & ~(size_t)7),
               "each record has a word of its own in a touch map");

/* An attribute's two lengths. */
enum { VALUE_LENGTH = 4, NAME_LENGTH = 2, ATTRIBUTE_HEAD = VALUE_LENGTH + NAME_LENGTH };

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
    const uint64_t start = (uint64_t)record->extra * 8;

    *size = (size_t)record->handle_size + record->xattr_size;
    if (*size == 0 || start > index->header->extras_size ||
        *size > index->header->extras_size - start)
        return NULL;
    return index->extras + start;
}

const uint8_t *pp_index_handle(const struct pp_index *index, size_t *size)
{
    *size = index->header->handle_size;
    return *size == 0 || *size > index->header->extras_size ? NULL : index->extras;
}

struct pp_attributes pp_index_attributes(const struct pp_index *index,
                                         const struct pp_record *record)
{
    size_t size;
    const uint8_t *extra = pp_index_extra(index, record, &size);

    if (!extra)
        return (struct pp_attributes){0};
    return (struct pp_attributes){extra + record->handle_size, extra + size};
}

int pp_next_attribute(struct pp_attributes *attributes, struct pp_attribute *attribute)
{
    const uint8_t *head = attributes->next;
    uint32_t value_length;
    uint16_t name_length;

    if (attributes->end - head < ATTRIBUTE_HEAD)
        return 0;
    __builtin_memcpy(&value_length, head, VALUE_LENGTH);
    __builtin_memcpy(&name_length, head + VALUE_LENGTH, NAME_LENGTH);
    const uint8_t *name = head + ATTRIBUTE_HEAD;
    if (attributes->end - name < (int64_t)value_length + name_length)
        return 0;
    *attribute = (struct pp_attribute){name, name + name_length, name_length, value_length};
    attributes->next = attribute->value + value_length;
    return 1;
}

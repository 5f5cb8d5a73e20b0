/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "python/index_build.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert(sizeof(struct pp_row) == 88, "Python packs rows of this size");

#define UNPLACED UINT32_MAX
#define NANOSECONDS 1000000000u
#define ALL_PERMISSIONS 07777u

/* How many slots are looked at for each record while the table is filled, on average: at half
 * load 1.5 where names are as they come. */
#define MOST_TRIES 16u

/* Where a row's record goes. */
struct place {
    uint64_t hash;
    uint64_t text; /* offset of the row's texts */
    uint32_t offset;
    uint32_t parent; /* row number */
    uint32_t first_child;
    uint32_t children;
    uint32_t extra;
};

struct pp_builder {
    struct pp_listing listing;
    const struct pp_row *rows;
    size_t row_count;
    uint32_t *by_parent; /* row numbers, by parent and name */
    uint32_t *queue;     /* row numbers, in the order of their records */
    struct place *places;
    size_t entries;
    uint64_t records_size;
    uint64_t extras_size;
    uint64_t slots;
};

static uint64_t padded(uint64_t size)
{
    return (size + 7) & ~UINT64_C(7);
}

struct pp_builder *pp_builder_new(const struct pp_listing *listing)
{
    const size_t row_count = listing->row_count;
    struct pp_builder *builder = calloc(1, sizeof *builder);
    if (!builder)
        return NULL;
    builder->listing = *listing;
    builder->rows = listing->rows;
    builder->row_count = row_count;
    builder->extras_size = padded(listing->handle_size);
    builder->by_parent = malloc((row_count + 1) * sizeof *builder->by_parent);
    builder->queue = malloc((row_count + 1) * sizeof *builder->queue);
    builder->places = calloc(row_count + 1, sizeof *builder->places);
    if (!builder->by_parent || !builder->queue || !builder->places) {
        pp_builder_free(builder);
        return NULL;
    }
    return builder;
}

void pp_builder_free(struct pp_builder *builder)
{
    if (!builder)
        return;
    free(builder->by_parent);
    free(builder->queue);
    free(builder->places);
    free(builder);
}

static const char *name_of(const struct pp_builder *builder, const struct pp_row *row)
{
    return builder->listing.texts + builder->places[row - builder->rows].text;
}

static int compare_keys(const int64_t a[2], const int64_t b[2])
{
    if (a[0] != b[0])
        return a[0] < b[0] ? -1 : 1;
    return a[1] < b[1] ? -1 : a[1] > b[1];
}

static int compare_names(const struct pp_builder *builder, const struct pp_row *a,
                         const struct pp_row *b)
{
    const size_t shorter = a->name_length < b->name_length ? a->name_length : b->name_length;
    const int order = memcmp(name_of(builder, a), name_of(builder, b), shorter);
    return order ? order : (int)a->name_length - (int)b->name_length;
}

static int compare_rows(const void *left, const void *right, void *context)
{
    const struct pp_builder *builder = context;
    const struct pp_row *a = &builder->rows[*(const uint32_t *)left];
    const struct pp_row *b = &builder->rows[*(const uint32_t *)right];
    const int order = compare_keys(a->parent, b->parent);
    return order ? order : compare_names(builder, a, b);
}

/* The position in by_parent of the first row whose parent is `key` or comes after it. */
static size_t first_child_of(const struct pp_builder *builder, const int64_t key[2])
{
    size_t low = 0, high = builder->row_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct pp_row *row = &builder->rows[builder->by_parent[middle]];
        if (compare_keys(row->parent, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Find out where each row's texts are; `*bad_row` is the row whose are not all there. */
static enum pp_build_error place_texts(struct pp_builder *builder, size_t *bad_row)
{
    uint64_t text = 0;

    for (size_t i = 0; i < builder->row_count; i++) {
        const struct pp_row *row = &builder->rows[i];
        builder->places[i].text = text;
        text +=
            (uint64_t)row->name_length + row->target_length + row->handle_size + row->xattr_size;
        *bad_row = i;
        if (text > builder->listing.texts_size)
            return PP_BUILD_SIZE;
    }
    return PP_BUILD_OK;
}

static int has_type(uint32_t mode)
{
    return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) ||
           S_ISFIFO(mode) || S_ISSOCK(mode);
}

static int is_nested(const struct pp_row *row)
{
    return (row->flags & PP_NESTED) != 0;
}

static enum pp_build_error check_row(const struct pp_builder *builder, const struct pp_row *row,
                                     int is_root)
{
    const char *name = name_of(builder, row);

    if (!is_root && !pp_is_name(name, row->name_length))
        return PP_BUILD_NAME;
    if (row->target_length > PP_TARGET_MAX ||
        memchr(name + row->name_length, 0, row->target_length))
        return PP_BUILD_TARGET;
    if (!has_type(row->mode) || row->mode > (S_IFMT | ALL_PERMISSIONS))
        return PP_BUILD_TYPE;
    if (row->flags & ~(PP_NESTED | PP_HIDDEN) || (is_nested(row) && !S_ISDIR(row->mode)))
        return PP_BUILD_TYPE;
    if (row->size < 0 || row->mtime_ns >= NANOSECONDS)
        return PP_BUILD_NUMBER;
    return PP_BUILD_OK;
}

static uint64_t extra_size(const struct pp_row *row)
{
    return padded((uint64_t)row->handle_size + row->xattr_size);
}

/* Give the next record to a row. */
static enum pp_build_error place_row(struct pp_builder *builder, uint32_t number, uint32_t parent,
                                     uint64_t hash)
{
    const struct pp_row *row = &builder->rows[number];
    struct place *place = &builder->places[number];
    const uint64_t text = (uint64_t)row->name_length + 1 + row->target_length + 1;
    const uint64_t size = padded(sizeof(struct pp_record) + text);

    if (place->offset != UNPLACED)
        return PP_BUILD_LOOP;
    if ((builder->records_size + size) / 8 >= UINT32_MAX ||
        (builder->extras_size + extra_size(row)) / 8 >= UINT32_MAX)
        return PP_BUILD_SIZE;
    place->offset = (uint32_t)(builder->records_size / 8);
    place->parent = parent;
    place->hash = hash;
    place->extra = (uint32_t)(builder->extras_size / 8);
    builder->records_size += size;
    builder->extras_size += extra_size(row);
    builder->queue[builder->entries++] = number;
    return PP_BUILD_OK;
}

/* Place the entries of a directory one after another. */
static enum pp_build_error place_children(struct pp_builder *builder, uint32_t directory,
                                          size_t *bad_row)
{
    const struct pp_row *parent = &builder->rows[directory];
    struct place *place = &builder->places[directory];
    const struct pp_row *before = NULL;

    place->first_child = (uint32_t)(builder->records_size / 8);
    for (size_t i = first_child_of(builder, parent->key); i < builder->row_count; i++) {
        const uint32_t number = builder->by_parent[i];
        const struct pp_row *row = &builder->rows[number];
        if (compare_keys(row->parent, parent->key) != 0)
            break;
        *bad_row = number;
        enum pp_build_error error = check_row(builder, row, 0);
        if (error)
            return error;
        if (before && compare_names(builder, before, row) == 0)
            return PP_BUILD_DUPLICATE;
        before = row;
        const uint64_t name_hash = pp_hash_name(name_of(builder, row), row->name_length);
        error = place_row(builder, number, directory, pp_hash_child(place->hash, name_hash));
        if (error)
            return error;
        place->children++;
    }
    return PP_BUILD_OK;
}

enum pp_build_error pp_builder_plan(struct pp_builder *builder, size_t *bad_row)
{
    uint32_t root = UNPLACED;

    *bad_row = 0;
    if (builder->row_count >= UNPLACED)
        return PP_BUILD_SIZE;
    enum pp_build_error error = place_texts(builder, bad_row);
    if (error)
        return error;
    for (uint32_t i = 0; i < builder->row_count; i++) {
        builder->by_parent[i] = i;
        builder->places[i].offset = UNPLACED;
        if (compare_keys(builder->rows[i].key, builder->listing.root) == 0)
            root = i;
    }
    *bad_row = root;
    if (root == UNPLACED || !S_ISDIR(builder->rows[root].mode))
        return PP_BUILD_NO_ROOT;
    qsort_r(builder->by_parent, builder->row_count, sizeof *builder->by_parent, compare_rows,
            builder);
    error = check_row(builder, &builder->rows[root], 1);
    if (!error)
        error = place_row(builder, root, root, builder->listing.root_hash);
    for (size_t next = 0; !error && next < builder->entries; next++) {
        const uint32_t number = builder->queue[next];
        const struct pp_row *row = &builder->rows[number];
        if (S_ISDIR(row->mode) && !is_nested(row))
            error = place_children(builder, number, bad_row);
    }
    /* At most half of the slots are taken, so that a free one is never far. */
    for (builder->slots = 2; builder->slots < 2 * builder->entries;)
        builder->slots *= 2;
    return error;
}

size_t pp_builder_size(const struct pp_builder *builder)
{
    return sizeof(struct pp_index_header) + builder->slots * sizeof(struct pp_slot) +
           builder->records_size + builder->extras_size;
}

static int is_variant(const char *target, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++)
        if (target[i] == '$' && target[i + 1] == '(')
            return 1;
    return 0;
}

static uint16_t record_flags(const struct pp_builder *builder, const struct pp_row *row)
{
    const char *target = name_of(builder, row) + row->name_length;
    const int variant = S_ISLNK(row->mode) && is_variant(target, row->target_length);

    return (uint16_t)(row->flags | (variant ? PP_VARIANT : 0));
}

/* Members of a hard link group share their number; 63 bits, since some programs take it
 * for a signed number. */
static uint64_t inode_of(const struct place *place, uint64_t parent_hash, const struct pp_row *row)
{
    uint64_t number = place->hash;
    if (row->link_group)
        number = pp_hash_child(parent_hash ^ PP_HASH_ROOT, row->link_group);
    number &= UINT64_MAX >> 1;
    return number > 1 ? number : number + 2;
}

static void fill_record(const struct pp_builder *builder, uint32_t number, uint8_t *records,
                        uint8_t *extras)
{
    const struct pp_row *row = &builder->rows[number];
    const struct place *place = &builder->places[number];
    const struct place *parent = &builder->places[place->parent];
    struct pp_record *record = (void *)(records + (uint64_t)place->offset * 8);
    const char *name = name_of(builder, row);

    *record = (struct pp_record){
        .parent_hash = parent->hash,
        .inode = inode_of(place, parent->hash, row),
        .size = (uint64_t)row->size,
        .mtime = row->mtime,
        .mtime_ns = row->mtime_ns,
        .mode = row->mode,
        .uid = row->uid,
        .gid = row->gid,
        .nlink = row->nlink,
        .parent = parent->offset,
        .first_child = place->first_child,
        .children = place->children,
        .extra = place->extra,
        .handle_size = row->handle_size,
        .xattr_size = row->xattr_size,
        .flags = record_flags(builder, row),
        .name_length = row->name_length,
        .target_length = row->target_length,
    };
    const char *target = name + row->name_length;
    memcpy(record->text, name, row->name_length);
    memcpy(record->text + row->name_length + 1, target, row->target_length);
    memcpy(extras + (uint64_t)place->extra * 8, target + row->target_length,
           (size_t)row->handle_size + row->xattr_size);
}

/* Two paths of one hash can't both be found: chance does not bring that about, malice might. Nor
 * does chance put many hashes side by side, where each look-up would go through all of them. */
static enum pp_build_error fill_table(const struct pp_builder *builder, struct pp_slot *table)
{
    const uint64_t mask = builder->slots - 1;
    uint64_t tries = MOST_TRIES * builder->slots;
    uint64_t *hashes = calloc(builder->slots, sizeof *hashes);
    enum pp_build_error error = hashes ? PP_BUILD_OK : PP_BUILD_MEMORY;

    for (size_t i = 1; !error && i < builder->entries; i++) {
        const struct place *place = &builder->places[builder->queue[i]];
        uint64_t slot = place->hash & mask;
        while (table[slot].record != 0 && hashes[slot] != place->hash && tries > 0) {
            slot = (slot + 1) & mask;
            tries--;
        }
        if (table[slot].record != 0)
            error = hashes[slot] == place->hash ? PP_BUILD_DUPLICATE : PP_BUILD_CLASH;
        hashes[slot] = place->hash;
        table[slot] = (struct pp_slot){(uint32_t)(place->hash >> 32), place->offset};
    }
    free(hashes);
    return error;
}

enum pp_build_error pp_builder_fill(const struct pp_builder *builder, void *output)
{
    const struct pp_listing *listing = &builder->listing;
    struct pp_index_header *header = output;
    const uint64_t table = sizeof *header;
    const uint64_t records = table + builder->slots * sizeof(struct pp_slot);
    const uint64_t extras = records + builder->records_size;

    *header = (struct pp_index_header){
        .magic = PP_INDEX_MAGIC,
        .version = PP_INDEX_VERSION,
        .header_size = sizeof *header,
        .file_size = pp_builder_size(builder),
        .root_hash = listing->root_hash,
        .table_offset = table,
        .table_mask = builder->slots - 1,
        .records_offset = records,
        .records_size = builder->records_size,
        .extras_offset = extras,
        .extras_size = builder->extras_size,
        .entries = builder->entries,
        .revision = listing->revision,
        .ttl = listing->ttl,
        .handle_size = listing->handle_size,
    };
    if (listing->handle_size)
        memcpy((uint8_t *)output + extras, listing->handle, listing->handle_size);
    for (size_t i = 0; i < builder->entries; i++)
        fill_record(builder, builder->queue[i], (uint8_t *)output + records,
                    (uint8_t *)output + extras);
    return fill_table(builder, (void *)((uint8_t *)output + table));
}

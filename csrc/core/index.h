/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Index files: what a source lists, in one immutable file that all readers map read-only.
 *
 * Rules that hold here (this is also compiled where there is no libc):
 *  - No allocation, no locks, no system calls, no state: every answer comes from the mapped bytes.
 *  - Pyparrot made the file, yet nothing in it is trusted: pp_index_open checks the header, and
 *    every record is checked to lie in the file before it is used. A damaged file gives wrong
 *    answers or PP_DAMAGED, never an access outside of the mapping.
 *  - All numbers are in the machine's order; a file never leaves its machine.
 *  - No source's format is known here. What only a source understands is a handle: bytes that are
 *    stored as they come and given back as they are.
 *
 * A file is: header, hash table, records, extras.
 *
 * A record is a name with all that stat says of it. The records of a directory's entries follow one
 * another, in the order of their names, so a listing is a scan. A record is found by the hash of
 * its path: h(child) = mix(h(parent), hash(name)), from PP_HASH_ROOT for the tree's root.
 * That one look-up is enough however deep the path is, since records exist under their real path
 * alone; the name's bytes and the parent's 64 bit hash are compared. A nested index goes on from
 * the hash of its mountpoint, so a path is hashed once for all indexes that it leads through. The
 * same hash is the inode number: it stays the same in every process and session.
 *
 * The extras start with the index's own handle, which says what it was made of. A record's extra is
 * its handle (of a regular file: its body; of a directory that is PP_NESTED: the index that is
 * mounted there) and behind it its extended attributes: for each a uint32_t with the value's
 * length, a uint16_t with the name's, the name, the value; nothing is aligned, and a name has no
 * NUL at its end. Attributes that their source could not read whole end with one that is cut off.
 */
#ifndef PYPARROT_INDEX_H
#define PYPARROT_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define PP_INDEX_MAGIC UINT64_C(0x3158444e49505950) /* "PYPINDX1", read as a little-endian word */
#define PP_INDEX_VERSION 2u

/* cffi: begin */

#define PP_HASH_ROOT UINT64_C(0x243f6a8885a308d3)

#define PP_NAME_MAX 255u
#define PP_TARGET_MAX 4095u

/* What a record is, beyond its mode. */
enum {
    PP_NESTED = 1,  /* a directory: its content stands in the index that its handle names */
    PP_VARIANT = 2, /* a symlink with $(NAME) in its target */
    PP_HIDDEN = 4,  /* can be looked up, is not listed */
};

struct pp_index_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_size;
    uint64_t file_size;
    uint64_t root_hash;    /* of the path of the index's own root directory */
    uint64_t table_offset; /* of struct pp_slot[table_mask + 1] */
    uint64_t table_mask;
    uint64_t records_offset;
    uint64_t records_size;
    uint64_t extras_offset;
    uint64_t extras_size;
    uint64_t entries; /* number of records, the root's among them */
    uint64_t revision;
    uint64_t ttl;         /* seconds; 0 if the source does not say */
    uint32_t handle_size; /* bytes of the index's own handle, with which the extras start */
    uint8_t padding[20];
};

/* A place in the hash table. `record` is 0 where it is free: the root's record is not in the table.
 */
struct pp_slot {
    uint32_t tag;    /* the upper half of the path's hash */
    uint32_t record; /* offset into the records, in units of 8 bytes */
};

struct pp_record {
    uint64_t parent_hash;
    uint64_t inode;
    uint64_t size; /* st_rdev for devices */
    int64_t mtime;
    uint32_t mtime_ns;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t nlink;
    uint32_t parent;      /* offset of the parent's record, as in struct pp_slot */
    uint32_t first_child; /* of a directory: offset of the first child's record … */
    uint32_t children;    /* … and their number */
    uint32_t extra;       /* offset into the extras, in units of 8 bytes */
    uint32_t handle_size; /* bytes of the handle, which is the extra's first part … */
    uint32_t xattr_size;  /* … and of the extended attributes behind it */
    uint16_t flags;       /* PP_… */
    uint16_t name_length;
    uint16_t target_length; /* of a symlink */
    uint16_t padding[3];
    char text[]; /* name, NUL, target, NUL, then zeros up to a multiple of 8 */
};

/* An open index file. */
struct pp_index {
    const struct pp_index_header *header;
    const struct pp_slot *table;
    const uint8_t *records;
    const uint8_t *extras;
    uint64_t mask;
    uint64_t records_size;
    uint32_t *touched; /* its words in the touch map (shim/shared_state.h), or NULL */
};

/* cffi: end */

static inline uint64_t pp_load(const char *bytes, size_t count)
{
    uint64_t word = 0;
    __builtin_memcpy(&word, bytes, count);
    return word;
}

static inline uint64_t pp_mix(uint64_t a, uint64_t b)
{
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The hash of a name, independent of where it stands. Whole words, then the last word again where
 * it overlaps: no loop over single bytes. */
static inline uint64_t pp_hash_name(const char *name, size_t length)
{
    uint64_t hash = length * UINT64_C(0xa0761d6478bd642f);

    if (length >= 8) {
        for (size_t i = 0; i + 8 < length; i += 8)
            hash = pp_mix(hash ^ pp_load(name + i, 8), UINT64_C(0xe7037ed1a0b428db));
        return pp_mix(hash ^ pp_load(name + length - 8, 8), UINT64_C(0x8ebc6af09c88c6e3));
    }
    uint64_t word = 0;
    if (length >= 4)
        word = pp_load(name, 4) << 32 | pp_load(name + length - 4, 4);
    else if (length > 0)
        word = (uint64_t)(uint8_t)name[0] << 16 | (uint64_t)(uint8_t)name[length / 2] << 8 |
               (uint8_t)name[length - 1];
    return pp_mix(hash ^ word, UINT64_C(0x8ebc6af09c88c6e3));
}

static inline uint64_t pp_hash_child(uint64_t parent, uint64_t name_hash)
{
    const unsigned __int128 product =
        (unsigned __int128)(parent ^ name_hash) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint64_t)product ^ (uint64_t)(product >> 64) ^ (parent << 1);
}

/* cffi: begin */

/* Take the `size` bytes at `base` (8 byte aligned) for an index; 0, or -1 if they are none. */
int pp_index_open(struct pp_index *index, const void *base, size_t size);

/* The root directory's record. */
const struct pp_record *pp_index_root(const struct pp_index *index);

/* The record that follows another one; NULL at the end. */
const struct pp_record *pp_index_next(const struct pp_index *index, const struct pp_record *record);

/* The first record from `offset` on that has a word in the touch map: the word is `*word`. NULL if
 * there is none. */
const struct pp_record *pp_index_touched(const struct pp_index *index, const uint32_t *words,
                                         uint64_t offset, uint32_t *word);

/* A record's handle and behind it its extended attributes; NULL if there is neither. */
const uint8_t *pp_index_extra(const struct pp_index *index, const struct pp_record *record,
                              size_t *size);

/* The index's own handle; NULL if it has none. */
const uint8_t *pp_index_handle(const struct pp_index *index, size_t *size);

/* An extended attribute; nothing ends with a NUL. */
struct pp_attribute {
    const uint8_t *name, *value;
    size_t name_length, value_length;
};

/* Where one is in a record's extended attributes. */
struct pp_attributes {
    const uint8_t *next, *end;
};

/* A record's extended attributes, from the first on. */
struct pp_attributes pp_index_attributes(const struct pp_index *index,
                                         const struct pp_record *record);

/* Take the next attribute: 1, or 0 if there is no other that is whole. */
int pp_next_attribute(struct pp_attributes *attributes, struct pp_attribute *attribute);

/* The space that a record takes, in units of 8 bytes. */
static inline uint32_t pp_record_units(const struct pp_record *record)
{
    const size_t text = (size_t)record->name_length + 1 + record->target_length + 1;
    return (uint32_t)((sizeof *record + text + 7) / 8);
}

/* The offset of a record, as in struct pp_slot. */
static inline uint32_t pp_index_offset(const struct pp_index *index, const struct pp_record *record)
{
    return (uint32_t)(((const uint8_t *)record - index->records) / 8);
}

/* Its word in a touch map: one for each record, since none is smaller than this (in bytes). */
#define PP_TOUCH_UNIT 96u

static inline uint64_t pp_touch_word(const struct pp_index *index, const struct pp_record *record)
{
    return (uint64_t)pp_index_offset(index, record) * 8 / PP_TOUCH_UNIT;
}

static inline const char *pp_record_target(const struct pp_record *record)
{
    return record->text + record->name_length + 1;
}

static inline size_t pp_record_size(const struct pp_record *record)
{
    const size_t text = (size_t)record->name_length + 1 + record->target_length + 1;
    return (sizeof *record + text + 7) & ~(size_t)7;
}

/* Whether one of the eight bytes of a word is 0. */
static inline int pp_has_zero(uint64_t word)
{
    return ((word - UINT64_C(0x0101010101010101)) & ~word & UINT64_C(0x8080808080808080)) != 0;
}

/* Whether this may be the name of an entry: the kernel lists no other, and a program that goes
 * through a tree would not come to an end. */
static inline int pp_is_name(const char *name, size_t length)
{
    if (length == 0 || length > PP_NAME_MAX ||
        (name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.'))))
        return 0;
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        const uint64_t word = pp_load(name + i, 8);
        if (pp_has_zero(word) || pp_has_zero(word ^ UINT64_C(0x2f2f2f2f2f2f2f2f))) /* slashes */
            return 0;
    }
    for (; i < length; i++)
        if (!name[i] || name[i] == '/')
            return 0;
    return 1;
}

/* The record at an offset of the file's own; NULL if there can't be one. */
static inline const struct pp_record *pp_index_record(const struct pp_index *index, uint64_t offset)
{
    const uint64_t start = offset * 8;

    if (start >= index->records_size || index->records_size - start < sizeof(struct pp_record))
        return NULL;
    const struct pp_record *record = (const void *)(index->records + start);
    return pp_record_size(record) <= index->records_size - start ? record : NULL;
}

/* cffi: end */

static inline int pp_is_named(const struct pp_record *record, const char *name, size_t length)
{
    if (record->name_length != length)
        return 0;
    for (size_t i = 0; i < length; i++)
        if (record->text[i] != name[i])
            return 0;
    return 1;
}

/* The record of `name` whose path has `hash` and whose parent's has `parent_hash`; NULL if none. */
static inline __attribute__((always_inline)) const struct pp_record *pp_index_find(
    const struct pp_index *index, uint64_t hash, uint64_t parent_hash, const char *name,
    size_t length)
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
        if (record && record->parent_hash == parent_hash && pp_is_named(record, name, length))
            return record;
    }
    return NULL;
}

#endif

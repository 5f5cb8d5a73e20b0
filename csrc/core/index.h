/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Index files: one immutable file a catalog, mapped read-only by everyone who looks something up.
 *
 * Rules that hold here (this is also compiled where there is no libc):
 *  - No allocation, no locks, no system calls, no state: every answer comes from the mapped bytes.
 *  - The file is our own, yet nothing in it is believed: pp_index_open checks the header, and every
 *    record is checked to lie in the file before it is used. A damaged file gives wrong answers or
 *    PP_DAMAGED, never an access outside of the mapping.
 *  - All numbers are in the machine's order; a file never leaves its machine.
 *
 * A file is: header, hash table, records, extras.
 *
 * A record is a name with all that stat says of it. The records of a directory's entries follow one
 * another, in the order of their names, so a listing is a scan. A record is found by the hash of
 * its path: h(child) = mix(h(parent), hash(name)), from PP_HASH_ROOT for the repository's root.
 * That one look-up is enough however deep the path is, since records exist under their real path
 * alone; the name's bytes and the parent's 64 bit hash are compared. A nested catalog goes on from
 * the hash of its mountpoint, so a path is hashed once for all catalogs that it leads through. The
 * same hash is the inode number: it stays the same in every process and session.
 */
#ifndef PYPARROT_INDEX_H
#define PYPARROT_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define PP_INDEX_MAGIC UINT64_C(0x3158444e49505950) /* "PYPINDX1", read as a little-endian word */
#define PP_INDEX_VERSION 1u

/* cffi: begin */

#define PP_HASH_ROOT UINT64_C(0x243f6a8885a308d3)

#define PP_NAME_MAX 255u
#define PP_TARGET_MAX 4095u

/* What a record is, beyond its mode. */
enum {
    PP_NESTED = 1,   /* its content stands in the catalog that `digest` names */
    PP_VARIANT = 2,  /* a symlink with $(NAME) in its target */
    PP_CHUNKED = 4,  /* the body is in the chunks that `extra` leads to */
    PP_EXTERNAL = 8, /* the body comes from an external server */
    PP_HIDDEN = 16,  /* can be looked up, is not listed */
    PP_BODY = 32,    /* `digest` names the body */
    PP_BIND = 64,    /* nested, and a root catalog: its own paths start at its root */
};

struct pp_index_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_size;
    uint64_t file_size;
    uint64_t root_hash;    /* of the catalog's own root directory */
    uint64_t table_offset; /* of struct pp_slot[table_mask + 1] */
    uint64_t table_mask;
    uint64_t records_offset;
    uint64_t records_size;
    uint64_t extras_offset;
    uint64_t extras_size;
    uint64_t entries; /* number of records, the root's among them */
    uint64_t revision;
    uint64_t ttl;        /* seconds; 0 if the catalog does not say */
    uint8_t catalog[20]; /* the catalog's hash … */
    uint8_t algorithm;   /* … and its algorithm, as a catalog's flags number them */
    uint8_t padding[3];
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
    uint32_t children;    /* … and their number. Of a chunked file: number of chunks */
    uint32_t extra;       /* offset into the extras, in units of 8 bytes: attributes or chunks */
    uint32_t xattr_size;  /* bytes of the attributes' blob; it is behind the chunks */
    uint16_t flags;       /* PP_… */
    uint16_t storage;     /* algorithm | compression << 3, as a catalog's flags number them */
    uint16_t name_length;
    uint16_t target_length; /* of a symlink */
    uint8_t digest[20];
    uint32_t padding;
    char text[]; /* name, NUL, target, NUL, then zeros up to a multiple of 8 */
};

struct pp_chunk {
    uint64_t offset;
    uint64_t size;
    uint8_t digest[20];
    uint32_t padding;
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

/* The chunks of a record's body and behind them its attributes' blob; NULL if there is neither. */
const uint8_t *pp_index_extra(const struct pp_index *index, const struct pp_record *record,
                              size_t *size);

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

/* Its word in a touch map: one for each record, since none is smaller than this. */
#define PP_TOUCH_UNIT 112u

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

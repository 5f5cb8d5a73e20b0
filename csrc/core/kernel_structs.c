/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/kernel_structs.h"

#include <asm/errno.h>

#include "core/file_types.h"

#define ACCESS_EXECUTE 1u
#define ACCESS_WRITE 2u

#define FUSE_MAGIC 0x65735546       /* what programs know CernVM-FS by */
#define READ_ONLY_NOSUID_NODEV 0x27 /* ST_RDONLY | ST_NOSUID | ST_NODEV | ST_VALID */
#define SECTOR 512

static int is_device(const struct pp_record *record)
{
    const uint32_t type = record->mode & PP_TYPE_MASK;
    return type == PP_TYPE_CHARACTER || type == PP_TYPE_BLOCK;
}

size_t pp_target_length(const struct pp_snapshot *snapshot, const struct pp_record *record)
{
    if (!(record->flags & PP_VARIANT))
        return record->target_length;
    return pp_expand(pp_record_target(record), record->target_length, snapshot->environment, NULL,
                     0);
}

static uint64_t size_of(const struct pp_snapshot *snapshot, const struct pp_record *record)
{
    if (is_device(record))
        return 0;
    if ((record->mode & PP_TYPE_MASK) == PP_TYPE_SYMLINK)
        return pp_target_length(snapshot, record);
    return record->size;
}

void pp_fill_stat(struct stat *status, const struct pp_mount *mount,
                  const struct pp_snapshot *snapshot, const struct pp_record *record)
{
    const uint64_t size = size_of(snapshot, record);

    *status = (struct stat){
        .st_dev = mount->device,
        .st_ino = record->inode,
        .st_nlink = record->nlink,
        .st_mode = record->mode,
        .st_uid = record->uid,
        .st_gid = record->gid,
        .st_rdev = is_device(record) ? record->size : 0,
        .st_size = (long)size,
        .st_blksize = PP_BLOCK_SIZE,
        .st_blocks = (long)(1 + size / SECTOR),
        .st_atime = (unsigned long)record->mtime,
        .st_atime_nsec = record->mtime_ns,
        .st_mtime = (unsigned long)record->mtime,
        .st_mtime_nsec = record->mtime_ns,
        .st_ctime = (unsigned long)record->mtime,
        .st_ctime_nsec = record->mtime_ns,
    };
}

static uint32_t major_of(uint64_t device)
{
    return (uint32_t)((device >> 8 & 0xfff) | (device >> 32 & ~UINT64_C(0xfff)));
}

static uint32_t minor_of(uint64_t device)
{
    return (uint32_t)((device & 0xff) | (device >> 12 & ~UINT64_C(0xff)));
}

void pp_fill_statx(struct statx *status, const struct pp_mount *mount,
                   const struct pp_snapshot *snapshot, const struct pp_record *record)
{
    const uint64_t size = size_of(snapshot, record);
    const uint64_t special = is_device(record) ? record->size : 0;
    const struct statx_timestamp time = {.tv_sec = record->mtime, .tv_nsec = record->mtime_ns};

    *status = (struct statx){
        .stx_mask = STATX_BASIC_STATS,
        .stx_blksize = PP_BLOCK_SIZE,
        .stx_nlink = record->nlink,
        .stx_uid = record->uid,
        .stx_gid = record->gid,
        .stx_mode = (uint16_t)record->mode,
        .stx_ino = record->inode,
        .stx_size = size,
        .stx_blocks = 1 + size / SECTOR,
        .stx_atime = time,
        .stx_ctime = time,
        .stx_mtime = time,
        .stx_rdev_major = major_of(special),
        .stx_rdev_minor = minor_of(special),
        .stx_dev_major = major_of(mount->device),
        .stx_dev_minor = minor_of(mount->device),
    };
}

void pp_fill_statfs(struct statfs *status, const struct pp_mount *mount,
                    const struct pp_snapshot *snapshot)
{
    *status = (struct statfs){
        .f_type = FUSE_MAGIC,
        .f_bsize = PP_BLOCK_SIZE,
        .f_blocks = (long)mount->blocks,
        .f_files = (long)snapshot->root->header->entries,
        .f_fsid = {{(int)mount->device, (int)(mount->device >> 32)}},
        .f_namelen = PP_NAME_MAX,
        .f_frsize = PP_BLOCK_SIZE,
        .f_flags = READ_ONLY_NOSUID_NODEV,
    };
}

/* Directories. The cursor is 0 before ".", 1 before "..", then 2 and the distance of a record from
 * the directory's first: a listing goes on at once wherever it was. */

#define OLD_HEAD 18 /* d_ino, d_off, d_reclen; the type is the last byte */
#define NEW_HEAD 19 /* with d_type before the name */

static inline __attribute__((always_inline)) size_t put_entry(char *output, size_t capacity,
                                                              enum pp_dirent_form form,
                                                              uint64_t inode, int64_t next,
                                                              uint32_t mode, const char *name,
                                                              size_t name_length)
{
    const size_t head = form == PP_DIRENT_64 ? NEW_HEAD : OLD_HEAD;
    const size_t tail = form == PP_DIRENT_64 ? 1 : 2;
    const size_t size = (head + name_length + tail + 7) & ~(size_t)7;
    const uint16_t short_size = (uint16_t)size;
    const char type = (char)((mode & PP_TYPE_MASK) >> 12);

    if (size > capacity)
        return 0;
    __builtin_memset(output, 0, size);
    __builtin_memcpy(output, &inode, 8);
    __builtin_memcpy(output + 8, &next, 8);
    __builtin_memcpy(output + 16, &short_size, 2);
    output[form == PP_DIRENT_64 ? OLD_HEAD : size - 1] = type;
    __builtin_memcpy(output + head, name, name_length);
    return size;
}

int64_t pp_access(const struct pp_record *record, uint32_t mode)
{
    const uint32_t type = record->mode & PP_TYPE_MASK;

    if (mode & ACCESS_WRITE &&
        (type == PP_TYPE_REGULAR || type == PP_TYPE_DIRECTORY || type == PP_TYPE_SYMLINK))
        return -EROFS;
    return mode & ACCESS_EXECUTE && type != PP_TYPE_DIRECTORY && !(record->mode & PP_ANY_EXECUTE)
               ? -EACCES
               : 0;
}

uint64_t pp_parent_inode(const struct pp_snapshot *snapshot, const struct pp_record *directory)
{
    if (directory == pp_index_root(snapshot->root))
        return directory->inode;
    return directory->parent_hash & INT64_MAX;
}

/* The directory's record where the cursor is; NULL behind the last. */
static const struct pp_record *record_at(const struct pp_found *found, int64_t cursor)
{
    const struct pp_record *directory = found->record;
    if (directory->children == 0 || cursor - 2 > UINT32_MAX)
        return NULL;
    const struct pp_record *record =
        pp_index_record(found->index, directory->first_child + (uint64_t)(cursor - 2));
    return record && record->parent_hash == found->hash ? record : NULL;
}

int64_t pp_list(const struct pp_found *found, uint64_t parent_inode, enum pp_dirent_form form,
                int64_t *cursor, char *output, size_t capacity)
{
    const struct pp_record *directory = found->record;
    size_t written = 0;
    int64_t position = *cursor < 0 ? 0 : *cursor;

    while (position < 2) {
        const uint64_t inode = position ? parent_inode : directory->inode;
        const size_t size = put_entry(output + written, capacity - written, form, inode,
                                      position + 1, directory->mode, "..", (size_t)position + 1);
        if (size == 0)
            return written ? (int64_t)written : -EINVAL;
        written += size;
        *cursor = ++position;
    }
    for (const struct pp_record *child = record_at(found, position); child;
         child = record_at(found, position)) {
        const int64_t next =
            2 + (int64_t)(pp_index_offset(found->index, child) - directory->first_child) +
            pp_record_units(child);
        if (!pp_is_name(child->text, child->name_length))
            return written ? (int64_t)written : -EIO;
        if (!(child->flags & PP_HIDDEN)) {
            const size_t size = put_entry(output + written, capacity - written, form, child->inode,
                                          next, child->mode, child->text, child->name_length);
            if (size == 0)
                return written ? (int64_t)written : -EINVAL;
            written += size;
        }
        *cursor = position = next;
    }
    return (int64_t)written;
}

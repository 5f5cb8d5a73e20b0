/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What system calls write about something virtual: the kernel's own structs, filled from records.
 * The rules are those of decide.h.
 */
#ifndef PYPARROT_KERNEL_STRUCTS_H
#define PYPARROT_KERNEL_STRUCTS_H

#include <asm/stat.h>
#include <asm/statfs.h>
#include <linux/stat.h>

#include "core/mounts.h"

/* The length of a symlink's target as programs see it. */
size_t pp_target_length(const struct pp_snapshot *snapshot, const struct pp_record *record);

void pp_fill_stat(struct stat *status, const struct pp_mount *mount,
                  const struct pp_snapshot *snapshot, const struct pp_record *record);
void pp_fill_statx(struct statx *status, const struct pp_mount *mount,
                   const struct pp_snapshot *snapshot, const struct pp_record *record);
void pp_fill_statfs(struct statfs *status, const struct pp_mount *mount,
                    const struct pp_snapshot *snapshot);

/* The form of a directory's entries. */
enum pp_dirent_form { PP_DIRENT_64, PP_DIRENT_OLD };

/* What access says of a record: 0 or -errno. As in CernVM-FS a file that can be seen can be read,
 * and nothing can be written. */
int64_t pp_access(const struct pp_record *record, uint32_t mode);

/* The inode of the directory above: what ".." has. The record is the one in the catalog above. */
uint64_t pp_parent_inode(const struct pp_snapshot *snapshot, const struct pp_record *directory);

/* List a directory, of which `found` has the record of the catalog that lists it, from `*cursor` on
 * (0, or where the last call ended). Returns the bytes written to `output`; -EINVAL if not even one
 * entry fits. */
int64_t pp_list(const struct pp_found *found, uint64_t parent_inode, enum pp_dirent_form form,
                int64_t *cursor, char *output, size_t capacity);

#endif

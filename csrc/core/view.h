/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * How a view is recognized by what stat says of it.
 *
 * Every regular file in the cache has the same modification time, the mark: a view that was written
 * to has another one. That is all that protects against accidents with the cache; what is fetched
 * is verified when it gets there. Callers pass values, since engine and shim have different structs
 * for them.
 */
#ifndef PYPARROT_VIEW_H
#define PYPARROT_VIEW_H

#include <stdint.h>

#include "core/index.h"

/* What stat says of a file. */
struct pp_view_status {
    uint32_t mode;
    uint64_t size;
    int64_t mtime; /* seconds of unix time */
};

/* Whether a modification time is that of the regular files in the cache. */
static inline int pp_has_mark(int64_t mtime, int64_t mark)
{
    return mtime == mark;
}

/* Whether the view of a record is what it was made as. Only a regular file has content that may
 * have been changed. */
static inline int pp_view_is_intact(const struct pp_record *record, struct pp_view_status status,
                                    int64_t mark)
{
    const uint32_t type_mask = 0170000u, regular = 0100000u, type = record->mode & type_mask;
    const uint32_t directory = 0040000u;

    if (type != regular) /* where there are no devices, something else stands for one */
        return (type == directory) == ((status.mode & type_mask) == directory);
    return (status.mode & type_mask) == regular && status.size == record->size &&
           pp_has_mark(status.mtime, mark);
}

#endif

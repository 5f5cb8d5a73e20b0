/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The last name of a path and the directory that it stands in: what calls that make, move or remove
 * a name have in common. The rules are those of decide.h.
 *
 * The kernel walks to the directory first, and looks at its file system before it looks at the
 * name: so it is done here, and the errors come in the same order as on a read-only file system.
 */
#ifndef PYPARROT_NAME_H
#define PYPARROT_NAME_H

#include "core/decide.h"

enum pp_last { PP_LAST_NAME, PP_LAST_DOT, PP_LAST_DOT_DOT };

struct pp_name {
    enum pp_last last;
    int slash;                /* whether one follows the name */
    size_t name, name_length; /* where in `given` it is */
    /* What is to be done if the directory is real; of no meaning if it is virtual. */
    int is_virtual;
    int is_mount_point; /* it names a mount point, in a real directory */
    enum pp_action action;
};

/* Find the directory of the `which`th path, which was read: its place is places[which]. -1 if the
 * call is settled, by `entry->action`. */
int pp_find_directory(struct pp_call *call, int which, int descriptor, int path_argument,
                      struct pp_name *entry);

/* What is wrong with a name that is to be made: -errno; 0 if it is in a real directory, so that the
 * kernel makes it, or if `entry->action` is PP_ASK. */
int64_t pp_refuse_new(struct pp_call *call, int which, int descriptor, int may_have_slash,
                      struct pp_name *entry);

/* Why a real path can't be reached: -errno; 0 if something is there. */
int64_t pp_missing(const struct pp_call *call, const char *path);

/* The same of the directory of a real entry, whose path is in its place. */
int64_t pp_missing_directory(struct pp_call *call, int which, const struct pp_name *entry);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What exec has to know of a file: which file it is, and how it begins. All of it comes from one
 * open, since others may watch the file (inotify), and is the same as long as the identity is.
 */
#ifndef PYPARROT_IMAGE_H
#define PYPARROT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "core/walk.h"

/* cffi: begin */

#define PP_SHEBANG_MAX 256u /* as the kernel's own limit for the first line of a script */

/* A file in one state: two files, or one before and after a change, differ in it. The times are
 * those of modification and of the last change of the inode, in nanoseconds of unix time. */
struct pp_identity {
    uint64_t device, inode, size;
    int64_t modified, changed;
};

enum pp_image_kind {
    PP_IMAGE_OTHER,       /* what the kernel deals with alone */
    PP_IMAGE_SCRIPT,      /* `text` is its beginning, `size` bytes and a NUL */
    PP_IMAGE_INTERPRETED, /* `text` is the path of its ELF interpreter, of `size` bytes */
};

struct pp_image {
    struct pp_identity identity;
    uint32_t mode;
    uint32_t kind; /* enum pp_image_kind */
    uint32_t size;
    char text[PP_PATH_MAX + 1];
};

/* cffi: end */

/* Nanoseconds within which a file may change twice and keep its times: the kernel's clock for them
 * ticks a hundred times a second, and some file systems have whole seconds. Where times are `fine`
 * (task/known_images.h) a change after a look at them always shows. */
#define PP_TICK INT64_C(20000000)
#define PP_COARSE_TICK INT64_C(2100000000)

/* Whether a file that has this identity at the time `now` (nanoseconds of unix time) can't change
 * any more without getting another one. */
static inline int pp_is_settled(const struct pp_identity *identity, int64_t now, int is_fine)
{
    const int is_coarse = identity->changed % INT64_C(1000000000) == 0;
    return (is_fine && !is_coarse) ||
           now - identity->changed > (is_coarse ? PP_COARSE_TICK : PP_TICK);
}

static inline int pp_is_same_identity(const struct pp_identity *a, const struct pp_identity *b)
{
    return a->inode == b->inode && a->changed == b->changed && a->modified == b->modified &&
           a->size == b->size && a->device == b->device;
}

/* Reads from a file: how many bytes there were, or -errno. */
typedef int64_t (*pp_read_at)(const void *file, uint64_t offset, void *buffer, size_t size);

/* Fill in what the file's content says: 0 or -errno. */
int64_t pp_image_read(struct pp_image *image, pp_read_at read, const void *file);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Variant symlinks: targets that refer to environment variables, $(NAME) or $(NAME:-default).
 */
#ifndef PYPARROT_VARIANT_H
#define PYPARROT_VARIANT_H

#include <stddef.h>

/* cffi: begin */

/* Write a variant symlink's target with its references replaced; its length, which may exceed
 * `capacity` (what does not fit is not written). Nothing nests, as in CernVM-FS. */
size_t pp_expand(const char *target, size_t length, const char *const *environment, char *output,
                 size_t capacity);

/* cffi: end */

#endif

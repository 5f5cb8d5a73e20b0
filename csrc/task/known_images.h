/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What files were found to be that tasks have run before: to look at one again needs no open of it,
 * which others would notice, and costs less.
 */
#ifndef PYPARROT_KNOWN_IMAGES_H
#define PYPARROT_KNOWN_IMAGES_H

#include "core/image.h"

/* Fill in what is known of the file with `image->identity`: whether that is anything. */
int pp_known_image_find(struct pp_image *image);

/* Keep it, unless the file, which is open there, may change without getting another identity. */
void pp_known_image_keep(const struct pp_image *image, int file);

/* cffi: begin */

/* Whether the file that is open there is on a file system where a change of a file after a look at
 * its times always gives it other times (multigrain timestamps, Linux 6.13). */
int pp_has_fine_times(int file);

/* cffi: end */

#endif

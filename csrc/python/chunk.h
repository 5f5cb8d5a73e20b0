/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PYPARROT_CHUNK_H
#define PYPARROT_CHUNK_H

#include <stddef.h>
#include <stdint.h>

/* cffi: begin */

/* The length of the first chunk of `data`: at least `minimum`, at most `maximum`, and never more
 * than `length`. The caller hands in at least `maximum` bytes unless the file ends before. */
size_t pp_chunk_cut(const uint8_t *data, size_t length, size_t minimum, size_t average,
                    size_t maximum);

/* cffi: end */

#endif

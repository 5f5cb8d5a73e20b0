/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory for the tables of this process, which is never freed, and mappings of files.
 *
 * Only the thread that builds tables (see tables.c) calls what is here.
 */
#ifndef PYPARROT_ARENA_H
#define PYPARROT_ARENA_H

#include "shim/shim.h"

/* `size` bytes, filled with zeros and aligned to 16; NULL if there are none. */
HIDDEN void *pp_arena_get(uint64_t size);

/* Map a file of `*size` bytes (0: as large as it is, which is stored there); NULL if it fails. */
HIDDEN void *pp_map_file(const char *file, int writable, uint64_t *size);

#endif

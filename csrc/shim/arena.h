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

/* Map a file for reading, and store its size; NULL if that fails, or it is empty. */
HIDDEN const void *pp_map_file(const char *file, uint64_t *size);

/* Map `size` bytes of the file with this device and inode, for reading and writing. NULL if that
 * fails, or the path leads to another file: in another PID namespace it may. */
HIDDEN void *pp_map_shared(const char *file, uint64_t size, uint64_t device, uint64_t inode);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The types of files in a mode, and its execute bits: Linux's own values, which catalogs have, too.
 */
#ifndef PYPARROT_FILE_TYPES_H
#define PYPARROT_FILE_TYPES_H

#define PP_TYPE_MASK 0170000u
#define PP_TYPE_FIFO 0010000u
#define PP_TYPE_CHARACTER 0020000u
#define PP_TYPE_DIRECTORY 0040000u
#define PP_TYPE_BLOCK 0060000u
#define PP_TYPE_REGULAR 0100000u
#define PP_TYPE_SYMLINK 0120000u
#define PP_TYPE_SOCKET 0140000u
#define PP_ANY_EXECUTE 0111u

#endif

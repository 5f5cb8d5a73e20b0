/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PYPARROT_PROCESS_H
#define PYPARROT_PROCESS_H

/* What Python's own library can't do to processes. */

/* cffi: begin */

/* Become another program, as execve: gives an errno if that has failed. (Python's takes no
 * environment in which names come twice or entries have no "=".) */
int pp_execute(const char *path, char *const *arguments, char *const *environment);

/* Let all threads have one heap: glibc gives each its own, of 64 MiB of address space, which a
 * limit on that counts whole. */
void pp_share_heap(void);

/* cffi: end */

#endif

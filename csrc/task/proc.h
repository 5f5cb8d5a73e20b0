/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What /proc says of a task.
 */
#ifndef PYPARROT_PROC_H
#define PYPARROT_PROC_H

#include <stdint.h>
#include <sys/types.h>

/* The text of a small file of the task's, such as "status", with a NUL behind it; empty if the task
 * has gone. */
void pp_proc_read(pid_t task, const char *name, char *text, size_t capacity);

/* Open a file of the task's; -1 and errno if that can't be. */
int pp_proc_open(pid_t task, const char *name, int flags);

/* Where a link of the task's leads, such as "cwd", without a NUL: the length, or -errno. */
ssize_t pp_proc_link(pid_t task, const char *name, char *buffer, size_t capacity);

/* The address of the text that the task's auxiliary vector has for AT_EXECFN; 0 if there is none.
 */
uint64_t pp_proc_execfn(pid_t task);

/* Whether the task may have what is in a real file that is open here: root's run may have tasks of
 * other users, and its rights are not theirs. */
int pp_proc_may_read(pid_t task, int file);

#endif

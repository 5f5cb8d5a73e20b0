/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Between calls.c (choices, paths, output) and calls_made.c (the calls).
 */
#ifndef FUZZ_CALLS_H
#define FUZZ_CALLS_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PATH_SIZE 8192u

uint64_t roll(void);
unsigned below(unsigned end);
int once_in(unsigned times);
const char *any_path(void);
const char *safe_place(void);
int is_inside(const char *path);

__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
void say_path(const char *path);
int say_result(long result);
void end_line(void);
int is_of_proc(uint64_t device);
unsigned number_of(uint64_t device, uint64_t inode);

/* One call, or few that belong together; says what it was and what it gave. */
void make_call(void);

#endif

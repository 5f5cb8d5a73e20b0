/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Between calls.c (choices, paths, output) and decide_*.c (the calls).
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

#define DESCRIPTORS 24 /* that may be open, above 2 */

/* Choices */
uint64_t roll(void);
unsigned below(unsigned end);
int once_in(unsigned times);
const char *any_path(void);
const char *changed_path(void);
int any_descriptor(void);
int any_directory(void);
long wide(int value);
unsigned any_of(const unsigned *flags, unsigned count, unsigned chance);
void *any_memory(void *memory);
unsigned any_size(unsigned usual);

/* Some of these flags: each once in so many times. */
#define LIST(...) ((const unsigned[]){__VA_ARGS__})
#define ANY_OF(chance, ...)                                                                        \
    any_of(LIST(__VA_ARGS__), sizeof LIST(__VA_ARGS__) / sizeof(unsigned), chance)

int ends_with_slash(const char *path);
const char *safe_place(void);
int is_inside(const char *path);

/* Output */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
void say_path(const char *path);
void say_text(const char *text, long size);
int say_result(long result);
void end_line(void);
int is_of_proc(uint64_t device);
unsigned number_of(uint64_t device, uint64_t inode);

/* One call each, or few that belong together: they say what it was, and what it gave. */
void call_stat(void);
void call_statx(void);
void call_fstat(void);
void call_statfs(void);
void call_access(void);
void call_readlink(void);
void call_getcwd(void);
void call_xattr(void);
void call_open(void);
void call_descriptor(void);
void call_seek(void);
void call_list(void);
void call_opendir(void);
void call_chdir(void);
void call_realpath(void);
void call_change(void);
void call_exec(void);

/* Not every kernel that has these calls has headers that say so. */
#define CALL_FACCESSAT2 439
#define CALL_OPENAT2 437
#define CALL_FCHMODAT2 452

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A small world for the decision core: a repository whose index is made in memory, mounted at
 * MOUNT, and a task that is nothing but tables.
 *
 * The task's memory is the test program's own: an address is a pointer. NULL and BAD_ADDRESS can't
 * be used, and `forbidden` can be read but not written.
 */
#ifndef TEST_WORLD_H
#define TEST_WORLD_H

#include "core/decide.h"

#define MOUNT "/cvmfs/r"
#define VIEWS "/views"
#define VIEW "/views/r"
#define BAD_ADDRESS UINT64_C(0x8000000000000000)
#define NOW 1000
#define MARK 299792458    /* when views were modified */
#define PROGRAM_SIZE 1234 /* that the repository has for its programs */

/* The repository:
 *
 *     dir/file      a file of FILE_SIZE bytes that everybody may read
 *     dir/secret    a file that nobody may read
 *     run           a program, `program` in the task's view of it
 *     script        a program, `#!/cvmfs/r/run -x`
 *     link          -> dir/file
 *     dirlink       -> dir
 *     dangling      -> nothing
 *     loop          -> loop
 *     out           -> /etc/passwd
 *     up            -> ../../usr
 *     fifo, socket
 *     nested        a nested catalog that is not mapped
 */
#define FILE_SIZE 5
#define FILE_MTIME 1234567890
#define FILE_OWNER 12

/* What /proc says of a descriptor, or of PP_CWD. */
struct test_link {
    int descriptor;
    const char *path;
    int64_t position; /* of a directory that is being listed, or -errno */
};

/* A real file: a view, or somewhere else. */
struct test_file {
    const char *path;
    const char *target;  /* of a symlink, or NULL */
    const char *content; /* of a file, or NULL */
    size_t size;
    int error;    /* an errno that reading it gives */
    int modified; /* when: MARK if it is 0 */
};

struct test_task {
    struct pp_task task; /* first: the core has a pointer to it */
    const struct test_link *links;
    const struct test_file *files;
    const void *forbidden;
    int64_t parent; /* what the operation of that name says */
    int writes;     /* how many times its memory was written */
};

/* Ready for a call: the task has no descriptors and no files, and its working directory is /home.
 */
void world_reset(void);

/* Decide a system call. It is decided twice, which must give the same. */
enum pp_action decided(int number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e);

/* What a call returns for which PP_RETURN was decided; an impossible number for other actions. */
int64_t returned(int number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e);

#define NOT_RETURNED INT64_C(0x7eadbeef)
#define AT(text) ((uint64_t)(uintptr_t)(text))
#define CALL(function, number, ...) ARGUMENTS(function, number, __VA_ARGS__, 0, 0, 0, 0, 0)
#define ARGUMENTS(function, number, a, b, c, d, e, ...) function(number, a, b, c, d, e)
#define DECIDED(...) CALL(decided, __VA_ARGS__)
#define RETURNED(...) CALL(returned, __VA_ARGS__)

extern struct test_task task;
extern struct pp_call call; /* as the last decision left it */

/* Make the index, and free it. */
void world_make(void);
void world_free(void);

#endif

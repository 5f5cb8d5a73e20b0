/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The decision core: a system call comes in, and what is to be done goes out.
 *
 * Rules that hold here and in decide_*.c:
 *  - Those of index.h: no libc, no allocation, no locks. All that is written lies in
 *    struct pp_call.
 *  - The task is read and written only through its operations (task.h).
 *  - Nothing is carried out here but writing an answer into the task's memory. An action is a
 *    value, and the same whichever engine carries it out.
 *  - System calls have no numbers here, but operations: syscalls.tbl says which call does what, and
 *    which of its arguments are what.
 *  - A call that has nothing to do with a virtual path runs as it is, so that the kernel gives its
 *    own answers and its own errors.
 *  - Deciding twice gives the same action: whenever something has to be fetched first, the whole
 *    decision is made again afterwards.
 */
#ifndef PYPARROT_DECIDE_H
#define PYPARROT_DECIDE_H

#include "core/resolve.h"
#include "generated/syscalls.h"

/* cffi: begin */

enum pp_action {
    PP_RUN,    /* let it run as it is */
    PP_RETURN, /* it returns `value`; what it writes has been written */
    PP_OPEN,   /* it returns a descriptor of the local file `file`, opened with `open_flags` */
    PP_CHANGE, /* let it run with other arguments: `changes` */
    PP_EXEC,   /* let it run the program `file` in the way that `exec` says */
    PP_ASK,    /* something is needed first: `asking->need` says what */
};

/* An argument that points to other memory. */
struct pp_change {
    int argument;
    uint32_t size;
    const void *data;
};

#define PP_BUFFER_SIZE 65536u
#define PP_SCRIPTS_MAX 5u /* scripts that are interpreters of scripts */

/* What a program that runs from another place must find as its name and arguments. */
struct pp_exec {
    const char *shown;  /* the name that it was started by: AT_EXECFN, and its short name */
    const char *loader; /* the real program that loads it (PT_INTERP), or NULL */
    /* The first words of its command line, a NUL behind each, instead of the first one that was
     * given; if there are none it stays as it is. */
    uint32_t words;
    uint32_t size;
    char text[PP_SCRIPTS_MAX * PP_SHEBANG_MAX + PP_PATH_MAX];
    /* Real files that the kernel would look at, and won't, since it runs something else: the task
     * has to be allowed to run them. The first is what the call itself names; the others' paths are
     * in `checked`, a NUL behind each. If it is, and `error` is not 0, the call gives that. */
    int32_t checks_first;
    int32_t error; /* -errno */
    uint32_t checked_size;
    char checked[2 * PP_PATH_MAX];
};

/* A program that is looked at. If its ELF interpreter is virtual it runs from a copy that names the
 * interpreter's view. */
struct pp_program {
    struct pp_image image;             /* what the call's `file` is */
    struct pp_image other;             /* the same of the interpreter's view, or of the copy */
    char copy[2 * PP_PATH_MAX];        /* the copy's path */
    char interpreter[2 * PP_PATH_MAX]; /* the path of the interpreter's view */
};

struct pp_call {
    int number;
    uint64_t args[6];
    const struct pp_namespace *space;
    struct pp_task *task;

    int64_t value;
    int open_flags;
    uint32_t change_count;
    struct pp_change changes[2];
    struct pp_place *asking;

    char given[2][PP_PATH_MAX + 1]; /* the paths as the program gave them */
    struct pp_place places[2];
    char file[2 * PP_PATH_MAX];
    char attribute[PP_NAME_MAX + 1]; /* the name of an extended attribute, */
    int attribute_fetched;           /* whether its value was fetched since the call came in, */
    int64_t attribute_size;          /* and then the size of that in `buffer`, or -errno */
    struct pp_exec exec;
    union {
        char buffer[PP_BUFFER_SIZE]; /* scratch memory of the decider */
        struct pp_program program;   /* of execve, and of PP_ASK for PP_NEEDS_PROGRAM */
    };
};

/* cffi: end */

enum { PP_NONE = -1 };

/* What becomes of a system call; see syscalls.tbl. */
enum pp_handling { PP_PASSED, PP_DECIDED, PP_NOTICED, PP_FILTERED };

/* What is peculiar to it: the options of syscalls.tbl. */
enum {
    PP_SPEC_NOFOLLOW = 1,
    PP_SPEC_NULL_PATH = 2,
    PP_SPEC_NULL_IF_EMPTY_PATH = 4,
    PP_SPEC_EMPTY_PATH = 8,
    PP_SPEC_CWD = 16,
    PP_SPEC_OLD_DIRENT = 32,
    PP_SPEC_SHIM = 64,
};

/* A system call: a row of syscalls.tbl. The fields in the second half tell which argument is what;
 * PP_NONE if none is. A relative path starts at the descriptor, or at the working directory if
 * there is none; without a path the call is about the descriptor's file itself. */
struct pp_spec {
    uint8_t handling;  /* enum pp_handling */
    uint8_t operation; /* enum pp_operation */
    uint8_t options;   /* PP_SPEC_… */
    uint8_t count;     /* of its arguments */

    int8_t descriptor, path;
    int8_t second_descriptor, second_path;
    int8_t flags;
    int8_t value;  /* a number that decides: of the type that the operation has */
    int8_t name;   /* of an extended attribute */
    int8_t output; /* memory for the answer */
    int8_t input;  /* memory that is read */
    int8_t size;   /* of one of the two */
    int8_t argv;   /* of a program; the environment comes next */
} __attribute__((aligned(16)));

/* The argument that lets a call pass the filter. A call that has such an argument of its own can't
 * be made past the filter: only the program makes it. */
#define PP_COOKIE_ARGUMENT 5

/* What a system call is; NULL if it is not in the table. */
const struct pp_spec *pp_spec_of(int number);

/* What is to be done about a call. */
enum pp_action pp_decide(struct pp_call *call);

/* cffi: begin */

/* Whether a system call is trapped, and decided here. */
int pp_is_trapped(int number);

/* Whether the shim has to know of a system call: it is trapped, or changes what others mean. */
int pp_concerns_shim(int number);

/* No system call of syscalls.tbl has this number on this CPU, or a higher one. */
static inline int pp_numbers_end(void)
{
    return PP_NUMBERS_END;
}

/* cffi: end */

/* Whether a system call changes what its path names, or makes or removes a name. */
int pp_changes(const struct pp_spec *spec);

#endif

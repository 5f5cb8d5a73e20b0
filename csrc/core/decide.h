/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The decision core: a system call comes in, and what is to be done goes out.
 *
 * Rules that hold here and in decide_*.c:
 *  - Those of index.h: no libc, no allocation, no locks. All that is written lies in struct
 * pp_call.
 *  - The task is only looked at through its operations (task.h).
 *  - Nothing is carried out here but writing an answer into the task's memory. An action is a
 * value, and the same whatever engine carries it out.
 *  - A call that has nothing to do with a virtual path runs as it is, so that the kernel gives its
 *    own answers and its own errors.
 *  - Deciding twice gives the same action: whenever something has to be fetched first, the whole
 *    decision is made again afterwards.
 */
#ifndef PYPARROT_SYSCALLS_H
#define PYPARROT_SYSCALLS_H

#include "core/resolve.h"

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
#define PP_SHEBANG_MAX 256u /* as the kernel's own limit for the first line of a script */
#define PP_SCRIPTS_MAX 5u   /* scripts that are interpreters of scripts */

/* What a program that runs from elsewhere has to be told. */
struct pp_exec {
    const char *shown;  /* the name that it was started by: AT_EXECFN, and its short name */
    const char *loader; /* the real program that loads it (PT_INTERP), or NULL */
    /* The first words of its command line, a NUL behind each, instead of the first one that was
     * given; if there are none it stays as it is. */
    uint32_t words;
    uint32_t size;
    char text[PP_SCRIPTS_MAX * PP_SHEBANG_MAX + PP_PATH_MAX];
};

/* A program with an ELF interpreter, and the copy of it that names the interpreter's view. */
struct pp_program {
    char loader[PP_PATH_MAX];          /* the interpreter, as the program names it */
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
        char buffer[PP_BUFFER_SIZE]; /* scratch of whatever decides */
        struct pp_program program;   /* of PP_EXEC, and of PP_ASK for PP_NEEDS_PROGRAM */
    };
};

enum { PP_NONE = -1 };

/* What a system call is to us: who decides, and which of its arguments are what (or PP_NONE). */
struct pp_spec {
    unsigned char decider;  /* see syscalls.c */
    signed char descriptor; /* where a relative path starts; without a path it is the file itself */
    signed char path;
    signed char flags;  /* AT_… */
    signed char result; /* where the answer is to be written, or what the call is about */
    uint32_t walk;      /* PP_NOFOLLOW if a symlink at the end is never followed */
};

/* What is to be done about a call. */
enum pp_action pp_decide(struct pp_call *call);

/* Whether a system call is looked at at all. */
int pp_is_trapped(int number);

/* Whether a system call changes what its path names, or makes or removes a name. */
int pp_changes(int number);

/* Whether it has a second path. */
int pp_has_second_path(int number);

/* What a system call's arguments are; NULL if it is not looked at. */
const struct pp_spec *pp_spec_of(int number);

#endif
